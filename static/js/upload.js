// Sends images one request each, shows what becomes of every one, and loses none when one fails.
// Without this module the form still works: it posts all images at once.

const AT_ONCE = 2;

/** A key that makes a resend harmless: the server answers it with the analysis it already has. */
function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function readable(bytes) {
  return bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

class Queue {
  constructor(form) {
    this.form = form;
    this.list = document.querySelector("[data-queue]");
    this.template = document.querySelector("[data-queue-item]");
    this.summary = document.querySelector("[data-queue-summary]");
    this.actions = document.querySelector("[data-queue-actions]");
    this.caseId = form.elements.namedItem("case")?.value ?? "";
    this.caseUrl = "";
    this.most = Number(form.dataset.mostImages);
    this.mostBytes = Number(form.dataset.mostBytes);
    this.items = [];
    this.running = 0;
  }

  add(files) {
    const accepted = Array.from(files).slice(0, Math.max(0, this.most - this.items.length));
    for (const file of accepted) this.items.push(this.show(file));
    if (accepted.length < files.length) {
      this.say(`At most ${this.most} images at once were expected; the rest was left out.`);
    }
    document.querySelector("[data-queue-section]").hidden = this.items.length === 0;
    this.advance();
  }

  show(file) {
    const row = this.template.content.firstElementChild.cloneNode(true);
    const item = { file, row, key: freshKey(), state: "waiting", url: "" };
    // The name is shown here and stays here: it is neither sent nor stored.
    row.querySelector("[data-name]").textContent = file.name || "Pasted image";
    row.querySelector("[data-size]").textContent = readable(file.size);
    row.querySelector("[data-retry]").addEventListener("click", () => this.retry(item));
    this.list.append(row);
    this.mark(item, "waiting", "Waiting");
    return item;
  }

  mark(item, state, text) {
    item.state = state;
    item.row.dataset.state = state;
    item.row.querySelector("[data-status]").textContent = text;
    item.row.querySelector("[data-retry]").hidden = state !== "failed";
    item.row.querySelector("progress").hidden = state !== "sending";
  }

  retry(item) {
    this.mark(item, "waiting", "Waiting");
    this.advance();
  }

  advance() {
    // The first image opens the case; the others follow into it.
    const places = this.caseId ? AT_ONCE : 1;
    while (this.running < places) {
      const next = this.items.find((item) => item.state === "waiting");
      if (!next) break;
      this.send(next);
    }
    if (this.running === 0) this.finish();
  }

  send(item) {
    if (item.file.size > this.mostBytes) {
      this.mark(
        item,
        "refused",
        `An image of at most ${readable(this.mostBytes)} was expected; this one has ${readable(item.file.size)}.`,
      );
      return;
    }
    const body = new FormData();
    body.append("csrf_token", this.form.elements.namedItem("csrf_token").value);
    body.append("upload_key", item.key);
    if (this.caseId) body.append("case", this.caseId);
    body.append("images", item.file, "image");
    const request = new XMLHttpRequest();
    request.open("POST", this.form.action);
    request.setRequestHeader("Accept", "application/json");
    request.responseType = "json";
    const progress = item.row.querySelector("progress");
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      progress.value = event.loaded / event.total;
      if (event.loaded === event.total) this.mark(item, "sending", "Analysing…");
    });
    request.addEventListener("load", () => this.answered(item, request));
    request.addEventListener("error", () =>
      this.mark(item, "failed", "The server could not be reached. Nothing is lost: retry."),
    );
    request.addEventListener("loadend", () => {
      this.running -= 1;
      this.advance();
    });
    this.running += 1;
    progress.value = 0;
    this.mark(item, "sending", "Sending…");
    request.send(body);
  }

  answered(item, request) {
    const answer = request.response;
    if (request.status === 200 && answer?.analysis) {
      item.url = answer.analysis.url;
      this.caseId = answer.case.id;
      this.caseUrl = answer.case.url;
      const link = item.row.querySelector("[data-link]");
      link.href = item.url;
      link.hidden = false;
      this.mark(item, "done", answer.analysis.headline);
      return;
    }
    if (!answer?.message) {
      this.mark(item, "failed", "Your session may have ended. Sign in in another tab, then retry.");
      return;
    }
    // What the image itself is cannot change; everything else may go better a second time.
    const final = request.status === 413 || request.status === 415 || request.status === 422;
    this.mark(item, final ? "refused" : "failed", answer.message);
  }

  finish() {
    const count = (state) => this.items.filter((item) => item.state === state).length;
    const done = count("done");
    const missed = count("failed") + count("refused");
    if (this.items.length === 1 && done === 1) {
      window.location.assign(this.items[0].url);
      return;
    }
    if (this.items.length === 0) return;
    this.say(`${done} of ${this.items.length} analysed${missed ? `, ${missed} not` : ""}.`);
    this.actions.hidden = !this.caseUrl;
    if (this.caseUrl) this.actions.querySelector("a").href = this.caseUrl;
  }

  say(text) {
    this.summary.textContent = text;
  }

  get busy() {
    return this.running > 0;
  }
}

function bind(form) {
  const queue = new Queue(form);
  const zone = form.querySelector("[data-drop]");
  form.querySelector("[data-submit]").hidden = true;
  form.querySelector(".drop__choose").classList.add("drop__choose--enhanced");
  for (const node of form.querySelectorAll("[data-enhanced]")) node.hidden = false;

  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      queue.add(input.files);
      input.value = "";
    });
  }
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    zone.classList.toggle("drop--over", depth > 0);
  };
  zone.addEventListener("dragenter", () => over(1));
  zone.addEventListener("dragleave", () => over(-1));
  // The whole window takes the drop: a near miss must not make the browser open the file.
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    if (event.dataTransfer?.files.length) queue.add(event.dataTransfer.files);
  });
  window.addEventListener("paste", (event) => {
    const files = Array.from(event.clipboardData?.files ?? []);
    if (files.length) queue.add(files);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("beforeunload", (event) => {
    if (queue.busy) event.preventDefault();
  });
}

for (const form of document.querySelectorAll("form[data-upload]")) bind(form);
