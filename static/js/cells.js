// The cells of a field arrive after the page: ask how far they are, then fetch the section again.

const PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5000;

export function section() {
  return document.querySelector("[data-cells]");
}

function say(state) {
  const words = section().querySelector("[data-cells-say] p");
  if (words && words.textContent !== state.sentence) words.textContent = state.sentence;
  const bar = section().querySelector("[data-cells-progress]");
  if (bar && state.total > 0) {
    bar.max = state.total;
    bar.value = state.done;
  }
}

/** Pictures that did not change stay where they are, so that nothing flickers. */
function keepUnchanged(old, fresh) {
  for (const item of fresh.querySelectorAll(".cells__item")) {
    const before = old.querySelector(`#${item.id}`);
    if (before && before.outerHTML === item.outerHTML) item.replaceWith(before);
  }
}

/** Draw the cells' own outlines over the field in place of the nuclei's. */
function drawOutlines() {
  const drawn = section().querySelector("[data-cell-outlines]");
  const over = document.querySelector("[data-outlines]");
  if (!drawn || !over || !drawn.innerHTML.trim()) return;
  // Parsed within an <svg>: a template's own elements are no SVG.
  const holder = document.createElement("template");
  holder.innerHTML = `<svg xmlns="http://www.w3.org/2000/svg">${drawn.innerHTML}</svg>`;
  over.replaceChildren(...holder.content.firstChild.childNodes);
}

/** Fetch the section as it is now and put it in place. */
export async function refresh() {
  const old = section();
  const answer = await fetch(old.dataset.cellsSection, { credentials: "same-origin" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(old.id);
  if (!fresh) return;
  const open = [...old.querySelectorAll("details")].map((details) => details.open);
  keepUnchanged(old, fresh);
  section().replaceWith(fresh);
  for (const [place, details] of [...fresh.querySelectorAll("details")].entries()) {
    details.open = open[place] ?? false;
  }
  drawOutlines();
  document.dispatchEvent(new CustomEvent("cells:fresh"));
  if (waits()) follow();
}

function waits() {
  return ["queued", "running"].includes(section().dataset.cells);
}

let following = false;

async function follow() {
  if (following) return;
  following = true;
  let pause = PAUSE_MS;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 1.3, LONGEST_PAUSE_MS);
    let state;
    try {
      const answer = await fetch(section().dataset.cellsState, { credentials: "same-origin" });
      if (!answer.ok) continue;
      state = await answer.json();
    } catch {
      continue; // The server is away for a moment; the page asks again.
    }
    if (state.waiting) say(state);
    else break;
  }
  following = false;
  await refresh();
}

if (section()) {
  drawOutlines();
  if (waits()) follow();
}
