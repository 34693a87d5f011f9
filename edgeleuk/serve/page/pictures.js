// Draws a stream of JPEGs on a canvas. An image element would show it, too, but browsers keep all that came.

const HEAD_END = [13, 10, 13, 10];
const MOST_BYTES = 16_000_000;

/** Takes what a stream sends apart into JPEGs; see `Content-Length` of each part. */
class Parts {
  constructor() { this.held = new Uint8Array(0); }

  add(chunk) {
    if (this.held.length + chunk.length > MOST_BYTES) throw new Error("a picture is too large");
    const joined = new Uint8Array(this.held.length + chunk.length);
    joined.set(this.held);
    joined.set(chunk, this.held.length);
    this.held = joined;
  }

  /** The newest picture that is whole, or null; older ones are passed over. */
  newest() {
    let found = null;
    for (let one = this.next(); one; one = this.next()) found = one;
    return found;
  }

  next() {
    const end = this.held.findIndex((_, at) => HEAD_END.every((byte, n) => this.held[at + n] === byte));
    if (end < 0) return null;
    const length = /content-length: *(\d+)/i.exec(new TextDecoder().decode(this.held.subarray(0, end)));
    if (!length) throw new Error("a picture without a length");
    const from = end + HEAD_END.length, to = from + Number(length[1]);
    if (this.held.length < to) return null;
    const picture = this.held.slice(from, to);
    this.held = this.held.slice(to);
    return picture;
  }
}

async function draw(canvas, jpeg) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

/** Watch a stream until it ends or is given up; the function that is returned gives it up. */
export function watchStream(path, canvas, ended) {
  const given = new AbortController();
  const watch = async () => {
    const answer = await fetch(path, { signal: given.signal, cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    const reader = answer.body.getReader(), parts = new Parts();
    for (let got = await reader.read(); !got.done; got = await reader.read()) {
      parts.add(got.value);
      const jpeg = parts.newest();
      if (jpeg) await draw(canvas, jpeg);
    }
  };
  watch().catch(() => {}).finally(() => { if (!given.signal.aborted) ended(); });
  return () => given.abort();
}
