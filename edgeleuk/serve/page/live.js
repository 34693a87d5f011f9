// The live page: shows the state that the server sends, and asks the run for what a person wants.
import { ask, begin, clock, connect, element, named, number, onLanguage, percent, t, usesKey, write } from "/page/common.js";
import { draw, watchStream } from "/page/pictures.js";

const MOST_EVENTS = 200;
const by = (id) => document.getElementById(id);
let state = null, connection = "lost", lastEvent = 0, run = null, fetching = false, leavePictures = () => {};
const events = [];

function showPhase() {
  const phase = state ? state.phase : "waiting";
  const signs = { waiting: "…", running: "▶", paused: "❚❚", ended: "■" };
  write("phase", `${signs[phase]} ${t(`phase.${phase}`)}`);
  by("simulated").hidden = !(state && state.simulated);
  const lost = connection === "lost" && state && state.phase === "ended" ? "connection.ended" : `connection.${connection}`;
  const banner = write("connection", connection === "open" ? "" : t(lost, { reason: state ? state.ended : "" }));
  banner.hidden = connection === "open" || (!state && connection === "lost");
  const ended = !state || state.phase === "ended" || connection === "lost";
  by("pause").disabled = by("stop").disabled = ended;
  write("pause", phase === "paused" ? t("go_on") : t("pause"));
  by("no-picture").hidden = !state || state.silent_s !== null;
  by("stream").hidden = !state || state.silent_s === null;
}

function rowsOf(body, rows) {
  rows.forEach((cells, index) => {
    const row = body.rows[index] || body.insertRow();
    cells.forEach((cell, column) => {
      const place = row.cells[column] || row.insertCell();
      const [text, kind] = Array.isArray(cell) ? cell : [cell, "n"];
      if (place.textContent !== text) place.textContent = text;
      if (place.className !== kind) place.className = kind;
    });
  });
  while (body.rows.length > rows.length) body.deleteRow(-1);
}

function pairs(id, entries) {
  const list = by(id);
  const wanted = entries.flat();
  while (list.children.length > wanted.length) list.lastChild.remove();
  wanted.forEach((text, index) => {
    let place = list.children[index];
    if (!place) { place = element(index % 2 ? "dd" : "dt"); list.append(place); }
    if (place.textContent !== text) place.textContent = text;
  });
}

const interval = (of) => of.low === null ? "" : t("interval", { low: percent(of.low), high: percent(of.high) });
const decisionOf = (name) => name === "blast" ? "blast" : name === "lymphocyte" || name === "normal" ? "normal" : name === "uncertain" ? "uncertain" : "other";

function showCounts() {
  const counts = state.counts;
  if (!counts) return;
  write("total", number(counts.total));
  const white = counts.differential.blasts_of_white_cells, lymphoid = counts.blast_share;
  // The share by which the run ends, too.
  const ofWhite = counts.precision.of === "white";
  const known = ofWhite ? white : lymphoid;
  const of = ofWhite ? "share.white" : "share.lymphoid";
  write("share", known.share === null ? "" : t(of, { share: percent(known.share), n: number(known.n), low: percent(known.low), high: percent(known.high) }));
  const reason = by("no-share");
  reason.hidden = known.share !== null || !known.n;
  write("no-share", reason.hidden ? "" : t("share.none", { reason: known.reason }));
  const precision = counts.precision;
  write("precision", precision.half_width_points === null ? "" : t(precision.cells_needed ? "precision" : "precision.enough", {
    points: number(precision.half_width_points, 1), needed: number(precision.cells_needed), goal: number(precision.points) }));
  const rows = Object.entries(counts.differential.white_cells.kinds)
    .map(([name, one]) => [[named("kind", name), `called ${decisionOf(name)}`], number(one.count), percent(one.share), interval(one)]);
  for (const [name, count] of Object.entries(counts.differential.beside)) rows.push([[named("kind", name), "called other"], number(count), "", ""]);
  if (counts.differential.erythroblasts.count) rows.push([[named("kind", "erythroblast"), "called other"], number(counts.differential.erythroblasts.count), "", ""]);
  rows.push([[t("kind.uncertain"), "called uncertain"], number(counts.differential.uncertain), "", ""]);
  rowsOf(by("kinds"), rows);
  const doubts = Object.entries(counts.uncertain_by_reason);
  by("doubts").replaceChildren(...doubts.map(([check, n]) => element("li", {}, `${named("check", check)}: ${number(n)}`)));
}

function showCells() {
  const list = by("cells");
  by("no-cells").hidden = state.cells.length > 0;
  const there = new Map([...list.children].map((one) => [one.dataset.track, one]));
  const tracks = new Set(state.cells.map((cell) => String(cell.track)));
  // What shows cells that have left shows new ones: browsers are slow to clear away what is no longer used.
  const left = [...list.children].filter((one) => !tracks.has(one.dataset.track));
  const shown = state.cells.map((cell) => {
    const called = cell.decision === "other" && cell.kind ? cell.kind : cell.decision;
    const chance = cell.decision === "other" ? cell.kind_probability : cell.probability;
    const p = chance === null ? "" : t(cell.decision === "other" ? "cells.p_kind" : "cells.p", { p: number(chance, 2) });
    const why = cell.check ? named("check", cell.check) : "";
    const text = [cell.track, named("kind", called), p, why].join("|") + (cell.reason || "");
    let item = there.get(String(cell.track));
    if (!item) {
      item = left.pop() || element("li", {}, element("canvas", { role: "img", width: 96, height: 96 }),
        element("div", { class: "called" }), element("div", { class: "p" }), element("div", { class: "quiet" }));
      item.dataset.track = cell.track;
      item.firstChild.getContext("2d").clearRect(0, 0, item.firstChild.width, item.firstChild.height);
      if (connection === "polling") fetchPicture(cell.track);
    }
    if (item.dataset.text !== text + document.documentElement.lang) {
      item.dataset.text = text + document.documentElement.lang;
      const [image, name, chanceOf, reason] = item.children;
      image.setAttribute("aria-label", t("cells.alt", { track: cell.track }));
      name.textContent = named("kind", called);
      name.className = `called ${cell.decision}`;
      chanceOf.textContent = p;
      reason.textContent = why;
      reason.title = cell.reason || "";
    }
    return item;
  });
  if (shown.length !== list.children.length || shown.some((one, index) => one !== list.children[index])) list.replaceChildren(...shown);
}

/** Draw a cell's picture, if the page still shows that cell. */
function drawCell(track, jpeg) {
  const item = by("cells").querySelector(`[data-track="${track}"]`);
  if (item) draw(item.firstChild, jpeg, () => item.dataset.track === String(track)).catch(() => {});
}

/** Take pictures of new cells as the server sends them: track, length, JPEG. */
function pictured(buffer) {
  const view = new DataView(buffer);
  for (let at = 0; at < buffer.byteLength;) {
    const track = view.getBigUint64(at), from = at + 12;
    at = from + view.getUint32(at + 8);
    drawCell(track, new Uint8Array(buffer, from, at - from));
  }
}

async function fetchPicture(track) {
  try {
    const answer = await fetch(`/api/cells/${track}/picture`);
    if (answer.ok) drawCell(track, new Uint8Array(await answer.arrayBuffer()));
  } catch { /* the picture stays dark */ }
}

function showDevice() {
  const field = state.field, of = state.run;
  const gauges = [];
  if (field) {
    gauges.push([t("device.sharpness"), `${number(field.sharpness, 2)}${field.fault ? ` – ${named("fault", field.fault)}` : ""}`]);
    gauges.push([t("device.light"), `${number(Math.max(...field.glass))} / 255`]);
  }
  if (state.stage && state.stage.lamp !== null) gauges.push([t("device.lamp"), percent(state.stage.lamp, 0)]);
  gauges.push([t("device.disk"), state.disk_free_bytes === null ? "–" : `${number(state.disk_free_bytes / 1e9, 1)} GB`]);
  if (of) {
    gauges.push([t("device.latency"), of.latency_ms.p50 === null ? "–" : t("device.latency_ms", { p50: number(of.latency_ms.p50), p95: number(of.latency_ms.p95) })]);
    gauges.push([t("device.scale"), of.px_per_um === null ? t("device.no_scale") : `${number(of.px_per_um, 2)} px/µm`]);
  }
  if (state.silent_s !== null && state.silent_s > 3 && state.phase === "running") gauges.push([t("device.silent"), `${number(state.silent_s)} s`]);
  pairs("gauges", gauges);
}

function showFrames() {
  const of = state.run;
  if (!of) return;
  const frames = of.frames;
  pairs("frames", [
    [t("frames.captured"), number(frames.captured)], [t("frames.processed"), t("frames.rate", { n: number(frames.processed), fps: number(of.fps, 1) })],
    [t("frames.dropped"), number(frames.dropped)], [t("frames.rejected"), number(frames.rejected)],
    [t("frames.in_flight"), number(frames.in_flight)], [t("frames.duration"), t("seconds", { s: number(of.duration_s) })]]);
  const reasons = Object.entries(frames.rejected_by_reason).map(([reason, n]) => `${named("fault", reason)}: ${number(n)}`);
  const list = by("rejected");
  if (list.dataset.text !== reasons.join("|")) {
    list.dataset.text = reasons.join("|");
    list.replaceChildren(...reasons.map((text) => element("li", {}, text)));
  }
}

function keepEvents(more) {
  for (const one of more) {
    if (one.number <= lastEvent) continue;
    lastEvent = one.number;
    events.unshift(one);
  }
  events.length = Math.min(events.length, MOST_EVENTS);
}

async function takeEvents() {
  const first = state.events.length ? state.events[0].number : state.events_recorded + 1;
  // A page that was away for long asks for what it missed.
  if (lastEvent && first > lastEvent + 1 && !fetching) {
    fetching = true;
    try { keepEvents(await ask(`/api/events?after=${lastEvent}`)); } catch { /* the next message tries again */ } finally { fetching = false; }
  }
  if (!fetching) keepEvents(state.events);
  const shown = `${run} ${lastEvent} ${document.documentElement.lang}`;
  if (by("events").dataset.shown === shown) return;
  by("events").dataset.shown = shown;
  rowsOf(by("events"), events.map((one) => [[clock(one.at), ""], [named("event", one.kind), ""], [one.text, ""]]));
}

function showStage() {
  const stage = state.stage;
  by("stage").hidden = !stage;
  if (!stage) return;
  by("lamp-label").hidden = !stage.has_lamp;
  if (stage.lamp !== null && document.activeElement !== by("lamp")) by("lamp").value = stage.lamp;
  const at = stage.place_um;
  write("place", `${at ? t("stage.place", { x: number(at[0], 1), y: number(at[1], 1), z: number(at[2], 1) }) : ""}${stage.busy ? ` ${t("stage.busy")}` : ""}`);
  by("stage-trouble").hidden = !stage.trouble;
  write("stage-trouble", stage.trouble || "");
}

function show() {
  showPhase();
  if (!state) return;
  showCounts();
  showCells();
  showDevice();
  showFrames();
  showStage();
  takeEvents();
  by("to-review").hidden = !state.has_review;
  write("research", state.research_use);
  write("where", [state.session, state.camera, state.bundle].join(" · "));
  for (const name of ["sample", "operator"]) {
    const field = document.querySelector(`form[data-command="${name}"] input`);
    if (state[name] && document.activeElement !== field && !field.dataset.touched) field.value = state[name];
  }
}

function watchPictures() {
  leavePictures();
  leavePictures = watchStream("/stream.mjpg", by("stream"), () => {
    if (connection !== "lost") setTimeout(watchPictures, 1000);
  });
}

function heard(message) {
  const now = encodeURIComponent(`${message.session}-${message.run ? message.run.started_at : ""}`);
  if (run !== null && run !== now) {
    events.length = 0;
    lastEvent = 0;
    by("cells").replaceChildren();
  }
  run = now;
  state = message;
  show();
}

function changed(next) {
  if (next === connection) return;
  connection = next;
  if (next !== "lost") watchPictures();
  showPhase();
}

async function command(name, body = {}) {
  try {
    const answer = await ask(`/api/commands/${name}`, body);
    write("said", t(answer.done ? "said.done" : "said.later"));
    return true;
  } catch (error) {
    write("said", error.message);
    return false;
  }
}

function moveBy(direction) {
  const step = Number(by("step").value);
  const [x, y, z] = direction.split(",").map((one) => Number(one) * step);
  // Height is finer than the plane.
  command("move", { x_um: x, y_um: y, z_um: Math.max(-100, Math.min(100, z)) });
}

const pauseOrGoOn = () => command(state && state.phase === "paused" ? "resume" : "pause");

function wire() {
  by("pause").addEventListener("click", pauseOrGoOn);
  by("stop").addEventListener("click", () => by("ask-stop").showModal());
  by("ask-stop").addEventListener("close", () => {
    if (by("ask-stop").returnValue === "yes") command("stop");
    by("ask-stop").returnValue = "";
  });
  for (const form of document.querySelectorAll("form[data-command]")) {
    const field = form.elements.text;
    field.addEventListener("input", () => { field.dataset.touched = "yes"; });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!(await command(form.dataset.command, { text: field.value }))) return;
      delete field.dataset.touched;
      if (form.dataset.command === "note") field.value = "";
    });
  }
  for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => moveBy(button.dataset.move));
  by("autofocus").addEventListener("click", () => command("autofocus"));
  by("lamp").addEventListener("change", (event) => command("lamp", { level: Number(event.target.value) }));
  document.addEventListener("keydown", (event) => {
    if (!usesKey(event)) return;
    const arrows = { ArrowUp: "0,-1,0", ArrowDown: "0,1,0", ArrowLeft: "-1,0,0", ArrowRight: "1,0,0" };
    if (event.target.closest(".pad") && arrows[event.key]) moveBy(arrows[event.key]);
    else if (event.key === "p" && !by("pause").disabled) pauseOrGoOn();
    else if (event.key === "n") by("note").focus();
    else if (event.key === "s" && !by("stop").disabled) by("ask-stop").showModal();
    else if (event.key === "f" && !by("stage").hidden) command("autofocus");
    else return;
    event.preventDefault();
  });
}

onLanguage(show);
await begin();
wire();
connect("/api/live?pictures=true", "/api/state", { heard, pictured, changed });
