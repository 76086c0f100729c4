// The prompt boxes: weights and order by keyboard, a count of tokens, dropped pictures that are read.

import { call } from "./api.js";
import { debounce, el, say } from "./dom.js";
import { sayProblem, sendToForm } from "./send.js";
import { move, weigh } from "./weights.js";

const BOXES = { prompt: "#f-prompt textarea", negative: "#f-negative textarea" };
const box = (name) => document.querySelector(BOXES[name]);
const isPrompt = (node) => node?.matches?.(Object.values(BOXES).join(", "));

/** Put a text in place of another so that the browser's own undo takes it back. */
function rewrite(area, text, start, end) {
  const before = area.value;
  let head = 0;
  while (head < Math.min(before.length, text.length) && before[head] === text[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(before.length, text.length) - head && before.at(-1 - tail) === text.at(-1 - tail)) tail += 1;
  area.focus();
  area.setSelectionRange(head, before.length - tail);
  const middle = text.slice(head, text.length - tail);
  const done = middle ? document.execCommand("insertText", false, middle) : document.execCommand("delete");
  if (!done || area.value !== text) {
    area.value = text;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
  area.setSelectionRange(start, end);
}

/** Insert words, such as `<lora:name:1>`, where the caret of the prompt was last; spaces are added where needed. */
export function insert(words) {
  const area = box("prompt");
  if (!area) return;
  const at = area.selectionEnd ?? area.value.length;
  const [left, right] = [area.value.slice(0, at), area.value.slice(at)];
  const text = `${left}${left && !/\s$/.test(left) ? " " : ""}${words}${right && !/^[\s,]/.test(right) ? " " : ""}`;
  rewrite(area, text + right, text.length, text.length);
}

function keys(event) {
  if (!isPrompt(event.target)) return;
  const area = event.target;
  const command = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
  const turn = { ArrowUp: 1, ArrowDown: -1 }[event.key];
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  let found;
  if (command && turn) found = weigh(area.value, area.selectionStart, area.selectionEnd, turn);
  else if (event.altKey && !event.ctrlKey && !event.metaKey && !event.shiftKey && way) found = move(area.value, area.selectionStart, area.selectionEnd, way);
  else return;
  event.preventDefault();
  if (found) rewrite(area, found.text, found.start, found.end);
}

const value = (name) => document.querySelector(`#f-${name} input`)?.value;

async function modelId() {
  const shown = value("model");
  const models = await call("/models").catch(() => []);
  return (models.find(({ id, title }) => shown === id || shown?.startsWith(`${title} · `)) ?? models[0])?.id ?? "";
}

let model = null;

async function count(name) {
  const area = box(name);
  const place = document.querySelector(`#f-${name} .tokens`);
  if (!area || !place) return;
  const text = area.value;
  if (name === "negative" && !text) return (place.textContent = "");
  model ??= modelId();
  const steps = Number(document.querySelector("#f-steps input[type=number]")?.value) || 20;
  const found = await call("/tokens", { method: "POST", json: { text, model: await model, steps, negative: name === "negative" } }).catch(() => null);
  if (text !== area.value) return;
  place.textContent = found ? `${found.tokens}/${found.limit}` : "";
  place.title = found ? `${found.tokens} tokens; the model reads them ${found.limit / found.chunks || 75} at a time` : "";
}

const counts = { prompt: debounce(300, () => count("prompt")), negative: debounce(300, () => count("negative")) };

/** Every field from what a picture or a text says; `found` is the server's answer, null when there is nothing. */
function fill(found, nothing) {
  if (!found) return sayProblem({ title: "Nothing to read", detail: nothing });
  sayProblem(null);
  const ignored = found.ignored.length ? ` Not used: ${found.ignored.join(", ")}.` : "";
  sendToForm(`fields:${JSON.stringify({ prompt: found.prompt, negative: found.negative, ...found.fields })}`, () => say(`The form is filled.${ignored}`));
}

async function readFile(file) {
  try {
    fill(await call("/read", { method: "POST", body: file }), "This picture does not say how it was made.");
  } catch (error) {
    sayProblem(error.problem);
  }
}

/** The text in the prompt if it is more than a prompt, else the clipboard, else the last run. */
async function paste() {
  const typed = box("prompt")?.value ?? "";
  const copied = typed.trim() ? "" : await navigator.clipboard?.readText?.().catch(() => "");
  try {
    for (const text of [typed, copied]) {
      const found = text?.trim() && (await call("/read-text", { method: "POST", json: { text } }));
      if (found) return fill(found);
    }
    if (typed.trim()) return fill(null, "The prompt holds words, but no settings such as “Steps: 20, Sampler: Euler”. Empty it to bring back the last run.");
    const { jobs } = await call("/jobs?limit=1");
    if (!jobs.length) return fill(null, "The clipboard holds no settings, and nothing was made yet.");
    sendToForm(`job:${jobs[0].id}`);
  } catch (error) {
    sayProblem(error.problem);
  }
}

export function watchPrompts() {
  document.addEventListener("keydown", keys);
  document.addEventListener("click", (event) => event.target.closest?.("#paste") && paste());
  document.addEventListener("input", (event) => {
    if (!event.target.closest?.("#f-model, #f-steps")) return;
    model = null;
    Object.values(counts).forEach((again) => again());
  });
  document.addEventListener("drop", (event) => {
    const file = [...(event.dataTransfer?.files ?? [])][0];
    if (!file || !event.target.closest?.("#f-prompt, #f-negative")) return;
    event.preventDefault();
    event.stopPropagation();
    readFile(file);
  }, true);
}

/** Once the boxes are there: a place for the count. Gradio changes their text without an event, so it is looked at. */
export function hangCounters() {
  for (const name of Object.keys(BOXES)) {
    const root = document.getElementById(`f-${name}`);
    if (!root || root.querySelector(".tokens") || !box(name)) continue;
    root.append(el("span", { class: "tokens", "aria-live": "off" }));
    let last = null;
    setInterval(() => {
      if (box(name)?.value === last || document.hidden) return;
      last = box(name)?.value;
      counts[name]();
    }, 400);
  }
}
