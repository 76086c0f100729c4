// "Send to": a hidden field and button of the form; the server fills in the values and hands the whole request back.

import { fillAll, give } from "./extra.js";
import { hiddenWord } from "./texts.js";
import { MODES, currentTab, mode, showTab } from "./tabs.js";
import { fromRecord } from "./picker.js";
import { button, el, replace } from "./dom.js";
import { openMenu } from "./menu.js";
import { problemBox } from "./passport.js";

let lastWord = "";
const asked = new Map();

const problemPlace = () => document.getElementById("signet-problem");
export const sayProblem = (problem) => problemPlace() && replace(problemPlace(), problem && problemBox(problem));

const showMode = (request) => showTab(MODES.includes(request.mode) ? request.mode : "txt2img");

/**
 * Fill the form with `record:ID`, `job:ID`, `job:ID:random` or `fields:JSON`; `then(request)` is called after.
 * `adapt(request)` may change what the script's own controls get.
 */
export function sendToForm(what, then = showMode, adapt = (request) => request) {
  const field = document.querySelector("#signet-sent textarea, #signet-sent input");
  const send = document.querySelector("#signet-send");
  if (!field || !send) return false;
  asked.set(what.slice(0, 200), { then, adapt });
  field.value = what;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  setTimeout(() => send.click(), 0);
  return true;
}

/** The server's answer: the form is filled already, the script's own controls follow. */
export function readRestored() {
  const text = document.getElementById("signet-restored")?.textContent ?? "";
  if (text === lastWord) return;
  lastWord = text;
  const answer = hiddenWord(text);
  if (!answer) return;
  sayProblem(answer.problem);
  if (answer.problem) return;
  const { then, adapt } = asked.get(answer.sent) ?? {};
  asked.delete(answer.sent);
  fillAll(adapt ? adapt(answer.request) : answer.request, answer.partial);
  then?.(answer.request);
}

/** The settings of a request for another mode, without the pictures that it came from. */
function settingsFor(target, request) {
  const mode = request.mode === "txt2img" || !MODES.includes(target) ? "txt2img" : target;
  return { ...request, mode, init_image: null, outpaint: null, inpaint: request.inpaint && { ...request.inpaint, mask: null } };
}

/** The settings of a picture go to the form, the picture itself to the well of a tab. */
export function sendTo(found, target) {
  const adapt = (request) => settingsFor(target, request);
  if (target === "txt2img") return sendToForm(`record:${found.id}`, () => showTab("txt2img"), adapt);
  const then = async () => {
    showTab(target);
    try {
      give(target, await fromRecord(found.id));
    } catch (error) {
      sayProblem(error.problem);
    }
  };
  return sendToForm(`record:${found.id}`, then, adapt);
}

/** After a reload: the mode that was running, unless somebody chose another tab in the meantime. */
export function stayOrShow(request) {
  if (currentTab() === "txt2img" && mode() === "txt2img" && MODES.includes(request.mode)) showTab(request.mode);
}

const TARGETS = [
  ["img2img", "img2img: paint over it"],
  ["inpaint", "inpaint: change a part of it"],
  ["upscale", "upscale: make it larger"],
  ["control", "ControlNet: let it guide"],
];

/** "Send to txt2img" and a menu with the other places. `leave` is called first, to close what is in the way. */
export function sendButtons(found, leave = () => {}, props = {}) {
  const go = (target) => () => {
    leave();
    sendTo(found, target);
  };
  const items = TARGETS.map(([target, words]) => [words, go(target)]);
  const own = found.passport.request.mode;
  if (own !== "txt2img" && MODES.includes(own)) {
    items.unshift([
      `Repeat it (${own}), with the same source`,
      () => {
        leave();
        sendToForm(`record:${found.id}`);
      },
    ]);
  }
  const more = button("Send to ▾", () => openMenu(more, items, "Send this picture to"), { "aria-haspopup": "menu", class: "quiet send-more" });
  return el("span", { class: "send-buttons" }, button("Send to txt2img", go("txt2img"), props), more);
}
