// The same seed at several strengths of guidance, side by side, and if wanted as one sealed sheet.

import { call, record } from "./api.js";
import { button, el, plural, replace, say, tame } from "./dom.js";
import { problemBox, small } from "./passport.js";
import { ENDS } from "./phases.js";
import { openPicture } from "./picture.js";

const MOST = 8;
const PAUSE = 600;

export function strengths(text) {
  const found = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (!found.length || found.length > MOST || found.some((value) => !(value >= 1 && value <= 30))) return null;
  return [...new Set(found)];
}

export class Guidance {
  /** `fields` gives what the form asks for now, or nothing if it is not complete. */
  constructor(fields) {
    this.fields = fields;
    this.values = el("input", { type: "text", id: "guidance-values", value: "1, 2, 4, 7, 12", autocomplete: "off", inputMode: "decimal" });
    this.make = button("Make the strip", () => this.start(), { id: "guidance-make" });
    this.sheet = button("Make a sealed sheet", () => this.makeSheet(), { id: "guidance-sheet", disabled: true });
    this.status = el("p", { class: "hint", role: "status" }, "Each strength is a picture of its own, sealed and kept in the History.");
    this.strip = el("div", { class: "guidance-strip" });
    const label = el("label", { class: "filter" }, el("span", {}, "Guidance values"), this.values);
    this.root = el("div", { class: "guidance" }, el("div", { class: "explain-row" }, label, this.make, this.sheet), this.status, this.strip);
  }

  async start() {
    const values = strengths(this.values.value);
    this.values.setAttribute("aria-invalid", String(!values));
    if (!values) {
      this.status.textContent = `Write one to ${MOST} numbers from 1 to 30, with commas between them.`;
      this.values.focus();
      return;
    }
    const fields = this.fields();
    if (!fields) return;
    const run = (this.run = {});
    this.make.disabled = this.sheet.disabled = true;
    this.cells = values.map((cfg) => this.cell(cfg));
    replace(this.strip, this.cells.map((cell) => cell.root));
    try {
      for (const cell of this.cells) {
        cell.job = await call("/jobs", { method: "POST", json: { ...fields, cfg: cell.cfg } });
        cell.say("waiting");
      }
      this.prompt = fields.prompt;
      await Promise.all(this.cells.map((cell) => this.follow(cell, run)));
      const made = this.cells.filter((cell) => cell.done).length;
      this.status.textContent = `${plural(made, "picture")} of ${this.cells.length}, all from the same noise.`;
      say(this.status.textContent);
      this.sheet.disabled = made === 0;
    } catch (error) {
      replace(this.strip, problemBox(error.problem ?? { title: "It did not work", detail: error.message }));
    } finally {
      this.make.disabled = false;
    }
  }

  cell(cfg) {
    const place = el("div", { class: "film-frame" }, el("span", { class: "hint" }, "…"));
    const caption = el("figcaption", {}, `CFG ${cfg}`);
    const root = el("figure", {}, place, caption);
    return { cfg, root, place, caption, done: false, say: (words) => (place.firstChild.textContent = words) };
  }

  async follow(cell, run) {
    for (;;) {
      if (run !== this.run) return;
      const job = await call(`/jobs/${cell.job.id}`);
      if (ENDS.has(job.state)) return this.ended(cell, job);
      cell.say(job.state);
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }

  async ended(cell, job) {
    if (job.state !== "done" || !job.records.length) {
      replace(cell.place, job.problem ? problemBox(job.problem) : el("span", { class: "hint" }, job.state));
      return;
    }
    const found = await record(job.records[0]);
    replace(cell.place, small(found, { alt: `CFG ${cell.cfg}: ${tame(found.passport.request.prompt)}` }));
    replace(cell.caption, button(`CFG ${cell.cfg}`, () => openPicture(found.id), { title: "Open this picture with its Passport" }));
    cell.done = true;
  }

  async makeSheet() {
    const cells = this.cells.filter((cell) => cell.done);
    const grid = { cells: cells.map((cell) => cell.job.id), columns: cells.length, column_labels: cells.map((cell) => `CFG ${cell.cfg}`), title: this.prompt.slice(0, 200) };
    this.sheet.disabled = true;
    this.status.textContent = "Making the sheet: it is inspected, marked and signed like every picture.";
    try {
      let job = await call("/jobs", { method: "POST", json: { mode: "grid", prompt: this.prompt, grid } });
      while (!ENDS.has(job.state)) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        job = await call(`/jobs/${job.id}`);
      }
      if (job.problem) throw Object.assign(new Error(job.problem.detail), { problem: job.problem });
      replace(this.status, "The sheet is sealed and in the History. ", job.records.length && button("Open the sheet", () => openPicture(job.records[0]), { id: "guidance-open" }));
    } catch (error) {
      replace(this.status, problemBox(error.problem ?? { title: "It did not work", detail: error.message }));
    } finally {
      this.sheet.disabled = false;
    }
  }
}
