// "See how it works": one run of the model, looked at from four sides.

import { call } from "./api.js";
import { button, debounce, el, replace, say, tame } from "./dom.js";
import { Film, Shelf } from "./explain_film.js";
import { Guidance } from "./explain_guidance.js";
import { Paths } from "./explain_paths.js";
import { Words } from "./explain_words.js";
import { problemBox } from "./passport.js";
import { ENDS, words as inWords } from "./phases.js";

const MOST_FRAMES = 64;
const BATCHED = new Set(["sd1", "sd2", "sdxl"]);
const REFRESH = 350;

const SECTIONS = {
  film: [
    "From noise to picture",
    "A diffusion model begins with nothing but noise. At every step it is given the noisy picture and the noise level, and says what it expects the finished picture to be; the sampler goes part of the way there, and the next step begins with less noise. " +
      "Large shapes and colours are settled first, detail last. These frames are quick translations of the model's own numbers (latents); the real picture is decoded once, at the end.",
  ],
  words: [
    "Where the words looked",
    "The prompt steers the picture by cross-attention: every place of the picture shares out its attention among the words (and marks around them, which are left out here). Bright is where a word got most of its own, dark where it got least, averaged over all layers and heads of this step. " +
      "Read the maps with care: they show where the model looked and not why, the words have already been mixed by the text encoder, and small models often look at filler words.",
  ],
  paths: [
    "The path through the noise",
    "σ says how much noise is on the picture: at 1 there is as much noise as picture. High levels decide the composition and low ones the detail, so a schedule decides what the steps are spent on. " +
      "The sampler decides how to get from one level to the next, and how often it asks the model on the way. The lower plots are measured in your run: where the first is close to zero, more steps would change little.",
  ],
  guidance: [
    "What guidance does",
    "With guidance the model is asked twice at each step: with your prompt, and with the negative prompt or none. The difference between the answers is multiplied by the CFG value. 1 takes the prompt's answer as it is; more follows the words more strictly, and too much burns the colours. " +
      "All of these start from the same noise.",
  ],
};

const formValue = (name) => document.querySelector(`#f-${name} textarea, #f-${name} input`)?.value ?? "";

function field(text, input) {
  return el("label", { class: "filter" }, el("span", {}, text), input);
}

function section(name, body) {
  const [title, words] = SECTIONS[name];
  return el("section", { class: "explain-part", id: `explain-${name}` }, el("h3", {}, title), el("p", { class: "explain-words" }, words), body);
}

function options(select, names, chosen, titles = names) {
  replace(select, names.map((name, number) => el("option", { value: name, selected: name === chosen }, tame(titles[number]))));
}

/** At most MOST_FRAMES of the steps, the first and the last among them. */
export function filmed(steps) {
  const count = Math.min(steps, MOST_FRAMES);
  return [...new Set(Array.from({ length: count }, (_, place) => 1 + Math.round((place * (steps - 1)) / Math.max(count - 1, 1))))];
}

class Explain {
  constructor(root) {
    this.shelf = new Shelf();
    this.film = new Film(this.shelf);
    this.words = new Words(this.shelf);
    this.paths = new Paths();
    this.guidance = new Guidance(() => this.fields());
    this.prompt = el("textarea", { rows: 2, id: "explain-prompt", maxLength: 4000, dir: "auto", placeholder: "a red apple on a wooden table" });
    this.model = el("select", { id: "explain-model" });
    this.sampler = el("select", { id: "explain-sampler" });
    this.schedule = el("select", { id: "explain-schedule" });
    this.steps = el("input", { type: "number", id: "explain-steps", min: 1, max: 150, step: 1, value: 20 });
    this.seed = el("input", { type: "number", id: "explain-seed", min: 0, step: 1 });
    this.cfg = el("input", { type: "number", id: "explain-cfg", min: 1, max: 30, step: 0.1, value: 4 });
    this.go = button("Show me", () => this.run(), { id: "explain-go", class: "accent" });
    this.stop = button("Cancel", () => this.cancel(), { id: "explain-cancel", hidden: true });
    this.bar = el("progress", { max: 1, value: 0, "aria-label": "Progress" });
    this.line = el("span", { class: "line", id: "explain-line", role: "status" }, "");
    this.problem = el("div", {});
    this.film.moved = (frame) => {
      this.words.at(frame);
      this.paths.mark(frame.step);
    };
    const form = el(
      "form",
      { class: "explain-form", onsubmit: (event) => (event.preventDefault(), this.run()) },
      field("Prompt", this.prompt),
      el("div", { class: "explain-row" }, field("Model", this.model), field("Sampler", this.sampler), field("Schedule", this.schedule)),
      el("div", { class: "explain-row numbers" }, field("Steps", this.steps), field("Guidance CFG", this.cfg), field("Seed", this.seed), this.go, this.stop),
      el("div", { class: "progress" }, this.bar, this.line),
      this.problem,
    );
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.run();
    });
    const parts = { film: this.film, words: this.words, paths: this.paths, guidance: this.guidance };
    replace(root, form, Object.entries(parts).map(([name, part]) => section(name, part.root)));
    this.draw = debounce(150, () => this.drawPaths());
    for (const input of [this.model, this.schedule, this.steps]) input.addEventListener("input", this.draw);
    this.sampler.addEventListener("input", () => this.samplerChosen());
    document.addEventListener("signet:tab", (event) => event.detail === "explain" && this.prefill());
    this.start();
  }

  async start() {
    try {
      [this.models, this.samplers] = await Promise.all([call("/models"), call("/samplers")]);
    } catch (error) {
      replace(this.problem, problemBox(error.problem, button("Try again", () => this.start())));
      return;
    }
    replace(this.problem);
    this.models = this.models.filter((model) => BATCHED.has(model.family));
    options(this.model, this.models.map((model) => model.id), undefined, this.models.map((model) => model.title));
    options(this.sampler, this.samplers.map((sampler) => sampler.name), formValue("sampler"));
    this.samplerChosen(formValue("schedule"));
    this.seed.value = Math.max(Number(formValue("seed")), -1) >= 0 && formValue("seed") !== "" ? formValue("seed") : Math.floor(Math.random() * 1e6);
    this.prefill();
    if (!this.models.length) {
      this.go.disabled = true;
      this.line.textContent = "There is no SD 1.x, SD 2.x or SDXL model, and others cannot be looked into.";
    }
  }

  /** What the form of the group Create says, until something is written here. */
  prefill() {
    if (this.used || !this.models) return;
    this.prompt.value = formValue("prompt") || this.prompt.value;
    const label = formValue("model");
    const model = this.models.find((one) => label.startsWith(`${one.title} · ${one.family}`)) ?? this.models[0];
    if (model) this.model.value = model.id;
    for (const name of ["steps", "cfg"]) {
      const value = document.querySelector(`#f-${name} input[type=number]`)?.value;
      if (value) this[name].value = value;
    }
    this.draw();
  }

  samplerChosen(schedule = this.schedule.value) {
    const sampler = this.samplers.find((one) => one.name === this.sampler.value) ?? this.samplers[0];
    options(this.schedule, sampler.schedules, sampler.schedules.includes(schedule) ? schedule : sampler.schedules[0]);
    this.draw();
  }

  drawPaths() {
    const sampler = this.samplers?.find((one) => one.name === this.sampler.value);
    if (!sampler || !this.model.value) return;
    this.paths.set({ sampler: sampler.name, schedules: sampler.schedules, schedule: this.schedule.value, steps: Number(this.steps.value) || 20, model: this.model.value });
  }

  /** What is asked for; nothing, and a word about it, if there is no prompt. */
  fields() {
    const prompt = this.prompt.value.trim();
    if (!prompt) {
      this.prompt.setAttribute("aria-invalid", "true");
      this.line.textContent = "Write a prompt first: say what you want to see.";
      this.prompt.focus();
      return null;
    }
    this.prompt.removeAttribute("aria-invalid");
    this.used = true;
    const whole = (input) => (input.value === "" ? null : Number(input.value));
    return { prompt, model: this.model.value, sampler: this.sampler.value, schedule: this.schedule.value, steps: whole(this.steps), cfg: whole(this.cfg), seed: whole(this.seed) };
  }

  async run() {
    const fields = this.fields();
    if (!fields || this.source || !this.models?.length) return;
    this.film.clear();
    this.words.clear();
    this.paths.drawRun([]);
    this.shelf.forget();
    replace(this.problem);
    this.busy(true);
    this.line.textContent = "Sent.";
    try {
      this.job = await call("/jobs", { method: "POST", json: { ...fields, film: filmed(Number(fields.steps) || 1), maps: true } });
    } catch (error) {
      this.failed(error.problem);
      return;
    }
    this.source = new EventSource(`/api/v1/jobs/${this.job.id}/events?after=0`);
    this.source.onmessage = (message) => this.happened(JSON.parse(message.data));
    this.source.onerror = () => {
      if (this.source?.readyState === EventSource.CLOSED) this.failed({ title: "The connection was lost", detail: "The studio no longer answers.", hint: "The picture, if it was finished, is in the History." });
    };
  }

  cancel() {
    if (this.job) call(`/jobs/${this.job.id}`, { method: "DELETE" }).catch(() => {});
  }

  busy(now) {
    this.go.disabled = now;
    this.stop.hidden = !now;
    if (now) this.bar.removeAttribute("value");
  }

  end() {
    this.source?.close();
    this.source = undefined;
    this.busy(false);
  }

  failed(problem) {
    this.end();
    this.bar.value = 0;
    this.line.textContent = "";
    replace(this.problem, problemBox(problem));
  }

  happened(event) {
    if (event.fraction !== undefined) this.bar.value = event.fraction;
    this.line.textContent = inWords(event, false);
    if (!ENDS.has(event.phase)) {
      if (event.phase === "step") this.refresh();
      return;
    }
    if (event.phase === "failed" && event.problem) this.failed(event.problem);
    else this.end();
    say(this.line.textContent);
    if (event.phase === "done") this.finish();
  }

  /** New frames, at most one question at a time. */
  async refresh() {
    if (this.asking) return;
    this.asking = true;
    const { id } = this.job;
    try {
      const frames = await call(`/jobs/${id}/frames`);
      if (id === this.job.id && this.source) this.film.show(frames);
      await new Promise((resolve) => setTimeout(resolve, REFRESH));
    } catch {
      // The next step asks again.
    }
    this.asking = false;
  }

  async finish() {
    const { id } = this.job;
    try {
      const [frames, maps, job] = await Promise.all([call(`/jobs/${id}/frames`), call(`/jobs/${id}/maps`), call(`/jobs/${id}`)]);
      this.words.take(maps);
      this.film.show(frames);
      this.paths.drawRun(frames);
      if (frames.length) this.words.at(this.film.frame);
      this.bar.value = 1;
      this.line.textContent = "Done. Drag the slider, or use the arrow keys on it.";
      if (job.records.length) await this.film.end(job.records[0]);
    } catch (error) {
      replace(this.problem, problemBox(error.problem ?? { title: "The film could not be shown", detail: error.message }));
    }
  }
}

export function mount(root) {
  if (!document.querySelector('link[href="/signet/explain.css"]')) document.head.append(el("link", { rel: "stylesheet", href: "/signet/explain.css" }));
  return new Explain(root);
}
