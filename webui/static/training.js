// Training a LoRA or a new word: pictures with captions in, settings from the model's defaults, the course of every training below.

import { call } from "./api.js";
import { checkpoints, chosen } from "./cards.js";
import { button, debounce, el, plural, replace, say, stored, tame } from "./dom.js";
import { problemBox } from "./passport.js";
import { sheet } from "./sheets.js";
import { Course } from "./training_course.js";

const KINDS = ["image/png", "image/jpeg", "image/webp"];
/** Settings that one kind of training alone has. */
const OF_KIND = { trigger: "lora", rank: "lora", alpha: "lora", targets: "lora", train_text_encoder: "lora", vectors: "embedding", init_word: "embedding" };
const TRAINABLE = new Set(["sd1", "sd2", "sdxl"]);
const AT_ONCE = 3;
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();
/** "a_red-apple (3).png" says what it shows, "IMG_2041.png" does not. */
const said = (name) => {
  const words = stem(name).replace(/[\s_-]*(\(\d+\)|\d+)$/, "").replace(/[_-]+/g, " ").trim();
  return /^(img|image|dscn?f?|pict?|photo|screenshot|untitled|download|[0-9a-f]{8,})?[\W\d_]*$/i.test(words) ? "" : words;
};

/** What it learns from: files with captions, kept in the studio as they are dropped. */
class Pictures {
  constructor(trigger) {
    this.trigger = trigger;
    this.rows = [];
    this.file = el("input", { type: "file", multiple: true, accept: [...KINDS, ".txt"].join(), class: "sr-only", id: "training-files" });
    this.drop = el("label", { class: "drop", htmlFor: "training-files" }, el("strong", {}, "Drop pictures here, with their captions"), el("span", {}, "PNG, JPEG or WebP; a .txt file of the same name is the caption. Ten to fifty of one style or thing are enough."));
    this.told = el("p", { class: "wall-words", role: "status" });
    this.problems = el("div", {});
    this.table = el("ul", { class: "training-pictures" });
    this.add = button("Add the trigger to every caption", () => this.addTrigger(), { hidden: true });
    this.clear = button("Remove all", () => this.empty(), { hidden: true });
    this.bar = el("div", { class: "row-actions", hidden: true }, this.told, this.add, this.clear);
    this.root = el("div", { class: "training-data", "data-field": "images" }, this.file, this.drop, this.problems, this.bar, this.table);
    this.file.addEventListener("change", () => {
      this.take([...this.file.files]);
      this.file.value = "";
    });
    for (const kind of ["dragenter", "dragover"]) this.root.addEventListener(kind, () => this.drop.classList.add("over"));
    for (const kind of ["dragleave", "drop"]) this.root.addEventListener(kind, () => this.drop.classList.remove("over"));
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.take([...event.dataTransfer.files]);
    });
  }

  async take(files) {
    replace(this.problems);
    const texts = new Map();
    for (const file of files.filter(({ name }) => /\.txt$/i.test(name))) texts.set(stem(file.name), (await file.text()).slice(0, 4000).trim());
    for (const row of this.rows) if (texts.has(row.stem)) row.caption.value = texts.get(row.stem);
    const waiting = files.filter(({ type }) => KINDS.includes(type));
    const total = waiting.length;
    let through = 0;
    const next = async () => {
      for (let file = waiting.shift(); file; file = waiting.shift()) {
        try {
          this.put(await call("/inputs", { method: "POST", body: file }), file.name, texts.get(stem(file.name)) ?? said(file.name));
        } catch (error) {
          this.problems.append(problemBox({ ...error.problem, title: `${tame(file.name)}: ${error.problem?.title ?? "not taken"}` }));
        }
        through += 1;
        this.bar.hidden = false;
        this.told.textContent = `Taking ${through} of ${total} …`;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, next));
    this.draw();
    say(plural(this.rows.length, "picture"));
  }

  put(input, name, words) {
    if (this.rows.some((row) => row.id === input.id)) return;
    const caption = el("textarea", { rows: 2, dir: "auto", maxLength: 4000, "aria-label": `Caption of ${tame(name)}`, placeholder: "What it shows" });
    caption.value = words;
    const row = { id: input.id, stem: stem(name), caption };
    row.root = el("li", {}, el("img", { src: input.url, alt: "", loading: "lazy" }), caption, button("Remove", () => this.remove(row), { "aria-label": `Remove ${tame(name)}` }));
    this.rows.push(row);
    this.table.append(row.root);
    this.draw();
  }

  remove(row) {
    this.rows = this.rows.filter((one) => one !== row);
    row.root.remove();
    this.draw();
  }

  empty() {
    for (const row of [...this.rows]) this.remove(row);
  }

  addTrigger() {
    const word = this.trigger().trim();
    for (const { caption } of this.rows) {
      if (word && !caption.value.toLowerCase().includes(word.toLowerCase())) caption.value = [caption.value.trim(), word].filter(Boolean).join(", ");
    }
  }

  draw() {
    this.told.textContent = this.rows.length ? plural(this.rows.length, "picture") : "";
    this.bar.hidden = this.add.hidden = this.clear.hidden = !this.rows.length;
  }

  get value() {
    return this.rows.map(({ id, caption }) => ({ image: id, caption: caption.value.trim() }));
  }
}

const field = (name, words, input, help = "") => el("label", { class: `field ${input.type === "checkbox" ? "check" : ""}`, "data-field": name, title: help }, input.type === "checkbox" ? [input, el("span", { class: "field-name" }, words)] : [el("span", { class: "field-name" }, words), input]);
const number = (props) => el("input", { type: "number", ...props });
const choice = (options) => el("select", {}, options.map(([value, words]) => el("option", { value }, words)));

/** The form: the inputs by the names that the API gives them. */
class Form {
  constructor() {
    this.inputs = {
      kind: choice([["lora", "LoRA: a style or thing"], ["embedding", "Embedding: a new word"]]),
      name: el("input", { type: "text", maxLength: 80, placeholder: "blueprint", spellcheck: false }),
      trigger: el("input", { type: "text", maxLength: 200, placeholder: "blueprint style" }),
      licence: el("input", { type: "text", maxLength: 200, placeholder: "CC0-1.0" }),
      model: el("select", {}),
      steps: number({ min: 1, max: 100000 }),
      resolution: number({ min: 8, max: 2048, step: 8 }),
      learning_rate: number({ min: 1e-7, max: 0.1, step: "any" }),
      batch: number({ min: 1, max: 64 }),
      rank: number({ min: 1, max: 256 }),
      alpha: number({ min: 0, max: 1024, step: "any" }),
      seed: number({ min: 0 }),
      targets: choice([["attention", "attention"], ["all", "attention and convolutions"]]),
      schedule: choice([["constant", "constant"], ["cosine", "falling (cosine)"]]),
      save_every: number({ min: 1 }),
      sample_every: number({ min: 0 }),
      sample_prompt: el("input", { type: "text", maxLength: 2000, placeholder: "the caption of the first picture" }),
      flip: el("input", { type: "checkbox" }),
      train_text_encoder: el("input", { type: "checkbox" }),
      vectors: number({ min: 1, max: 8 }),
      init_word: el("input", { type: "text", maxLength: 200, placeholder: "shiny star" }),
    };
    const f = (name, words, help) => field(name, words, this.inputs[name], help);
    this.root = el(
      "div",
      { class: "training-form" },
      el("div", { class: "field-row" }, f("kind", "What is trained", "A LoRA changes how the model draws. An embedding only finds what the model can draw already, and is a few kB large."), f("name", "Name", "What the file is called, and how prompts name it."), f("trigger", "Trigger word", "Words that wake the LoRA. Write them into the captions too."), f("init_word", "Begins as", "Words that come near to it. It learns from there; without any, from chance."), f("licence", "Licence", "Who may use the result, and how. It is written into the file.")),
      el("div", { class: "field-row" }, f("model", "Model", "What it is trained on; it fits models of the same family."), f("steps", "Steps"), f("resolution", "Resolution px", "Side of the square that each picture is cut to.")),
      el("div", { class: "field-row" }, f("sample_prompt", "Sample prompt", "A picture is made with it while the training goes on, always with the same seed."), f("sample_every", "A sample every … steps", "0 makes none."), f("learning_rate", "Learning rate")),
      el(
        "details",
        { class: "more" },
        el("summary", {}, "More settings"),
        el("div", { class: "field-row" }, f("rank", "Rank", "How much it can hold, and how large the file becomes."), f("alpha", "Alpha", "Strength; most use the rank."), f("vectors", "Tokens of the word", "How much it can hold, and how much room it takes in a prompt. The name stands in every caption: where you write it, or at the end."), f("batch", "Pictures per step"), f("seed", "Seed")),
        el("div", { class: "field-row" }, f("targets", "Trained layers"), f("schedule", "Learning rate over time"), f("save_every", "A checkpoint every … steps", "From there it goes on after a stop.")),
        el("div", { class: "field-row" }, f("flip", "Learn from mirrored pictures too"), f("train_text_encoder", "Train the text encoder as well")),
      ),
    );
    for (const name of ["model", "kind"]) this.inputs[name].addEventListener("change", () => this.defaults());
    this.fit();
  }

  /** Only what means something for the kind of training. */
  fit() {
    const kind = this.inputs.kind.value;
    for (const [name, of] of Object.entries(OF_KIND)) this.root.querySelector(`[data-field="${name}"]`).hidden = of !== kind;
  }

  async models() {
    const found = (await checkpoints()).filter((model) => TRAINABLE.has(model.family) && model.variant !== "inpaint" && model.variant !== "edit");
    const before = this.inputs.model.value || chosen(found)?.id;
    replace(this.inputs.model, found.map(({ id, title, family }) => el("option", { value: id }, tame(`${title} · ${family}`))));
    if (found.some(({ id }) => id === before)) this.inputs.model.value = before;
    if (this.inputs.steps.value === "" && found.length) await this.defaults();
  }

  async defaults() {
    this.fit();
    const asked = new URLSearchParams({ model: this.inputs.model.value, kind: this.inputs.kind.value });
    const found = await call(`/training/defaults?${asked}`).catch(() => ({}));
    for (const [name, value] of Object.entries(found)) if (this.inputs[name]) this.inputs[name].value = value;
  }

  get value() {
    const read = (input) => (input.type === "checkbox" ? input.checked : input.type === "number" ? (input.value === "" ? null : Number(input.value)) : input.value.trim());
    const all = Object.entries(this.inputs).filter(([, input]) => !input.closest("[hidden]")).map(([name, input]) => [name, read(input)]);
    return Object.fromEntries(all.filter(([name, value]) => value !== null && (value !== "" || name === "name")));
  }

  wrong(name) {
    for (const node of this.root.querySelectorAll(".field-wrong")) node.classList.remove("field-wrong");
    const node = name && this.root.querySelector(`[data-field="${CSS.escape(name)}"]`);
    if (!node) return;
    if (node.closest("details")) node.closest("details").open = true;
    node.classList.add("field-wrong");
    node.querySelector("input, select")?.focus();
  }
}

export class Trainings {
  /** `finished()` is called when a file was written. */
  constructor(root, finished) {
    sheet("training");
    this.finished = finished;
    this.courses = new Map();
    this.form = new Form();
    this.pictures = new Pictures(() => this.form.inputs[this.form.inputs.kind.value === "lora" ? "trigger" : "name"].value);
    this.problem = el("div", { id: "training-problem" });
    this.start = button("Start training", () => this.begin(), { class: "accent", id: "training-start" });
    const open = stored("open.training", false);
    const panel = el("details", { class: "group training-panel", open: open.get() }, el("summary", {}, el("span", {}, "Train a LoRA or a word of your own")), el("div", { class: "group-body" }, el("p", { class: "hint" }, "It learns here, on this machine, while you go on making pictures. Bring only pictures that you may learn from."), this.pictures.root, this.form.root, el("div", { class: "row-actions" }, this.start), this.problem));
    panel.addEventListener("toggle", () => open.set(panel.open));
    this.list = el("div", { class: "training-list" });
    replace(root, panel, this.list);
    this.form.models();
    document.addEventListener("signet:tab", debounce(50, ({ detail }) => detail === "lora" && this.form.models()));
    this.root = root;
    this.look();
  }

  async begin() {
    replace(this.problem);
    this.form.wrong(null);
    this.start.disabled = true;
    try {
      const made = await call("/training", { method: "POST", json: { ...this.form.value, images: this.pictures.value } });
      say(`${tame(made.name)} is being trained`);
      this.pictures.empty();
      this.form.inputs.name.value = "";
      await this.refresh();
      this.courses.get(made.id)?.root.scrollIntoView({ block: "nearest" });
    } catch (error) {
      replace(this.problem, problemBox(error.problem ?? { title: "The training was not started", detail: String(error) }));
      this.form.wrong(error.problem?.field);
    } finally {
      this.start.disabled = false;
    }
  }

  async look() {
    if (this.root.isConnected && this.root.offsetParent && !document.hidden) await this.refresh().catch(() => null);
    const running = [...this.courses.values()].some((course) => course.live);
    setTimeout(() => this.look(), running ? 1000 : 3000);
  }

  async refresh() {
    const found = await call("/training");
    const known = new Set(found.map(({ id }) => id));
    for (const [id, course] of this.courses) {
      if (known.has(id)) continue;
      course.root.remove();
      this.courses.delete(id);
    }
    found.forEach((training, place) => {
      let course = this.courses.get(training.id);
      if (!course) {
        course = new Course(training.id, () => this.refresh(), () => this.finished());
        this.courses.set(training.id, course);
      }
      if (this.list.children[place] !== course.root) this.list.insertBefore(course.root, this.list.children[place] ?? null);
      course.show(training);
    });
  }
}
