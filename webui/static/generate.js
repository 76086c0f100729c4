// From the button to the job: what the panels say is collected first, then Gradio's own submission runs.

import { collectAll } from "./extra.js";
import { onContext, openMenu } from "./menu.js";
import { sayProblem } from "./send.js";
import { mode } from "./tabs.js";

let passing = false;
let collecting = false;
let forever = false;
let skipping = false;

const node = (id) => document.getElementById(id);
const running = () => document.body.classList.contains("job-running");

async function submit() {
  if (collecting) return;
  collecting = true;
  node("generate")?.setAttribute("aria-busy", "true");
  try {
    const field = document.querySelector("#signet-extra textarea, #signet-extra input");
    field.value = JSON.stringify(await collectAll(mode()));
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((resolve) => setTimeout(resolve, 0));
    passing = true;
    node("generate").click();
  } catch (error) {
    if (!error.problem) throw error;
    stop();
    sayProblem(error.problem);
  } finally {
    passing = collecting = false;
    node("generate")?.removeAttribute("aria-busy");
  }
}

/** Press the button. A number field hands over its value when it is left. */
export function generate() {
  if (document.activeElement instanceof HTMLInputElement) document.activeElement.blur();
  setTimeout(() => node("generate")?.click(), 30);
}

/** Ctrl+Enter: what runs is interrupted first. */
export function generateInstead(canvas) {
  if (!running()) return generate();
  document.addEventListener("signet:ended", () => setTimeout(generate, 50), { once: true });
  canvas?.cancel();
}

/** Alt+Enter: leave this one, go on with the next, also with generating forever. */
export function skip(canvas) {
  if (!running()) return;
  skipping = true;
  canvas?.cancel();
}

function stop() {
  forever = false;
  document.body.classList.remove("forever");
}

function endless() {
  forever = true;
  document.body.classList.add("forever");
  if (!running()) generate();
}

function menu() {
  const items = [["Generate once  (Ctrl+Enter)", generate]];
  if (running()) items.push(["Interrupt, then generate", () => document.dispatchEvent(new CustomEvent("signet:instead"))]);
  items.push(forever ? ["Stop generating forever", stop] : ["Generate forever", endless]);
  openMenu(node("generate-more"), items, "Ways to generate");
}

export function watchGenerate() {
  addEventListener("click", (event) => {
    if (event.target.closest?.("#generate") && !passing) {
      event.preventDefault();
      event.stopImmediatePropagation();
      submit();
    } else if (event.target.closest?.("#generate-more")) menu();
    else if (event.target.closest?.("#cancel")) stop();
  }, true);
  document.addEventListener("signet:ended", ({ detail }) => {
    const goes = detail === "done" || skipping;
    skipping = false;
    if (!forever) return;
    if (goes) setTimeout(() => forever && submit(), 100);
    else stop();
  });
  document.addEventListener("signet:refused", stop);
}

/** Once the button is there. */
export function hangMenu() {
  const button = node("generate");
  if (!button || button.dataset.menu) return;
  button.dataset.menu = "1";
  onContext(button, menu);
}
