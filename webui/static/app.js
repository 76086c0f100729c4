// Fills the places that the page leaves empty, and ties the form to the canvas.

import { Canvas } from "./canvas.js";
import { el, replace } from "./dom.js";
import { History } from "./history.js";
import { problemBox } from "./passport.js";
import { mountRefused } from "./refused.js";
import { applyTheme, mountState } from "./state.js";
import { mountVerify } from "./verify.js";

let canvas;
let seen = 0;
let lastTicket = "";
let help = null;

const HELPED = { swap: "size-swap", dice: "seed-dice", recycle: "seed-recycle", generate: "generate", cancel: "cancel" };

const mounts = {
  state: mountState,
  canvas: (root) => (canvas = new Canvas(root)),
  history: (root) => new History(root),
  verify: mountVerify,
  refused: mountRefused,
};

function wrongField(name) {
  document.querySelectorAll(".field-wrong").forEach((field) => {
    field.classList.remove("field-wrong");
    field.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
  });
  const field = name && document.getElementById("f-" + name);
  if (!field) return;
  field.classList.add("field-wrong");
  const input = field.querySelector("textarea, input");
  input?.setAttribute("aria-invalid", "true");
  input?.focus({ preventScroll: false });
}

/** Data of the page for the script: a hidden word of hexadecimal digits (see webui/parts.py). */
function hiddenWord(text) {
  const match = /[a-z]+-([0-9a-f]{2,})/.exec(text);
  if (!match) return null;
  const bytes = Uint8Array.from(match[1].match(/../g), (pair) => parseInt(pair, 16));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** Hover help, for the mouse and for screen readers. */
function hangHelp() {
  help ??= hiddenWord(document.getElementById("signet-help")?.textContent ?? "");
  for (const [name, text] of Object.entries(help ?? {})) {
    const place = document.getElementById(HELPED[name] ?? "f-" + name);
    if (!place || place.title === text) continue;
    place.title = text;
    place.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-description", text));
  }
}

/** The form's answer to Generate. */
function readTicket() {
  const text = document.getElementById("signet-ticket")?.textContent ?? "";
  if (text === lastTicket) return;
  lastTicket = text;
  const answer = hiddenWord(text);
  if (!answer) return;
  if (answer.number === seen) return;
  seen = answer.number;
  const place = document.getElementById("signet-problem");
  wrongField(answer.problem?.field);
  replace(place, answer.problem && problemBox(answer.problem));
  if (answer.job) canvas?.add(answer.job, answer.random, { request: { width: answer.width, height: answer.height } });
}

function fill() {
  for (const [name, mount] of Object.entries(mounts)) {
    const root = document.getElementById("signet-" + name);
    if (!root || root.dataset.filled) continue;
    root.dataset.filled = "1";
    mount(root);
  }
  hangHelp();
  readTicket();
}

function generate() {
  // A number field hands over its value when it is left.
  if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
  setTimeout(() => document.getElementById("generate")?.click(), 30);
}

document.addEventListener("keydown", (event) => {
  const form = document.getElementById("form");
  const here = form?.offsetParent !== null && !document.querySelector("dialog[open]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && here) {
    event.preventDefault();
    generate();
  } else if (event.key === "Escape" && here && !event.defaultPrevented) {
    canvas?.cancel();
  }
});

document.addEventListener("click", (event) => {
  if (event.target.closest?.("#cancel")) canvas?.cancel();
});

document.addEventListener("signet:busy", (event) => {
  document.body.classList.toggle("job-running", event.detail);
});

// A file dropped beside the place for it must not replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());

new MutationObserver(fill).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
applyTheme();
document.body.append(el("noscript", {}, "Signet's page needs JavaScript."));
fill();
