// Single keys of the analysis page. They can be switched off (WCAG 2.1.4) in the list that ? opens.

const KEPT = "marrow-find-keys";
const dialog = document.querySelector("[data-shortcuts]");
const form = document.querySelector("[data-layers]");
const correct = document.querySelector("[data-correct]");

function keysAreOn() {
  try {
    return localStorage.getItem(KEPT) !== "off";
  } catch {
    return true; // storage may be forbidden; the keys then stay on
  }
}

function keep(on) {
  try {
    localStorage.setItem(KEPT, on ? "on" : "off");
  } catch {
    // nothing to keep it in: it holds for this page
  }
}

function changed(control) {
  control.dispatchEvent(new Event("input", { bubbles: true }));
}

function base(value) {
  const radio = form.querySelector(`input[name=base][value=${value}]`);
  radio.checked = true;
  changed(radio);
}

function toggle(name) {
  const box = form.elements.namedItem(name);
  box.checked = !box.checked;
  changed(box);
}

function nextClass() {
  const select = form.elements.namedItem("class");
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  form.elements.namedItem("heat").checked = true;
  changed(select);
}

function nextMap() {
  const radios = [...form.elements.namedItem("map")];
  const next = radios[(radios.findIndex((radio) => radio.checked) + 1) % radios.length];
  next.checked = true;
  changed(next);
}

function press(selector) {
  document.querySelector(selector)?.click();
}

function focus(selector) {
  const node = document.querySelector(selector);
  node?.scrollIntoView({ block: "center" });
  node?.focus();
}

/** Open the correction with this pattern chosen and the reasons under the arrows; Enter saves. */
function correctTo(number) {
  const target = correct?.querySelector(`[data-target="${number}"]`);
  if (!target) return false;
  correct.open = true;
  target.checked = true;
  const reason = correct.querySelector("[data-reason]:checked") ?? correct.querySelector("[data-reason]");
  reason.scrollIntoView({ block: "center" });
  reason.focus();
  return true;
}

const actions = {
  1: () => base("original"),
  o: () => base("original"),
  2: () => base("clahe"),
  c: () => base("clahe"),
  3: () => toggle("heat"),
  h: () => toggle("heat"),
  4: () => toggle("cells"),
  b: () => toggle("cells"),
  g: nextClass,
  m: nextMap,
  "+": () => press('[data-zoom-by="1.5"]'),
  "=": () => press('[data-zoom-by="1.5"]'),
  "-": () => press('[data-zoom-by="0.6667"]'),
  0: () => press("[data-zoom-home]"),
  "[": () => press("[data-neighbour=prev]"),
  ArrowLeft: () => press("[data-neighbour=prev]"),
  "]": () => press("[data-neighbour=next]"),
  ArrowRight: () => press("[data-neighbour=next]"),
  y: () => focus("[data-confirm]"),
  u: () => focus("[data-undo]"),
  "?": () => dialog.showModal(),
};

/** A key that the focused control needs itself is not taken from it. */
function takesKeys(node, key) {
  if (node.matches("textarea, select, input:not([type=radio]):not([type=checkbox]):not([type=range])")) return true;
  const arrow = key.startsWith("Arrow");
  return arrow && node.matches("input[type=radio], input[type=range]");
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
  if (!keysAreOn() && event.key !== "?") return;
  if (event.target instanceof Element && takesKeys(event.target, event.key)) return;
  // The digit's place and not its sign: Shift changes the sign, and differently in each layout.
  const digit = /^Digit([1-9])$/.exec(event.code);
  if (event.shiftKey && digit) {
    if (correctTo(digit[1])) event.preventDefault();
    return;
  }
  const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const hint of document.querySelectorAll("[data-key-hint]")) hint.hidden = !keysAreOn();
const opener = document.querySelector("[data-shortcuts-open]");
opener.hidden = false;
opener.addEventListener("click", () => dialog.showModal());
const on = dialog.querySelector("[data-keys-on]");
on.checked = keysAreOn();
on.addEventListener("change", () => {
  keep(on.checked);
  for (const hint of document.querySelectorAll("[data-key-hint]")) hint.hidden = !on.checked;
});
