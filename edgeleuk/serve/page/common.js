// What all pages share: the catalogue of words, the theme, and how they speak with the server.
const kept = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* a private window keeps nothing */ } },
};

let words = {};
export let language = kept.get("edgeleuk.language") || ((navigator.language || "en").startsWith("de") ? "de" : "en");
const listeners = [];

/** Say a word of the catalogue, with `{name}` replaced by `values.name`. */
export function t(key, values = {}) {
  const found = words[key] ? words[key][language] : key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A word of the catalogue if it has it, else the text itself. */
export const named = (prefix, name) => (words[`${prefix}.${name}`] ? t(`${prefix}.${name}`) : name);

/** Put the catalogue's words into a part of the page. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const one of root.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of root.querySelectorAll("[data-t-label]")) one.setAttribute("aria-label", t(one.dataset.tLabel));
  for (const one of root.querySelectorAll("[data-t-alt]")) one.alt = t(one.dataset.tAlt);
}

/** Call `listener` whenever the language changes. */
export const onLanguage = (listener) => listeners.push(listener);

// Each is made once: one for each number leaves hundreds of megabytes that browsers are slow to clear away.
const formats = new Map();
function format(kind, options) {
  const key = `${language} ${JSON.stringify(options)}`;
  if (!formats.has(key)) formats.set(key, new kind(language, options));
  return formats.get(key);
}
const digitsOf = (digits) => ({ minimumFractionDigits: digits, maximumFractionDigits: digits });

export const number = (value, digits = 0) => value === null || value === undefined ? "–"
  : format(Intl.NumberFormat, digitsOf(digits)).format(value);
export const percent = (share, digits = 1) => share === null || share === undefined ? "–"
  : format(Intl.NumberFormat, { style: "percent", ...digitsOf(digits) }).format(share);
export const clock = (at) => format(Intl.DateTimeFormat, { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(new Date(at * 1000));

/** Make an element; what is not an element among its children is taken as text. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Write a text, where it is another than is there: screen readers hear each change. */
export function write(id, text) {
  const place = document.getElementById(id);
  if (place.textContent !== text) place.textContent = text;
  return place;
}

/** Ask the server; return what it answers, or throw an Error with its sentence. */
export async function ask(path, body, signal) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try { answer = await fetch(path, { cache: "no-store", signal, ...options }); } catch { throw new Error(t("connection.none")); }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const error = new Error(typeof told.detail === "string" ? told.detail : t("refused", { status: answer.status }));
  // What is wrong stays wrong; anything else may be right when it is sent again.
  error.refused = answer.status === 409 || answer.status === 422;
  error.status = answer.status;
  throw error;
}

function themeButton() {
  const button = document.getElementById("theme");
  if (!button) return;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const now = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const show = () => { button.textContent = now() === "dark" ? t("theme.light") : t("theme.dark"); };
  button.addEventListener("click", () => {
    const next = now() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    kept.set("edgeleuk.theme", next);
    show();
  });
  dark.addEventListener("change", show);
  onLanguage(show);
}

function languageButton() {
  const button = document.getElementById("language");
  if (!button) return;
  const show = () => {
    button.textContent = language === "de" ? "English" : "Deutsch";
    button.lang = language === "de" ? "en" : "de";
  };
  button.addEventListener("click", () => {
    language = language === "de" ? "en" : "de";
    kept.set("edgeleuk.language", language);
    translate();
    for (const listener of listeners) listener();
  });
  onLanguage(show);
}

/** Whether single keys do something: not while somebody writes, and not where it was switched off. */
export function usesKey(event) {
  const writes = event.target.closest("input, select, textarea, dialog, [contenteditable]");
  return !writes && !event.ctrlKey && !event.metaKey && !event.altKey && kept.get("edgeleuk.keys") !== "off";
}

/** Load the catalogue and begin; await it first. */
export async function begin() {
  const theme = kept.get("edgeleuk.theme");
  if (theme) document.documentElement.dataset.theme = theme;
  words = await (await fetch("/page/words.json")).json();
  const keys = document.getElementById("keys-on");
  if (keys) {
    keys.checked = kept.get("edgeleuk.keys") !== "off";
    keys.addEventListener("change", () => kept.set("edgeleuk.keys", keys.checked ? "on" : "off"));
  }
  themeButton();
  languageButton();
  translate();
  for (const listener of listeners) listener();
}

/**
 * Keep connected with a stream of messages.
 *
 * A connection that is cut, or silent for longer than `silenceMs`, is made again after 0.25 s, then later, 0.5 s at
 * most; an attempt that takes longer than 1.5 s is given up. `poll` is asked for first: browsers let a WebSocket wait
 * for seconds when those before it failed. Without WebSocket it is asked for every second. `heard` takes messages,
 * `pictured` those that are bytes, `changed` how the connection is.
 */
export function connect(path, poll, { heard, pictured, changed }) {
  const silenceMs = 4000;
  let waitMs = 250, socket = null, quiet = 0, again = 0;
  const later = () => {
    clearTimeout(again);
    again = setTimeout(reach, waitMs);
    waitMs = Math.min(500, waitMs * 2);
  };
  const reach = async () => {
    clearTimeout(again);
    const signal = AbortSignal.timeout(1500);
    try {
      heard(await ask(poll, undefined, signal));
    } catch {
      // Where requests hang on dead connections, as behind a pulled cable, new ones wait for them; a WebSocket does not.
      if (!signal.aborted) { later(); return; }
    }
    if (!socket) open();
  };
  const lost = (one) => {
    if (one !== socket) return;
    socket = null;
    clearTimeout(quiet);
    try { one.close(); } catch { /* it is closed */ }
    changed("lost");
    later();
  };
  const watch = (one, ms) => {
    clearTimeout(quiet);
    quiet = setTimeout(() => lost(one), ms);
  };
  function open() {
    clearTimeout(again);
    const one = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    one.binaryType = "arraybuffer";
    socket = one;
    watch(one, 1500);
    one.onopen = () => watch(one, silenceMs);
    one.onmessage = (event) => {
      if (one !== socket) return;
      watch(one, silenceMs);
      waitMs = 250;
      changed("open");
      if (typeof event.data === "string") heard(JSON.parse(event.data));
      else pictured(event.data);
    };
    one.onclose = one.onerror = () => lost(one);
  }
  if (!("WebSocket" in window)) {
    changed("polling");
    const round = async () => {
      try { heard(await ask(poll)); changed("polling"); } catch { changed("lost"); }
      setTimeout(round, 1000);
    };
    round();
    return;
  }
  addEventListener("online", () => { if (!socket) reach(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !socket) reach(); });
  open();
}
