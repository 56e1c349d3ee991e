// What a person does to the cells: select, name, confirm, repair, undo. Each step is sent at once,
// one after the other, and sent again with the same key until the server has it.

import { refresh, section } from "./cells.js";
import { makeKey } from "./request_key.js";

const RETRY_MS = 1500;
const viewer = document.querySelector("[data-viewer]");
const outlines = document.querySelector("[data-outlines]");

let line = Promise.resolve();
let adding = false;
let anchor = null;
let lastSaid = "";

function boxes() {
  return [...section().querySelectorAll(".cells__box")];
}

function chosen() {
  return boxes().filter((box) => box.checked);
}

function focused() {
  const box = document.activeElement;
  return box instanceof HTMLInputElement && box.classList.contains("cells__box") ? box : null;
}

function say(text) {
  lastSaid = text;
  const place = section().querySelector("[data-cells-said]");
  if (place) place.textContent = text;
}

/** The selected cells, or the one that has the focus. */
function targets() {
  const picked = chosen();
  if (picked.length) return picked.map((box) => box.value);
  return focused() ? [focused().value] : [];
}

async function send(body) {
  const token = section().querySelector("[name=csrf_token]").value;
  for (;;) {
    let answer;
    try {
      answer = await fetch(section().dataset.cellsAct, {
        method: "POST",
        credentials: "same-origin",
        headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token },
        body: JSON.stringify({ ...body, seen: section().dataset.seen }),
      });
    } catch {
      answer = null;
    }
    if (answer && answer.status < 500 && answer.status !== 429) return answer;
    say("Not saved yet: the server does not answer. Trying again …");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Put one step behind those that are on their way. */
function act(body) {
  const step = { ...body, key: makeKey() };
  line = line.then(() => take(step)).catch(() => say("Something went wrong; reload the page."));
  return line;
}

async function take(step) {
  say("Saving …");
  const answer = await send(step);
  let said = {};
  try {
    said = await answer.json();
  } catch {
    // An answer without words: a lost session shows its own page on reload.
  }
  const place = step.next ?? focused()?.value;
  if (answer.ok) section().dataset.seen = said.seen;
  await refresh();
  for (const box of boxes()) box.checked = false;
  say(answer.ok ? `Saved. ${said.sentence}` : said.message ?? "That was not saved; reload the page.");
  section().querySelector("[data-cells-said]")?.classList.toggle("cells__said--wrong", !answer.ok);
  // A repair takes its cell away: the focus goes to what stands in its place, or near it.
  const all = boxes();
  const at = all.find((box) => box.value === String(said.added?.[0] ?? place));
  const near = all.find((box) => Number(box.value) > Number(place)) ?? all.at(-1);
  if (place || said.added?.length) (at ?? near)?.focus({ preventScroll: true });
}

/** Name cells and go on to the next one, so that a row of cells is named by a row of keys. */
function name(code, action) {
  const cells = targets();
  if (!cells.length) {
    say("Select a cell first.");
    return;
  }
  const all = boxes();
  const last = all.findIndex((box) => box.value === cells.at(-1));
  const next = all[Math.min(last + 1, all.length - 1)];
  if (focused()) next?.focus();
  act({ action, code, cells, next: next?.value });
}

function repair(action) {
  const cells = targets();
  const next = focused()?.value;
  if (!cells.length && action !== "undo" && action !== "redo") {
    say(action === "merge" ? "Select the cells to merge first." : "Select a cell first.");
    return;
  }
  act({ action, cells, next });
}

function run(what) {
  const [action, code] = what.split(":");
  if (action === "correct" || action === "confirm") name(code, action);
  else repair(action);
}

function setAdding(on) {
  adding = on;
  viewer?.classList.toggle("viewer--adding", on);
  section().querySelector("[data-cells-add]")?.setAttribute("aria-pressed", String(on));
  if (on) {
    say("Click on the middle of a nucleus in the picture; press a again to stop.");
    viewer?.scrollIntoView({ block: "nearest" });
  }
}

const keys = {
  Enter: () => run("confirm"),
  s: () => run("split"),
  j: () => run("merge"),
  Delete: () => run("remove"),
  Backspace: () => run("remove"),
  z: (event) => run(event.shiftKey ? "redo" : "undo"),
  a: () => setAdding(!adding),
  Escape: () => {
    for (const box of boxes()) box.checked = false;
    setAdding(false);
  },
};

function columns(all) {
  const top = all[0].getBoundingClientRect().top;
  const row = all.findIndex((box) => box.getBoundingClientRect().top > top + 4);
  return row < 1 ? all.length : row;
}

function move(event) {
  const all = boxes();
  const here = all.indexOf(focused());
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(all), ArrowDown: columns(all) }[event.key];
  if (here < 0 || !step) return false;
  all[Math.min(Math.max(here + step, 0), all.length - 1)].focus();
  return true;
}

/** Shift selects all cells from the last one that was selected to this one. */
function pick(event) {
  const box = event.target;
  if (!(box instanceof HTMLInputElement) || !box.classList.contains("cells__box")) return;
  const all = boxes();
  if (event.shiftKey && anchor !== null) {
    const [from, to] = [all.findIndex((one) => one.value === anchor), all.indexOf(box)].sort((a, b) => a - b);
    for (const one of all.slice(Math.max(from, 0), to + 1)) one.checked = box.checked;
  }
  anchor = box.value;
  mark();
}

/** Show in the picture which cells are selected. */
function mark() {
  const picked = new Set(targets());
  for (const path of outlines?.querySelectorAll("[data-cell]") ?? []) {
    path.classList.toggle("outline--picked", picked.has(path.dataset.cell));
  }
}

function keysAreOn() {
  try {
    return localStorage.getItem("marrow-find-keys") !== "off";
  } catch {
    return true;
  }
}

let asked = null;

/** Show at once what another distance would find; nothing is kept until the button is pressed. */
async function preview(range) {
  const form = range.form;
  form.querySelector("[data-distance-shown]").value = range.value;
  asked?.abort();
  asked = new AbortController();
  const said = form.querySelector("[data-distance-said]");
  try {
    const answer = await fetch(`${section().dataset.cellsPreview}?distance=${range.value}`, {
      credentials: "same-origin",
      headers: { Accept: "application/json" },
      signal: asked.signal,
    });
    const found = await answer.json();
    if (!answer.ok) {
      said.textContent = found.message ?? "This distance cannot be tried now.";
      return;
    }
    const paths = found.outlines.filter((corners) => corners.length).map((corners) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", "outline");
      path.setAttribute("d", `M${corners.map((corner) => corner.join(" ")).join("L")}Z`);
      return path;
    });
    outlines?.replaceChildren(...paths);
    said.textContent = `${found.count} cells with this distance. Nothing is kept until you use these outlines.`;
  } catch (error) {
    if (error.name !== "AbortError") said.textContent = "The server does not answer; move the slider again.";
  }
}

let waiting = null;

function listen() {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-cells-add]") : null;
    if (button) setAdding(!adding);
    else pick(event);
  });
  document.addEventListener("focusin", mark);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-cells-form]")) {
      event.preventDefault();
      if (event.submitter?.value) run(event.submitter.value);
    } else if (form.matches("[data-cells-distance]")) {
      event.preventDefault();
      act({ action: "find_again", distance: form.elements.namedItem("distance").value });
    }
  });
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-cells-distance] [type=range]")) return;
    clearTimeout(waiting);
    const range = event.target;
    range.form.querySelector("[data-distance-shown]").value = range.value;
    waiting = setTimeout(() => preview(range), 120);
  });
  // Before the page's own keys: within the cells a digit is a class and not a layer.
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keysAreOn()) return;
      const within = event.target instanceof Element && event.target.closest(".cells__form");
      if (!within || (event.target.matches("button, a") && ["Enter", " "].includes(event.key))) return;
      const digit = /^Digit([1-9])$/.exec(event.code);
      const to = digit && section().querySelectorAll(".cells__to")[Number(digit[1]) - 1];
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (to && !event.shiftKey) run(to.value);
      else if (keys[key]) keys[key](event);
      else if (!move(event)) return;
      event.preventDefault();
      event.stopPropagation();
    },
    true,
  );
  viewer?.addEventListener("field:press", (event) => {
    const { x, y, cell } = event.detail;
    if (adding) {
      act({ action: "add", x, y });
      return;
    }
    const box = boxes().find((one) => one.value === cell);
    if (!box) return;
    box.checked = !box.checked;
    box.focus({ preventScroll: true });
    mark();
  });
  document.addEventListener("cells:fresh", prepare);
}

function prepare() {
  const keysOn = keysAreOn();
  for (const hint of section().querySelectorAll("[data-key-hint]")) hint.hidden = !keysOn;
  const add = section().querySelector("[data-cells-add]");
  if (add) {
    add.hidden = false;
    add.setAttribute("aria-pressed", String(adding));
  }
  if (lastSaid) say(lastSaid);
  mark();
}

if (section()?.dataset.cellsAct) {
  listen();
  prepare();
}
