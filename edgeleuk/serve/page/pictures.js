// Draws JPEGs on canvases. An image element would show them, too, but browsers keep much of all that came.

const HEAD_END = [13, 10, 13, 10];
const MOST_BYTES = 16_000_000;

/** Takes what a stream sends apart into JPEGs; see `Content-Length` of each part. All of it uses one buffer. */
class Parts {
  constructor() {
    this.buffer = new Uint8Array(1 << 18);
    this.from = this.to = 0;
  }

  add(chunk) {
    if (this.to + chunk.length > this.buffer.length) this.makeRoom(chunk.length);
    this.buffer.set(chunk, this.to);
    this.to += chunk.length;
  }

  makeRoom(more) {
    const held = this.buffer.subarray(this.from, this.to);
    if (held.length + more > MOST_BYTES) throw new Error("a picture is too large");
    let size = this.buffer.length;
    while (size < held.length + more) size *= 2;
    const buffer = size === this.buffer.length ? this.buffer : new Uint8Array(size);
    buffer.set(held);
    this.buffer = buffer;
    this.to -= this.from;
    this.from = 0;
  }

  /** The newest picture that is whole, or null; older ones are passed over. It is there until more is added. */
  newest() {
    let found = null;
    for (let one = this.next(); one; one = this.next()) found = one;
    return found;
  }

  next() {
    const held = this.buffer.subarray(this.from, this.to);
    const end = held.findIndex((_, at) => HEAD_END.every((byte, n) => held[at + n] === byte));
    if (end < 0) return null;
    const length = /content-length: *(\d+)/i.exec(new TextDecoder().decode(held.subarray(0, end)));
    if (!length) throw new Error("a picture without a length");
    const from = end + HEAD_END.length, to = from + Number(length[1]);
    if (held.length < to) return null;
    this.from += to;
    return held.subarray(from, to);
  }
}

/** Draw a JPEG, unless the canvas is for something else by the time that it is read. */
export async function draw(canvas, jpeg, wanted = () => true) {
  const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
  if (!wanted()) { bitmap.close(); return; }
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
      if (!jpeg) continue;
      await draw(canvas, jpeg);
      // No faster than the screen shows, and not where nobody looks.
      await new Promise(requestAnimationFrame);
    }
  };
  watch().catch(() => {}).finally(() => { if (!given.signal.aborted) ended(); });
  return () => given.abort();
}
