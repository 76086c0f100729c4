// ControlNet: units that guide the next picture, whichever way it is made.

import { call } from "./api.js";
import { NO_MODELS } from "./control_words.js";
import { Unit } from "./control_unit.js";
import { button, debounce, el, plural, replace, say } from "./dom.js";
import { contribute, provide, take } from "./extra.js";
import { problemBox } from "./passport.js";
import { showTab } from "./tabs.js";

const NONE_ON = "No unit is on. Give one a picture and a control model: it guides any way of making a picture.";
const FIRST = 3;
const KINDS = ["controlnet", "t2i-adapter", "ip-adapter"];

/** The id of the model that paints: the list of models shows titles. */
async function checkpoint() {
  const shown = document.querySelector("#f-model input")?.value ?? "";
  const models = await call("/models");
  return (models.find(({ id, title }) => shown === id || shown.startsWith(`${title} · `)) ?? models[0])?.id;
}

async function controlModels() {
  const id = await checkpoint().catch(() => undefined);
  const fits = id ? `&fits=${encodeURIComponent(id)}` : "";
  const found = (await Promise.all(KINDS.map((kind) => call(`/models?kind=${kind}${fits}`)))).flat();
  // What can be used stands first.
  return found.sort((one, other) => Boolean(one.why_not) - Boolean(other.why_not));
}

class Control {
  constructor() {
    this.units = [];
    this.known = [[], []];
    this.list = el("div", { class: "units" });
    this.count = el("p", { class: "units-count", role: "status" });
    this.empty = el("p", { class: "units-empty", hidden: true }, NO_MODELS);
    this.said = el("div", {});
    this.missing = el("details", { class: "more", hidden: true });
    const more = button("Add a unit", () => this.open(this.add()), { class: "quiet add-unit" });
    this.off = button("Switch all off", () => this.allOff());
    const head = el("div", { class: "units-head" }, this.count, this.off);
    this.root = el("div", { class: "panel" }, head, this.empty, this.said, this.list, el("div", { class: "row-actions" }, more), this.missing);
    for (let number = 0; number < FIRST; number += 1) this.add();
    this.units[0].details.open = true;
    this.tell();

    contribute("control", (mode) => this.collect(mode));
    provide("control", (request, { partial }) => this.fill(request, partial));
    take("control", (input) => this.receive(input));
    document.addEventListener("signet:tab", ({ detail }) => {
      if (detail === "control") this.learn();
      this.tell();
    });
    document.addEventListener("input", debounce(400, (event) => this.learning && event.target.closest?.("#f-model") && this.learn()));
    // The list of models is Gradio's: a choice of the mouse is no input event.
    document.addEventListener("focusout", debounce(400, (event) => this.learning && event.target.closest?.("#f-model") && this.learn()));
  }

  /** What there is to choose from, asked for once somebody needs it, and then whenever it may have changed. */
  learn() {
    this.learning = this.ask();
    return this.learning;
  }

  async ask() {
    try {
      const [preprocessors, models] = await Promise.all([call("/control/preprocessors"), controlModels()]);
      replace(this.said);
      const known = JSON.stringify([preprocessors, models]);
      if (known === this.learnt) return;
      this.learnt = known;
      this.known = [preprocessors, models];
      this.empty.hidden = models.length > 0;
      this.tellMissing(preprocessors.filter((one) => one.missing));
      for (const unit of this.units) unit.know(...this.known);
    } catch (error) {
      if (!error.problem) throw error;
      replace(this.said, problemBox(error.problem, button("Try again", () => this.learn())));
    }
  }

  tellMissing(missing) {
    this.missing.hidden = !missing.length;
    const rows = missing.map((one) => [el("dt", {}, one.label), el("dd", {}, one.missing)]);
    replace(this.missing, el("summary", {}, `${plural(missing.length, "preprocessor")} not installed here`), el("dl", { class: "facts" }, rows));
  }

  add() {
    const unit = new Unit(`Unit ${this.units.length + 1}`, () => this.tell());
    // Those that can be opened close each other, so that a pasted picture has one place to go.
    unit.details.name = "control-units";
    this.units.push(unit);
    unit.know(...this.known);
    this.list.append(unit.root);
    return unit;
  }

  open(unit) {
    for (const other of this.units) other.details.open = other === unit;
    unit.details.querySelector("summary").focus();
  }

  get on() {
    return this.units.filter((unit) => unit.isOn);
  }

  allOff() {
    for (const unit of this.units) unit.on.value = false;
    say("All control units are off");
  }

  async collect(mode) {
    if (mode === "grid") return null;
    await this.learning;
    const short = this.on.find((unit) => unit.lacks);
    if (short) {
      showTab("control");
      this.open(short);
      throw { problem: { title: `${short.title} is on and needs ${short.lacks}`, detail: "A control unit needs a picture and a control model.", hint: "Give it what it needs on the tab ControlNet, or switch it off." } };
    }
    return { control: this.on.map((unit, place) => unit.asked(place)) };
  }

  /** A stored request: its units come back, the others stay as they are, switched off. */
  fill(request, partial) {
    if (!Array.isArray(request.control)) {
      if (!partial) this.allOff();
      return;
    }
    if (request.control.length && !this.learning) this.learn();
    while (this.units.length < request.control.length) this.add();
    this.units.forEach((unit, place) => (request.control[place] ? unit.fill(request.control[place]) : (unit.on.value = false)));
  }

  /** A picture sent here goes to the first unit that has none. */
  receive(input) {
    const unit = this.units.find((one) => !one.well.input) ?? this.add();
    unit.well.put(input);
    this.open(unit);
  }

  tell() {
    const count = this.on.length;
    const words = count ? `${plural(count, "unit")} on, for txt2img, img2img, inpaint and upscale alike.` : NONE_ON;
    if (this.count.textContent !== words) this.count.textContent = words;
    this.off.hidden = count < 2;
    badge(count);
  }
}

/** How many units are on, at the tab itself: they work on while another tab is open. */
function badge(count) {
  const tab = document.querySelector('#tabs [role=tab][data-tab-id="control"]');
  if (!tab) return;
  let mark = tab.querySelector(".unit-badge");
  if (!mark) tab.append((mark = el("span", { class: "unit-badge" })));
  mark.hidden = !count;
  replace(mark, String(count), el("span", { class: "sr-only" }, " on"));
}

let panel;

/** A tab is drawn when it is first opened, but a stored request may bring units before: call this with the page. */
export function prepare() {
  panel ??= new Control();
}

export function mount(root) {
  prepare();
  replace(root, panel.root);
  panel.learn();
}
