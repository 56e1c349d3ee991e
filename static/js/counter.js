// The counter for the microscope. Each press gets a key of its own, is kept on this computer until
// the server has it, and is sent again until then: the server counts a key once.
// Without this module each tile posts the form.

import { makeKey } from "./request_key.js";

const SOUND_KEPT = "marrow-find-count-sound";
const KEYS_KEPT = "marrow-find-keys"; // one switch for single keys on every page (WCAG 2.1.4)
const SEND_AFTER_MS = 1500;
const SEND_AT = 20;
const MOST_AT_ONCE = 200;
const LONGEST_PAUSE_MS = 30000;
const ANSWER_WITHIN_MS = 15000;
const TAPE = 8;

const form = document.querySelector("[data-counter]");
const find = (name) => form.querySelector(`[data-${name}]`);
const tiles = new Map([...form.querySelectorAll("[data-tile]")].map((tile) => [tile.dataset.tile, tile]));
const byKey = new Map([...tiles.values()].filter((tile) => tile.dataset.key).map((tile) => [tile.dataset.key, tile]));
const target = Number(form.dataset.target);

// ---------------------------------------------------------------- what is kept on this computer

function kept(name, otherwise) {
  try {
    return localStorage.getItem(name) ?? otherwise;
  } catch {
    return otherwise; // storage may be forbidden
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
    return true;
  } catch {
    return false; // it holds for this page
  }
}

function forget(name) {
  try {
    localStorage.removeItem(name);
  } catch {
    // nothing was kept
  }
}

/** Presses that no server has confirmed: opaque numbers and class codes, one entry each, so that two tabs do not overwrite each other. */
class Waiting {
  constructor() {
    this.prefix = `marrow-find-count:${form.dataset.case}:${form.dataset.person}:`;
    this.safe = true;
    this.list = this.load();
  }

  load() {
    const found = [];
    try {
      for (let place = 0; place < localStorage.length; place += 1) {
        const name = localStorage.key(place);
        if (name.startsWith(this.prefix)) found.push(JSON.parse(localStorage.getItem(name)));
      }
    } catch {
      this.safe = false;
    }
    return found.sort((one, other) => one.at - other.at || one.turn - other.turn);
  }

  add(press) {
    this.list.push(press);
    this.safe = keep(this.prefix + press.key, JSON.stringify(press)) && this.safe;
  }

  settle(keys) {
    const gone = new Set(keys);
    this.list = this.list.filter((press) => !gone.has(press.key));
    for (const key of gone) forget(this.prefix + key);
  }

  get size() {
    return this.list.length;
  }
}

// ---------------------------------------------------------------- sound

const SCALE = [0, 2, 4, 7, 9]; // pentatonic: no two classes clash

class Bell {
  constructor() {
    this.on = kept(SOUND_KEPT, "on") !== "off";
    this.context = null;
  }

  ring(hertz, seconds, after = 0) {
    if (!this.on || !window.AudioContext) return;
    this.context ??= new AudioContext();
    if (this.context.state === "suspended") this.context.resume();
    const start = this.context.currentTime + after;
    const tone = this.context.createOscillator();
    const loudness = this.context.createGain();
    tone.type = "sine";
    tone.frequency.value = hertz;
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(0.15, start + 0.008);
    loudness.gain.exponentialRampToValueAtTime(0.0001, start + seconds);
    tone.connect(loudness).connect(this.context.destination);
    tone.start(start);
    tone.stop(start + seconds);
  }

  cell(place) {
    const steps = 12 * Math.floor(place / SCALE.length) + SCALE[place % SCALE.length];
    this.ring(330 * 2 ** (steps / 12), 0.12);
  }

  back() {
    this.ring(165, 0.18);
  }

  hundred() {
    this.ring(660, 0.5, 0.1);
  }

  reached() {
    for (const [turn, hertz] of [523, 659, 784].entries()) this.ring(hertz, 1.2, 0.1 + 0.12 * turn);
  }
}

// ---------------------------------------------------------------- the counter

const waiting = new Waiting();
const bell = new Bell();
let base = new Map([...tiles].map(([code, tile]) => [code, Number(tile.dataset.count)]));
let stored = form.dataset.last.split(" ").filter(Boolean);
let turn = 0;

function count(code) {
  const steps = waiting.list.filter((press) => press.code === code).map((press) => press.step);
  return steps.reduce((sum, step) => sum + step, base.get(code) ?? 0);
}

function totals() {
  let counted = 0;
  let apart = 0;
  for (const [code, tile] of tiles) {
    if ("counts" in tile.dataset) counted += count(code);
    else apart += count(code);
  }
  return { counted, apart };
}

/** The classes counted and not taken back, the newest last. */
function standing() {
  const found = [...stored];
  for (const { code, step } of waiting.list) {
    if (step > 0) found.push(code);
    else if (found.includes(code)) found.splice(found.lastIndexOf(code), 1);
  }
  return found.filter((code) => tiles.has(code));
}

function show() {
  for (const [code, tile] of tiles) tile.querySelector("[data-value]").textContent = count(code);
  const { counted, apart } = totals();
  find("total").textContent = counted;
  find("apart").textContent = apart;
  find("apart-line").hidden = apart === 0;
  find("progress").value = Math.min(counted, target);
  const last = standing();
  find("take-back").disabled = last.length === 0;
  find("tape-line").hidden = last.length === 0;
  find("tape").textContent = last.slice(-TAPE).reverse().map((code) => tiles.get(code).dataset.short).join(", ");
}

let speaking;
function say(text) {
  // Only the last of quick presses is spoken.
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    find("say").textContent = text;
  }, 350);
}

function press(code, step) {
  turn += 1;
  waiting.add({ key: makeKey(), code, step, at: Date.now(), turn });
  show();
  find("fault").textContent = "";
  const tile = tiles.get(code);
  const { counted } = totals();
  say(`${step > 0 ? "" : "Taken back: "}${tile.dataset.name} ${count(code)}, ${counted} of ${target}`);
  state(restState(), !away);
  sendSoon();
}

function add(tile) {
  press(tile.dataset.tile, 1);
  tile.classList.remove("tile--hit");
  void tile.offsetWidth; // lets the same tile flash again
  tile.classList.add("tile--hit");
  const { counted } = totals();
  bell.cell([...tiles.values()].indexOf(tile));
  if (!("counts" in tile.dataset)) return;
  if (counted === target) bell.reached();
  else if (counted % 100 === 0) bell.hundred();
}

function takeBack() {
  const code = standing().at(-1);
  if (!code) return;
  press(code, -1);
  bell.back();
}

// ---------------------------------------------------------------- sending

let sending = null;
let timer = null;
let pause = SEND_AFTER_MS;
let stale = false; // the form's token belongs to a session that ended
let away = "";

function state(text, calm = true) {
  const line = find("state");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("counter__state--away", !calm);
}

function restState() {
  if (waiting.size === 0) return stored.length ? "Saved" : "";
  return away ? `${away} ${waiting.size} waiting.` : `${waiting.size} waiting`;
}

function sendSoon() {
  if (waiting.size === 0) return;
  if (waiting.size >= SEND_AT && !away) send();
  // A timer that runs is left alone: quick presses must not put the sending off for ever.
  else timer ??= setTimeout(() => send(), pause);
}

function send(leaving = false) {
  sending ??= deliver(leaving).finally(() => {
    sending = null;
    sendSoon();
  });
  return sending;
}

async function deliver(leaving) {
  clearTimeout(timer);
  timer = null;
  const batch = waiting.list.slice(0, MOST_AT_ONCE);
  if (batch.length === 0) return;
  try {
    if (stale && !(await renew())) return;
    const answer = await fetch(form.action, {
      method: "POST",
      credentials: "same-origin",
      redirect: "manual",
      keepalive: leaving,
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      headers: {
        Accept: "application/json",
        "Content-Type": "application/json",
        "X-CSRFToken": form.elements.namedItem("csrf_token").value,
      },
      body: JSON.stringify({
        person: form.dataset.person,
        events: batch.map(({ key, code, step }) => ({ key, code, step })),
      }),
    });
    if (answer.ok) return settle(await answer.json());
    stale = answer.type === "opaqueredirect" || answer.status === 400 || answer.status === 401;
    const said = await answer.json().catch(() => ({}));
    if (stale) fail("You may be signed out: sign in in another tab. Nothing is lost;");
    else fail(answer.status < 500 && said.message ? `${said.message} Nothing is lost;` : "The server is away. Nothing is lost;");
  } catch {
    fail("The server is away. Nothing is lost;");
  }
}

/** A new session has a new token: the page that is shown now has it, if the same person is signed in. */
async function renew() {
  const answer = await fetch(window.location.href, { credentials: "same-origin", headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-counter]");
  if (!fresh) {
    fail("You are signed out: sign in in another tab. Nothing is lost;");
    return false;
  }
  if (fresh.dataset.person !== form.dataset.person) {
    fail("Another person is signed in. Your counts wait for you;");
    return false;
  }
  form.elements.namedItem("csrf_token").value = fresh.elements.namedItem("csrf_token").value;
  stale = false;
  return true;
}

function settle(answer) {
  waiting.settle([...answer.stored, ...answer.refused.map((press) => press.key)]);
  base = new Map(Object.entries(answer.own));
  stored = answer.last;
  away = "";
  pause = SEND_AFTER_MS;
  find("fault").textContent = [...new Set(answer.refused.map((press) => press.message))].join(" ");
  show();
  state(restState());
}

function fail(sentence) {
  away = sentence;
  pause = Math.min(Math.max(pause, 1000) * 1.6, LONGEST_PAUSE_MS);
  state(restState(), false);
}

// ---------------------------------------------------------------- hands

function keysAreOn() {
  return kept(KEYS_KEPT, "on") !== "off";
}

function showKeys() {
  for (const hint of form.querySelectorAll("[data-key-hint]")) hint.hidden = !find("keys").checked;
}

form.addEventListener("submit", (event) => event.preventDefault());
for (const tile of tiles.values()) tile.addEventListener("click", () => add(tile));
find("take-back").addEventListener("click", takeBack);

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.repeat) {
    // A key that is held down is one cell, on a tile that has the focus too.
    if (event.target instanceof Element && event.target.closest("[data-tile], [data-take-back]")) event.preventDefault();
    return;
  }
  if (!find("keys").checked) return;
  if (event.target instanceof Element && event.target.matches("textarea, select, input:not([type=checkbox], [type=radio])")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const tile = byKey.get(key);
  if (tile) add(tile);
  else if (key === "u" || key === "Backspace") takeBack();
  else return;
  event.preventDefault();
});

find("settings").hidden = false;
find("sound").checked = bell.on;
find("sound").addEventListener("change", (event) => {
  bell.on = event.target.checked;
  keep(SOUND_KEPT, bell.on ? "on" : "off");
});
find("keys").checked = keysAreOn();
find("keys").addEventListener("change", (event) => {
  keep(KEYS_KEPT, event.target.checked ? "on" : "off");
  showKeys();
});
showKeys();

// Another page of the program shows what the server has: it is asked for after the last press is there.
for (const link of document.querySelectorAll("[data-after-sending]")) {
  link.addEventListener("click", async (event) => {
    if (waiting.size === 0 || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    await Promise.race([send().then(() => waiting.size && send()), new Promise((resolve) => setTimeout(resolve, 2000))]);
    window.location.assign(link.href);
  });
}

window.addEventListener("online", () => send());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden" && waiting.size) send(true);
});
window.addEventListener("beforeunload", (event) => {
  // What is kept on this computer is sent when the page is opened again.
  if (waiting.size && !waiting.safe) event.preventDefault();
});

show();
state(restState());
if (waiting.size) send();
