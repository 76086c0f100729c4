// One control unit: a picture, what is taken from it, what reads it, and how strongly it guides.

import { check, choice, number, row, segments, slider } from "./controls.js";
import { askedBy, MODES, RESIZES, WORDS } from "./control_words.js";
import { button, el, replace, tame } from "./dom.js";
import { Hint } from "./hint.js";
import { Well } from "./picker.js";

/** A control with the words of the table; the name is its label. */
function field(key, make, ...rest) {
  const [label, help] = WORDS[key];
  const made = make(label, ...rest);
  made.root.title = help;
  made.root.querySelectorAll("input, select").forEach((input) => input.setAttribute("aria-description", help));
  return made;
}

const share = (key, value) => field(key, slider, { min: 0, max: 1, step: 0.01, value });

/** Options that cannot be chosen are greyed, each with its reason. `pairs`: [value, words, why not]. */
function offer(select, pairs) {
  select.options(pairs.map(([value, words, why]) => [value, why ? `${words} – ${why}` : words]));
  const reasons = new Map(pairs.map(([value, , why]) => [value, why]));
  for (const option of select.root.querySelector("select").options) option.disabled = Boolean(reasons.get(option.value));
}

export class Unit {
  /** `changed()` is called whenever something that matters to others is different. */
  constructor(title, changed) {
    this.title = title;
    this.changed = changed;
    this.preprocessors = new Map();
    this.models = [];
    this.thresholds = { low: null, high: null };
    this.chosenByHand = false;
    this.on = field("on", check);
    this.well = new Well(`Picture for ${title.toLowerCase()}`, (input) => this.got(input), null, "control");
    this.hint = new Hint(() => this.seen(), title);
    this.the = {
      preprocessor: field("preprocessor", choice, [["none", "None"]]),
      model: field("model", choice, [["", "Choose one"]]),
      weight: field("weight", slider, { min: 0, max: 2, step: 0.05, value: 1 }),
      start: share("start", 0),
      end: share("end", 1),
      mode: field("mode", segments, MODES),
      resize: field("resize", choice, RESIZES, "crop"),
      pixel_perfect: field("pixel_perfect", check, true),
      resolution: field("resolution", number, { min: 64, max: 2048, step: 8, placeholder: "512" }),
    };
    this.about = el("p", { class: "unit-about" });
    this.advice = el("p", { class: "unit-advice", role: "status" });
    this.sliders = el("div", { class: "field-row" });
    this.state = el("span", { class: "unit-state" });
    this.draw();
    this.listen();
    this.show();
  }

  draw() {
    const { preprocessor, model, weight, start, end, mode, resize, pixel_perfect, resolution } = this.the;
    this.on.root.classList.add("unit-switch");
    this.on.root.querySelector("input").setAttribute("aria-label", `Use ${this.title}`);
    const body = el(
      "div",
      { class: "group-body unit-body" },
      el("div", { class: "unit-pictures" }, this.well.root, this.hint.root),
      row(preprocessor.root, model.root),
      this.about,
      this.advice,
      this.sliders,
      weight.root,
      el("div", { class: "unit-span" }, start.root, end.root),
      mode.root,
      row(resize.root, pixel_perfect.root, resolution.root),
    );
    this.details = el("details", { class: "group" }, el("summary", {}, el("span", { class: "unit-title" }, this.title), this.state), body);
    this.root = el("section", { class: "unit", "aria-label": this.title }, this.on.root, this.details);
  }

  listen() {
    const { preprocessor, model, start, end } = this.the;
    preprocessor.root.addEventListener("input", () => (this.chosenByHand = true));
    preprocessor.root.addEventListener("change", () => this.drawSliders());
    model.root.addEventListener("input", () => {
      this.advise(true);
      this.startIfReady();
    });
    // The two ends of a stretch push each other.
    start.root.addEventListener("input", () => start.value > end.value - 0.01 && (end.value = Math.min(1, start.value + 0.01)));
    end.root.addEventListener("input", () => end.value < start.value + 0.01 && (start.value = Math.max(0, end.value - 0.01)));
    for (const kind of ["input", "change"]) this.root.addEventListener(kind, () => this.show(), true);
    this.root.addEventListener("input", () => setTimeout(() => this.show(), 0));
  }

  /** What there is to choose from: preprocessors, and models with why they do not fit. */
  know(preprocessors, models) {
    this.preprocessors = new Map(preprocessors.map((one) => [one.name, one]));
    this.models = models;
    offer(this.the.preprocessor, preprocessors.map((one) => [one.name, one.label, one.missing && "not installed"]));
    const words = (model) => `${model.title} · ${model.family}${model.kind === "controlnet" ? "" : ` · ${model.kind}`}`;
    offer(this.the.model, [["", models.length ? "Choose one" : "None yet"], ...models.map((model) => [model.id, words(model), model.why_not])]);
    this.drawSliders();
    this.advise(false);
    this.show();
  }

  /** The preprocessor's own thresholds, with its own names and bounds. */
  drawSliders() {
    const chosen = this.preprocessors.get(this.the.preprocessor.value);
    if (chosen === this.drawn) return;
    this.drawn = chosen;
    for (const key of ["low", "high"]) {
      const spec = chosen?.[key];
      const wanted = this.wanted?.[key];
      this.thresholds[key] = spec ? slider(spec.label, { min: spec.lowest, max: spec.highest, step: spec.step, value: spec.default }) : null;
      if (spec && typeof wanted === "number" && wanted >= 0) this.thresholds[key].value = wanted;
    }
    if (chosen) this.wanted = null;
    const roots = Object.values(this.thresholds).map((each) => each?.root).filter(Boolean);
    this.sliders.hidden = !roots.length;
    replace(this.sliders, roots);
    this.about.textContent = chosen?.missing || chosen?.about || "";
    this.about.classList.toggle("warn", Boolean(chosen?.missing));
  }

  got(input) {
    if (input) this.startIfReady();
    this.hint.clear();
    this.show();
  }

  /** A unit waits for a picture and a model, whichever comes last, and then goes on by itself. */
  startIfReady() {
    if (this.well.input && !this.on.value && this.model && !this.model.why_not) this.on.value = true;
  }

  get model() {
    return this.models.find((model) => model.id === this.the.model.value);
  }

  /** A model trained on edges wants edges: choose that, or offer it if somebody chose something else. */
  advise(act) {
    replace(this.advice);
    const name = this.model ? `${this.model.id} ${this.model.title}` : "";
    const all = askedBy(name).map((one) => this.preprocessors.get(one)).filter(Boolean);
    if (!all.length || all.some((one) => one.name === this.the.preprocessor.value)) return;
    const asked = all.find((one) => !one.missing) ?? all[0];
    const wish = asked.name === "none" ? "This model takes the picture as it is" : `This model expects ${asked.label}`;
    if (asked.missing) replace(this.advice, `${wish}, which is not installed.`);
    else if (act && !this.chosenByHand) {
      this.the.preprocessor.value = asked.name;
      replace(this.advice, `${wish}, so that was chosen.`);
    } else replace(this.advice, `${wish}. `, button("Change it", () => this.choose(asked.name), { class: "quiet small" }));
  }

  choose(preprocessor) {
    this.the.preprocessor.value = preprocessor;
    replace(this.advice);
    this.show();
  }

  get settings() {
    const { pixel_perfect, resolution } = this.the;
    const plain = Object.fromEntries(["preprocessor", "resize"].map((key) => [key, this.the[key].value]));
    const thresholds = Object.fromEntries(Object.entries(this.thresholds).filter(([, each]) => each).map(([key, each]) => [key, each.value]));
    return { image: this.well.input?.id ?? "", ...plain, ...thresholds, pixel_perfect: pixel_perfect.value, resolution: pixel_perfect.value ? null : resolution.value ?? 512 };
  }

  /** What a preview needs, or nothing. */
  seen() {
    const usable = this.well.input && this.the.preprocessor.value !== "none" && !this.preprocessors.get(this.the.preprocessor.value)?.missing;
    return usable ? this.settings : null;
  }

  get isOn() {
    return this.on.value;
  }

  /** What a unit that is on still lacks, in words. */
  get lacks() {
    if (!this.well.input) return "a picture";
    return this.the.model.value ? "" : "a control model";
  }

  /** The unit as a request names it; `place` is its number among those that are sent. */
  asked(place) {
    for (const [key, each] of Object.entries({ ...this.the, ...this.thresholds })) if (each) each.root.dataset.field = `control.${place}.${key}`;
    this.well.root.dataset.field = `control.${place}.image`;
    const { model, weight, start, end, mode } = this.the;
    return { ...this.settings, model: model.value, weight: weight.value, start: start.value, end: end.value, mode: mode.value };
  }

  fill(unit) {
    const { preprocessor, pixel_perfect, ...rest } = this.the;
    this.chosenByHand = true;
    this.wanted = { low: unit.low, high: unit.high };
    this.drawn = null;
    preprocessor.value = unit.preprocessor;
    pixel_perfect.value = unit.pixel_perfect ?? true;
    for (const [key, each] of Object.entries(rest)) if (unit[key] !== undefined) each.value = unit[key];
    this.well.load(unit.image);
    this.on.value = true;
    this.advise(false);
    this.show();
  }

  show() {
    const { preprocessor, pixel_perfect, resolution } = this.the;
    resolution.root.hidden = pixel_perfect.value;
    this.hint.root.hidden = !this.well.input || preprocessor.value === "none";
    this.hint.touched();
    const label = this.preprocessors.get(preprocessor.value)?.label ?? preprocessor.value;
    const what = [preprocessor.value === "none" ? "" : label, this.model?.title].filter(Boolean).map(tame).join(" → ");
    const state = !this.isOn ? "off" : this.lacks ? `on, needs ${this.lacks}` : ["on", what].filter(Boolean).join(" · ");
    if (this.state.textContent !== state) this.state.textContent = state;
    this.root.classList.toggle("is-on", this.isOn);
    this.root.classList.toggle("needs", this.isOn && Boolean(this.lacks));
    this.changed();
  }
}
