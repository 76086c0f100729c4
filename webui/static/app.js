// Fills the places that the page leaves empty, and ties the form to the canvas.

import { Canvas } from "./canvas.js";
import { prepare as prepareControl } from "./control.js";
import { el, replace } from "./dom.js";
import { generateInstead, hangMenu, skip, watchGenerate } from "./generate.js";
import { mount as mountHires } from "./hires.js";
import { History } from "./history.js";
import { mount as mountImg2img } from "./img2img.js";
import { mount as mountInpaint } from "./inpaint.js";
import { mount as mountMore } from "./more.js";
import { problemBox } from "./passport.js";
import { hangCounters, watchPrompts } from "./prompt.js";
import { mountRefused } from "./refused.js";
import { readRestored } from "./send.js";
import { applyTheme, mountState } from "./state.js";
import { lookAtTabs } from "./tabs.js";
import { hiddenWord, texts } from "./texts.js";
import { mount as mountUpscale } from "./upscale.js";
import { mountVerify } from "./verify.js";

let canvas;
let seen = 0;
let lastTicket = "";

const HELPED = {
  swap: "size-swap",
  dice: "seed-dice",
  recycle: "seed-recycle",
  generate: "generate",
  "more-ways": "generate-more",
  cancel: "cancel",
  paste: "paste",
};

const mounts = {
  state: mountState,
  canvas: (root) => (canvas = new Canvas(root)),
  history: (root) => new History(root),
  verify: mountVerify,
  refused: mountRefused,
  img2img: mountImg2img,
  inpaint: mountInpaint,
  upscale: mountUpscale,
  hires: mountHires,
  more: mountMore,
};

/** Tabs and groups with a script of their own, which exports `mount(root)`; fetched when there is a place for it. */
const OWN = ["control", "lora", "models", "pnginfo", "queue", "explain", "plots", "presets", "review", "audit", "policy"];

async function mountOwn(name, root) {
  const there = await fetch(`/signet/${name}.js`, { method: "HEAD" }).catch(() => null);
  if (!there?.ok) return;
  const script = await import(`/signet/${name}.js`).catch(() => null);
  if (script) script.mount(root);
  else replace(root, el("p", { class: "looking" }, "This part could not be loaded. Reload the page to try again."));
}

/** The control that a problem speaks of: "inpaint.mask", or the group it belongs to. */
function fieldNamed(name) {
  for (let left = name; left; left = left.slice(0, Math.max(0, left.lastIndexOf(".")))) {
    const own = document.querySelectorAll(`[data-field="${CSS.escape(left)}"]`);
    const found = [...own].find((each) => (each.closest(".tabitem") ?? document.body.firstElementChild).getClientRects().length) ?? document.getElementById("f-" + left);
    if (found) return found;
  }
  return null;
}

function wrongField(name) {
  document.querySelectorAll(".field-wrong").forEach((field) => {
    field.classList.remove("field-wrong");
    field.querySelectorAll("[aria-invalid]").forEach((input) => input.removeAttribute("aria-invalid"));
  });
  const field = name && fieldNamed(name);
  if (!field) return;
  const group = field.closest("details");
  if (group) group.open = true;
  field.classList.add("field-wrong");
  const input = [...field.querySelectorAll("textarea, input, select, canvas, button")].find((each) => each.offsetParent);
  input?.setAttribute("aria-invalid", "true");
  input?.focus({ preventScroll: false });
}

/** Hover help, for the mouse and for screen readers. */
function hangHelp() {
  for (const [name, text] of Object.entries(texts()?.help ?? {})) {
    const place = document.getElementById(HELPED[name] ?? "f-" + name);
    if (!place || place.title === text) continue;
    place.title = text;
    if (name === "more-ways") place.setAttribute("aria-label", text);
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
  replace(place, answer.problem && problemBox(answer.problem), (answer.offers ?? []).map((offer) => el("p", { class: "hint", role: "status", dir: "auto" }, offer)));
  if (answer.problem) document.dispatchEvent(new CustomEvent("signet:refused"));
  if (answer.job) canvas?.add(answer.job, answer.random, { request: { width: answer.width, height: answer.height } });
}

function fill() {
  lookAtTabs();
  for (const name of texts() ? [...Object.keys(mounts), ...OWN] : []) {
    const root = document.getElementById("signet-" + name);
    if (!root || root.dataset.filled) continue;
    root.dataset.filled = "1";
    if (mounts[name]) mounts[name](root);
    else mountOwn(name, root);
  }
  hangHelp();
  hangMenu();
  hangCounters();
  readTicket();
  readRestored();
}

document.addEventListener("keydown", (event) => {
  const form = document.getElementById("form");
  const here = form && document.body.classList.contains("creating") && !document.querySelector("dialog[open]");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && here) {
    event.preventDefault();
    generateInstead(canvas);
  } else if (event.key === "Enter" && event.altKey && here) {
    event.preventDefault();
    skip(canvas);
  } else if (event.key === "Escape" && here && !event.defaultPrevented && !document.querySelector(".menu")) {
    canvas?.cancel();
  }
});
document.addEventListener("signet:instead", () => generateInstead(canvas));

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
watchGenerate();
watchPrompts();
prepareControl();
document.body.append(el("noscript", {}, "Signet's page needs JavaScript."));
fill();
