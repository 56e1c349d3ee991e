// Asking without leaving the page: the answer is put below the others, and where a language network
// writes it, sentence by sentence. Without this script the form does the same by a reload.

import { makeKey } from "./request_key.js";

const form = document.querySelector("[data-ask]");
const turns = document.querySelector("[data-turns]");

function fault(text) {
  const place = form.querySelector("[data-ask-fault]");
  place.textContent = text;
  place.hidden = !text;
}

function say(text) {
  const place = document.querySelector("[data-ask-said]");
  if (place) place.textContent = text;
}

function post(address, body, accept) {
  return fetch(address, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", Accept: accept, "X-CSRFToken": form.elements.csrf_token.value },
    body: JSON.stringify(body),
  });
}

function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

/** Events of a stream, one after the other: [name, data]. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    let end;
    while ((end = rest.indexOf("\n\n")) >= 0) {
      const block = rest.slice(0, end);
      rest = rest.slice(end + 2);
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

async function follow(address, turn) {
  const answer = turn.querySelector(".turn__answer");
  const before = answer.innerHTML;
  answer.setAttribute("aria-busy", "true");
  answer.innerHTML = "";
  const waits = document.createElement("p");
  waits.className = "muted turn__waits";
  waits.textContent = "Writing from the passages …";
  answer.append(waits);
  turn.classList.add("turn--writing");
  say("Writing from the passages …");
  try {
    const response = await post(address, {}, "text/event-stream");
    if (!response.ok) throw new Error(String(response.status));
    for await (const [name, data] of events(response)) {
      if (name === "sentence") {
        const line = document.createElement("p");
        line.textContent = data.text;
        waits.before(line);
      } else if (name === "turn") {
        const whole = element(data.turn);
        turn.replaceWith(whole);
        return whole;
      }
    }
    throw new Error("broken off");
  } catch {
    // The embedded answer was kept before anything was asked of the language network.
    answer.innerHTML = before;
    answer.removeAttribute("aria-busy");
    turn.classList.remove("turn--writing");
    fault("The language network broke off; this is the tutor’s own answer.");
    return turn;
  }
}

async function ask() {
  const question = form.elements.question.value.trim();
  if (!question) return;
  const send = form.querySelector("[type=submit]");
  send.disabled = true;
  fault("");
  say("Looking it up …");
  try {
    const body = { question, key: form.elements.key.value, conversation: form.elements.conversation.value };
    const response = await post(form.action, body, "application/json");
    const said = await response.json();
    if (!response.ok) {
      fault(said.message ?? "The question could not be asked.");
      say("");
      form.elements.key.value = makeKey();
      return;
    }
    form.elements.key.value = makeKey();
    form.elements.question.value = "";
    let turn = element(said.turn);
    turns.append(turn);
    turn.scrollIntoView({ block: "start" });
    if (said.rewrite) turn = await follow(said.rewrite, turn);
    say(turn.querySelector(".turn__answer").textContent);
    const at = document.activeElement;
    if (at === document.body || form.contains(at)) form.elements.question.focus({ preventScroll: true });
  } catch {
    say("");
    fault("The server does not answer. Your question is still here; please try again.");
  } finally {
    send.disabled = false;
  }
}

// An edited question is another one; what was sent before may have been taken.
form?.elements.question.addEventListener("change", () => {
  form.elements.key.value = makeKey();
});

// Only a conversation's own page grows; elsewhere the form leads there.
if (form && turns) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
}

for (const link of document.querySelectorAll("[data-example]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    form.elements.question.value = link.textContent;
    form.requestSubmit();
  });
}
