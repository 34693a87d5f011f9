// The page of review: shows the cells that are worth a look, and keeps each answer until the device has it.
import { ask, begin, element, named, number, onLanguage, percent, t, usesKey, write } from "/page/common.js";

const by = (id) => document.getElementById(id);
const KEYS = {
  blast: "b", normal: "n", lymphocyte: "l", "blast-like": "k", neutrophil: "s", band: "d", eosinophil: "e", basophil: "f",
  monocyte: "m", "immature granulocyte": "g", erythroblast: "r", platelets: "p", smudge: "x", other: "o", uncertain: "q",
};
const AHEAD = 12, BATCH = 20, ROUND_MS = 3000, AGAIN_MS = 1000;
const store = {
  get: (name) => { try { return JSON.parse(localStorage.getItem(name)); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* it is kept in memory */ } },
};
let reader = "", state = null, connected = true, sending = false, session = null;
let queue = [], trail = [], at = -1, unsent = [], asking = false;
// What this reader says of cells, by the device and by what is still to be sent; and the answers that can be taken back.
const own = new Map(), given = [];
const pictures = new Map();

const token = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const current = () => (at >= 0 ? trail[at] : null);
const place = () => `edgeleuk.review.${session}`;

// Answers that are not yet sent: kept in the browser, so that neither a closed tab nor a cut network loses one.
function load() { unsent = store.get(place()) || []; }
function keep(change) {
  // Another tab may have sent some of them meanwhile, or have new ones.
  unsent = change(store.get(place()) || unsent);
  store.set(place(), unsent);
  showUnsent();
}
function showUnsent() {
  by("unsent").hidden = unsent.length === 0;
  write("unsent", t("review.unsent", { n: number(unsent.length) }));
}

async function post(some) {
  const [first] = some;
  if (first.of !== undefined) return ask("/api/review/undo", { reader: first.reader, token: first.token, of: first.of });
  const words = some.map(({ track, label, token: id, is_drawn }) => ({ track, label, token: id, is_drawn }));
  return ask("/api/review/labels", { reader: first.reader, words });
}

function together() {
  const [first] = unsent;
  if (first.of !== undefined) return [first];
  let end = 0;
  while (end < BATCH && end < unsent.length && unsent[end].of === undefined && unsent[end].reader === first.reader) end += 1;
  return unsent.slice(0, end);
}

async function send() {
  if (sending) return;
  sending = true;
  try {
    while (unsent.length) {
      let some = together();
      try {
        await post(some);
      } catch (error) {
        if (!error.refused) { setConnected(false, error); return; }
        // One that the device refuses must not keep the others back.
        if (some.length > 1) {
          some = some.slice(0, 1);
          try { await post(some); } catch (again) { if (!again.refused) { setConnected(false, again); return; } write("said", again.message); }
        } else write("said", error.message);
      }
      setConnected(true);
      const done = new Set(some.map((one) => one.token));
      keep((all) => all.filter((one) => !done.has(one.token)));
    }
  } finally { sending = false; }
  refresh();
}

function setConnected(now, error = {}) {
  connected = now;
  // A device that answers says itself what is wrong: that the session is locked, or the token is missing.
  const banner = write("connection", now ? "" : error.status ? `${error.message} ${t("review.kept")}` : t("review.cut"));
  banner.hidden = now;
}

function say(label) {
  const cell = current();
  if (!cell || !reader) return;
  if (!cell.seen) { write("said", t("review.unseen")); return; }
  const answer = { reader, track: cell.track, label, token: token(), is_drawn: cell.is_drawn };
  given.push({ token: answer.token, track: cell.track, before: own.get(cell.track) });
  own.set(cell.track, label);
  keep((all) => [...all, answer]);
  write("said", t("review.said", { track: cell.track, label: named("kind", label) }));
  forward(true);
  send();
}

function undo() {
  const last = given.pop();
  if (!last) { write("said", t("review.nothing")); return; }
  if (last.before === undefined) own.delete(last.track); else own.set(last.track, last.before);
  keep((all) => [...all, { reader, token: token(), of: last.token }]);
  write("said", t("review.undone", { track: last.track }));
  const index = trail.findIndex((cell) => cell.track === last.track);
  if (index >= 0) { at = index; show(); } else visit(last.track, true);
  send();
}

/** Go on to the next cell: of those shown before, or the next one of the queue. */
function forward(answered) {
  if (at < trail.length - 1 && !answered) { at += 1; show(); return; }
  if (at < trail.length - 1 && answered) {
    const open = trail.findIndex((cell, index) => index > at && !own.has(cell.track));
    if (open >= 0) { at = open; show(); return; }
  }
  const next = queue.find((cell) => !own.has(cell.track) && !trail.some((shown) => shown.track === cell.track));
  if (next) { trail.push(next); at = trail.length - 1; show(); } else { at = trail.length; show(); }
  more();
}

function back() { if (at > 0) { at = Math.min(at, trail.length) - 1; show(); } }

function visit(track, isDrawn) {
  const index = trail.findIndex((cell) => cell.track === track);
  if (index >= 0) at = index; else { trail.push({ track, why: null, is_drawn: isDrawn }); at = trail.length - 1; }
  show();
}

/** Keep some cells ahead, with their pictures, so that a cut network does not stop a reader at once. */
async function more() {
  const ahead = queue.filter((cell) => !own.has(cell.track) && !trail.some((shown) => shown.track === cell.track));
  for (const cell of ahead.slice(0, 4)) picture(cell.track);
  if (asking || !reader || ahead.length >= AHEAD / 2) return;
  asking = true;
  try {
    // What was passed over stands before the others, and is asked for again when the page is opened anew.
    const waiting = trail.filter((cell) => !own.has(cell.track)).length + unsent.length;
    const found = await ask(`/api/review/queue?reader=${encodeURIComponent(reader)}&limit=${Math.min(100, 2 * AHEAD + waiting)}`);
    queue = found.cells.map((cell) => ({ ...cell, is_drawn: true }));
    setConnected(true);
    if (current() === null) forward(false);
    else for (const cell of queue.slice(0, 4)) picture(cell.track);
  } catch (error) { if (error.refused) write("said", error.message); else setConnected(false, error); } finally { asking = false; }
}

function picture(track) {
  if (!pictures.has(track)) {
    const image = new Image();
    image.src = `/api/review/cells/${track}/picture`;
    pictures.set(track, image);
    image.addEventListener("error", () => pictures.delete(track));
    if (pictures.size > 200) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(track);
}

function show() {
  const cell = current() || null;
  by("no-cell").hidden = cell !== null;
  for (const id of ["cell", "context-box"]) by(id).hidden = cell === null;
  for (const button of by("labels").children) button.disabled = cell === null;
  by("back").disabled = at <= 0;
  if (cell === null) {
    write("h-cell", t("review.cell"));
    write("no-cell", connected ? t("review.none") : t("review.none_cut"));
    for (const id of ["why", "told", "scale", "context-what"]) write(id, "");
    by("own").hidden = true;
    by("neighbours").replaceChildren();
    return;
  }
  write("h-cell", `${t("review.cell")} ${cell.track}`);
  write("why", cell.why ? t(`review.why.${cell.why}`) : t("review.why.chosen"));
  showOwn(cell);
  write("told", "");
  write("scale", "");
  cell.seen = false;
  const image = by("cell");
  image.alt = t("cells.alt", { track: cell.track });
  image.onload = () => { if (current() === cell) cell.seen = true; };
  image.onerror = () => { if (current() === cell) write("said", t("review.unseen")); };
  image.src = picture(cell.track).src;
  const context = by("context");
  context.alt = t("review.context_alt", { track: cell.track });
  context.onerror = () => { if (current() === cell) { by("context-box").hidden = true; } };
  context.onload = () => { if (current() === cell) by("context-box").hidden = false; };
  context.src = `/api/review/cells/${cell.track}/context`;
  write("context-what", t("review.context"));
  about(cell);
  like(cell, 0);
}

function showOwn(cell) {
  const said = own.get(cell.track);
  by("own").hidden = said === undefined;
  write("own", said === undefined ? "" : t("review.own", { label: named("kind", said) }));
  for (const button of by("labels").children) button.setAttribute("aria-pressed", String(button.dataset.label === said));
}

async function about(cell) {
  try {
    const found = await ask(`/api/review/cells/${cell.track}?reader=${encodeURIComponent(reader)}`);
    if (current() !== cell) return;
    if (found.why !== cell.why) { cell.why = found.why; write("why", t(`review.why.${found.why}`)); }
    write("scale", found.area_um2 ? t("review.area", { area: number(found.area_um2) }) : "");
    const told = [];
    if (found.machine) {
      const p = found.machine.kind_probability ?? found.machine.probability;
      told.push(t("review.machine_said", { label: named("kind", found.machine.called), p: p === null ? "–" : number(p, 2) }));
      for (const [name, label] of Object.entries(found.others)) told.push(t("review.other_said", { name, label: named("kind", label) }));
    }
    write("told", told.join(" · "));
  } catch (error) { if (error.refused) write("said", error.message); }
}

async function like(cell, round) {
  let found;
  try { found = await ask(`/api/review/cells/${cell.track}/neighbours?reader=${encodeURIComponent(reader)}`); } catch { return; }
  if (current() !== cell) return;
  write("no-neighbours", found.reason || (found.neighbours.length ? "" : found.pending ? t("review.pending") : t("review.no_neighbours")));
  by("neighbours").replaceChildren(...found.neighbours.map((one) => {
    const label = element("span", { class: `called ${sign(one.label)}` }, named("kind", one.label));
    const from = one.track === null ? one.source : t("cells.alt", { track: one.track });
    const item = element("li", {}, label, element("br"), `${from}, ${number(one.distance, 2)}`);
    if (one.track !== null) item.prepend(element("img", { src: `/api/review/cells/${one.track}/picture`, alt: "", loading: "lazy" }));
    return item;
  }));
  if (found.pending && round < 20) setTimeout(() => { if (current() === cell) like(cell, round + 1); }, 700);
}

const sign = (name) => name === "blast" ? "blast" : name === "lymphocyte" || name === "normal" ? "normal" : name === "uncertain" ? "uncertain" : "other";

async function refresh() {
  try {
    state = await ask(`/api/review/state?reader=${encodeURIComponent(reader)}`);
    setConnected(true);
    showState();
    if (current() === null || at >= trail.length) more();
  } catch (error) { if (!error.refused) setConnected(false, error); }
}

function showState() {
  if (!state) return;
  const mine = (state.readers.find((one) => one.reader === reader) || { cells: 0 }).cells;
  write("done", number(mine));
  write("of", t("review.of", { n: number(state.asked), left: number(state.left), cells: number(state.cells) }));
  by("bar").max = Math.max(1, state.asked);
  by("bar").value = state.asked - state.left;
  write("passed", state.passed_over ? t("review.passed", { n: number(state.passed_over) }) : "");
  write("readers", state.readers.map((one) => t("review.reader", { name: one.reader, n: number(one.cells) })).join(" · "));
  const rows = state.counts.names.map((one) => {
    const found = one.reviewed, told = found.estimate === null;
    return element("tr", {},
      element("td", { class: `called ${sign(one.name)}` }, named("kind", one.name)),
      element("td", { class: "n" }, number(one.machine)),
      element("td", { class: "n" }, told ? (found.seen ? t("review.seen", { n: number(found.seen) }) : "–") : number(found.estimate, Number.isInteger(found.estimate) ? 0 : 1)),
      element("td", { class: "n" }, t("interval", { low: number(found.low), high: number(found.high) })));
  });
  by("counts").replaceChildren(...rows);
  const shares = [["white", state.counts.blasts_of_white_cells], ["lymphoid", state.counts.blasts_of_lymphoid_cells], ["otherwise", state.counts.called_otherwise]]
    .filter(([, one]) => one.reviewed.share !== null)
    .map(([what, one]) => t(`review.share.${what}`, { machine: percent(one.machine), share: percent(one.reviewed.share), low: percent(one.reviewed.low), high: percent(one.reviewed.high) }));
  write("shares", shares.join(" "));
  const missing = state.counts.names.find((one) => one.reviewed.reason !== null);
  write("no-number", missing ? t("review.no_number") : "");
  by("conflicts-box").hidden = state.conflicts.length === 0;
  by("conflicts").replaceChildren(...state.conflicts.map((one) => {
    const said = Object.entries(one.labels).map(([name, label]) => `${named("kind", label)} (${name})`).join(", ");
    const button = element("button", { type: "button" }, t("cells.alt", { track: one.cell }));
    button.addEventListener("click", () => visit(Number(one.cell), false));
    return element("li", {}, button, ` ${said}`);
  }));
  if (state.agreements.length) {
    by("conflicts-box").hidden = false;
    for (const one of state.agreements) {
      by("conflicts").append(element("li", {}, t("review.kappa", { one: one.people[0], other: one.people[1], kappa: one.kappa === null ? "–" : number(one.kappa, 2), n: number(one.cells) })));
    }
  }
}

function showLabels() {
  by("labels").replaceChildren(...Object.entries(KEYS).map(([label, key]) => {
    const button = element("button", { type: "button", "data-label": label, "aria-keyshortcuts": key, "aria-pressed": "false" },
      element("kbd", {}, key), ` ${named("kind", label)}`);
    button.addEventListener("click", () => say(label));
    return button;
  }));
}

async function become(name) {
  reader = name;
  store.set("edgeleuk.reader", name);
  write("who", name);
  queue = []; trail = []; at = -1; given.length = 0;
  own.clear();
  try {
    for (const one of await ask(`/api/review/own?reader=${encodeURIComponent(name)}`)) {
      own.set(one.track, one.label);
      given.push({ token: one.token, track: one.track, before: undefined });
    }
  } catch (error) { if (error.refused) { write("said", error.message); askReader(); return; } setConnected(false, error); }
  // What is still to be sent was said, too.
  for (const one of unsent.filter((each) => each.reader === name)) {
    if (one.of === undefined) {
      own.set(one.track, one.label);
      if (!given.some((each) => each.token === one.token)) given.push({ token: one.token, track: one.track, before: undefined });
    }
  }
  await send();
  await more();
  refresh();
}

function askReader() {
  by("reader").value = reader;
  by("ask-reader").showModal();
}

function renewAll() {
  showLabels();
  showUnsent();
  showState();
  if (reader) show();
}

async function round() {
  if (!document.hidden || !connected) {
    if (unsent.length) await send(); else await refresh();
    if (current() === null) await more();
  }
  setTimeout(round, connected ? ROUND_MS : AGAIN_MS);
}

document.addEventListener("keydown", (event) => {
  if (!usesKey(event) || event.repeat || by("ask-reader").open) return;
  if (event.key === "ArrowLeft") back();
  else if (event.key === "ArrowRight") forward(false);
  else if (event.key === "u") undo();
  else {
    const found = Object.entries(KEYS).find(([, key]) => key === event.key.toLowerCase());
    if (!found) return;
    say(found[0]);
  }
  event.preventDefault();
});
by("back").addEventListener("click", back);
by("next").addEventListener("click", () => forward(false));
by("undo").addEventListener("click", undo);
by("who").addEventListener("click", askReader);
by("choose").addEventListener("submit", (event) => { event.preventDefault(); visit(Number(by("number").value), false); by("cell").scrollIntoView({ block: "nearest" }); });
by("reader-form").addEventListener("submit", () => become(by("reader").value.trim().replace(/\s+/g, " ")));
by("ask-reader").addEventListener("cancel", (event) => { if (!reader) event.preventDefault(); });
addEventListener("online", () => send());
addEventListener("storage", (event) => { if (event.key === place()) { load(); showUnsent(); } });

onLanguage(renewAll);
await begin();
showLabels();
// Which session this is tells whose answers the browser has kept.
for (;;) {
  try { state = await ask("/api/review/state"); break; } catch { setConnected(false); await new Promise((done) => setTimeout(done, AGAIN_MS)); }
}
setConnected(true);
session = `${state.seed.slice(0, 32)}.${state.session}`;
load();
renewAll();
ask("/api/review/about").then((found) => { by("to-live").hidden = !found.has_live; }).catch(() => {});
const before = store.get("edgeleuk.reader");
if (before) become(before); else askReader();
setTimeout(round, ROUND_MS);
