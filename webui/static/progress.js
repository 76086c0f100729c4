// Jobs that run, with their progress. Few event streams are open at once: a browser allows six connections to a host.

import { button, el, replace } from "./dom.js";
import { jobWords, promptOf } from "./jobline.js";
import { ENDS, words } from "./phases.js";

const STREAMS = 2;

class Row {
  constructor(job, cancel) {
    this.job = job;
    this.bar = el("progress", { max: 1, "aria-label": `Progress of: ${promptOf(job)}` });
    this.line = el("span", { class: "line" }, job.state === "sealing" ? "Inspecting, marking and signing" : "Running");
    const stop = button("Cancel", () => cancel(job.id), { "aria-label": `Cancel: ${promptOf(job)}` });
    const head = el("div", { class: "job-head" }, jobWords(job), stop);
    this.root = el("li", { class: "job", "data-id": job.id }, head, el("div", { class: "progress" }, this.bar, this.line));
  }

  watch(ended) {
    if (this.source) return;
    this.source = new EventSource(`/api/v1/jobs/${this.job.id}/events?after=0`);
    this.source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event.fraction !== undefined) this.bar.value = event.fraction;
      else if (event.steps) this.bar.value = event.step / event.steps;
      this.line.textContent = words(event, this.job.images > 0);
      if (ENDS.has(event.phase)) {
        this.stop();
        ended();
      }
    };
    this.source.onerror = () => this.source?.readyState === EventSource.CLOSED && this.stop();
  }

  stop() {
    this.source?.close();
    this.source = undefined;
  }
}

export class Progress {
  constructor(cancel, ended) {
    this.cancel = cancel;
    this.ended = ended;
    this.rows = new Map();
    this.root = el("ul", { class: "jobs" });
  }

  show(jobs) {
    const there = new Set(jobs.map((job) => job.id));
    for (const [id, row] of this.rows) {
      if (there.has(id)) continue;
      row.stop();
      row.root.remove();
      this.rows.delete(id);
    }
    this.root.querySelector(".nothing")?.remove();
    for (const job of jobs) {
      if (this.rows.has(job.id)) continue;
      const row = new Row(job, this.cancel);
      this.rows.set(job.id, row);
      this.root.append(row.root);
    }
    if (!jobs.length) replace(this.root, el("li", { class: "nothing" }, "No picture is being made."));
    [...this.rows.values()].slice(0, STREAMS).forEach((row) => row.watch(this.ended));
  }

  stop() {
    for (const row of this.rows.values()) row.stop();
  }
}
