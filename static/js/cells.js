// The cells of a field arrive after the page: ask how far they are, then fetch the section again.

const PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5000;

function say(section, state) {
  const words = section.querySelector("[data-cells-say] p");
  if (words && words.textContent !== state.sentence) words.textContent = state.sentence;
  const bar = section.querySelector("[data-cells-progress]");
  if (bar && state.total > 0) {
    bar.max = state.total;
    bar.value = state.done;
  }
}

async function fetchAgain(section) {
  const answer = await fetch(section.dataset.cellsSection, { credentials: "same-origin" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(section.id);
  if (fresh) section.replaceWith(fresh);
}

async function follow(section) {
  let pause = PAUSE_MS;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 1.3, LONGEST_PAUSE_MS);
    let state;
    try {
      const answer = await fetch(section.dataset.cellsState, { credentials: "same-origin" });
      if (!answer.ok) continue;
      state = await answer.json();
    } catch {
      continue; // The server is away for a moment; the page asks again.
    }
    if (state.waiting) say(section, state);
    else return fetchAgain(section);
  }
}

const section = document.querySelector("[data-cells]");
if (section && ["queued", "running"].includes(section.dataset.cells)) follow(section);
