// Schedules and sampler paths, computed by the studio without running the model, and what a run really did.

import { call } from "./api.js";
import { debounce, el, replace } from "./dom.js";
import { Plot, short } from "./plot.js";

function table(paths) {
  const head = el("tr", {}, el("th", { scope: "col" }, "Step"), paths.map((path) => el("th", { scope: "col" }, path.schedule)));
  const longest = Math.max(...paths.map((path) => path.sigmas.length));
  const rows = Array.from({ length: longest }, (_, step) =>
    el("tr", {}, el("th", { scope: "row" }, step < longest - 1 ? String(step + 1) : "end"), paths.map((path) => el("td", {}, path.sigmas[step] === undefined ? "" : short(path.sigmas[step])))),
  );
  return el("table", {}, el("thead", {}, head), el("tbody", {}, rows));
}

export class Paths {
  constructor() {
    this.levels = new Plot({ title: "Noise level at the beginning of each step", x: "step", y: "σ (log)", log: true });
    this.times = new Plot({ title: "Where that is on the model's training scale", x: "step", y: "timestep" });
    this.run = new Plot({ title: "How much the expected picture changed in your run", x: "step", y: "change (RMS)", empty: "Press “Show me” to draw the path of a run." });
    this.moves = new Plot({ title: "How far each step of your run moved the noisy picture", x: "step", y: "distance (RMS, log)", log: true, empty: "The second plot of a run." });
    this.choices = el("fieldset", { class: "checks", id: "path-schedules" });
    this.note = el("p", { class: "hint", role: "status" });
    this.numbers = el("details", { class: "more" }, el("summary", {}, "The noise levels as a table"));
    this.root = el("div", { class: "paths" }, this.choices, this.note, this.levels.root, this.times.root, this.run.root, this.moves.root, this.numbers);
    this.chosen = new Set();
    this.update = debounce(120, () => this.fetch());
  }

  /** What the form says now; the form's own schedule is always drawn. */
  set({ sampler, schedules, schedule, steps, model }) {
    if (sampler !== this.sampler) {
      const usual = ["Karras", "Exponential", "SGM Uniform"].filter((name) => schedules.includes(name)).slice(0, 2);
      this.chosen = new Set(this.sampler ? [...this.chosen].filter((name) => schedules.includes(name)) : usual);
    }
    Object.assign(this, { sampler, schedules, schedule, steps, model });
    replace(this.choices, el("legend", {}, `Schedules of ${sampler}`), schedules.map((name) => this.check(name)));
    this.update();
  }

  check(name) {
    const own = name === this.schedule;
    const box = el("input", { type: "checkbox", checked: own || this.chosen.has(name), disabled: own, value: name });
    box.addEventListener("change", () => {
      box.checked ? this.chosen.add(name) : this.chosen.delete(name);
      this.update();
    });
    return el("label", {}, box, own ? `${name} (yours)` : name);
  }

  async fetch() {
    const asked = (this.asked = {});
    const names = this.schedules.filter((name) => name === this.schedule || this.chosen.has(name));
    const ordered = [this.schedule, ...names.filter((name) => name !== this.schedule)];
    const query = (schedule) => new URLSearchParams({ sampler: this.sampler, schedule, steps: this.steps, model: this.model });
    const answers = await Promise.allSettled(ordered.map((name) => call(`/explain/path?${query(name)}`)));
    if (asked !== this.asked) return;
    const paths = answers.filter((one) => one.status === "fulfilled").map((one) => one.value);
    const wrong = answers.find((one) => one.status === "rejected")?.reason.message;
    const first = paths[0];
    const asks = first && first.asks.length !== first.moves.length && `The model is asked ${first.asks.length} times in ${first.moves.length} steps.`;
    this.note.textContent = [first?.note, asks, wrong].filter(Boolean).join(" ");
    this.levels.show(paths.map((path) => ({ name: path.schedule, points: path.sigmas.map((sigma, step) => [step + 1, sigma]) })));
    this.times.show(paths.map((path) => ({ name: path.schedule, points: path.timesteps.map((time, step) => [step + 1, time]) })));
    replace(this.numbers, el("summary", {}, "The noise levels as a table"), paths.length && el("div", { class: "table-scroll", tabIndex: 0 }, table(paths)));
  }

  /** The frames of a run, with what each step changed. */
  drawRun(frames) {
    this.run.show([{ name: "change of the expected picture", points: frames.map((frame) => [frame.step, frame.changed]) }]);
    this.moves.show([{ name: "distance", points: frames.map((frame) => [frame.step, frame.moved]) }]);
  }

  mark(step) {
    this.levels.mark(step);
    this.times.mark(step);
    this.run.mark(step);
    this.moves.mark(step);
  }
}
