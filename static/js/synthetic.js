// A training goes on behind the page: ask how far it is, and move the bar, the curves and the pictures.

const PAUSE_MS = 1500;

const run = document.querySelector("[data-run]");

function put(selector, text) {
  const element = run.querySelector(selector);
  if (element && element.textContent !== text) element.textContent = text;
}

function draw(state) {
  put("[data-run-words]", state.words);
  put("[data-run-message]", state.message);
  put("[data-run-epochs]", String(state.epochs));
  const bar = run.querySelector("[data-run-bar]");
  if (bar && state.total > 0) {
    bar.max = state.total;
    bar.value = state.state === "done" ? state.total : state.done;
  }
  for (const [name, points] of Object.entries(state.curves)) {
    run.querySelector(`[data-curve="${name}"]`)?.setAttribute("points", points);
  }
  run.querySelector("[data-run-curves]")?.toggleAttribute("hidden", state.epochs < 2);
  run.querySelector("[data-run-kernel]")?.toggleAttribute("hidden", !state.curves.kernel.includes(" "));
  const sheet = run.querySelector("[data-run-sheet]");
  if (sheet && state.sheet && sheet.getAttribute("src") !== state.sheet) {
    sheet.src = state.sheet;
    run.querySelector("[data-run-pictures]")?.removeAttribute("hidden");
  }
}

async function watch() {
  let mark = null;
  for (;;) {
    let state;
    try {
      const answer = await fetch(run.dataset.run, { credentials: "same-origin" });
      if (answer.status === 404) return;
      if (answer.ok) state = await answer.json();
    } catch {
      state = undefined; // The server is away for a moment.
    }
    if (state) {
      draw(state);
      // What the server draws (buttons, the verdict, drawn pictures) has changed.
      if (mark !== null && mark !== state.mark) {
        location.reload();
        return;
      }
      mark = state.mark;
      if (!state.waiting) return;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

if (run && run.hasAttribute("data-busy")) watch();

// Classes of the set that is chosen: the others' are no answer.
for (const radio of document.querySelectorAll('input[name="source"]')) {
  radio.addEventListener("change", () => {
    for (const one of document.querySelectorAll(".sets__one")) {
      const chosen = one.querySelector('input[name="source"]').checked;
      for (const box of one.querySelectorAll('input[name="code"]')) box.checked = chosen;
    }
  });
}
