// The jobs that ended last, with their pictures, or why there are none.

import { call, record } from "./api.js";
import { button, el, replace, tame } from "./dom.js";
import { jobWords, promptOf } from "./jobline.js";
import { flagged, problemBox, small } from "./passport.js";
import { ENDS } from "./phases.js";
import { openPicture } from "./picture.js";

const SHOWN = 6;
const PICTURES = 6;
const STATES = { done: "", cancelled: "Cancelled", failed: "Failed", refused: "Refused", interrupted: "Interrupted" };

export class Finished {
  constructor(changed) {
    this.changed = changed;
    this.root = el("ul", { class: "jobs" }, el("li", { class: "nothing" }, "Nothing yet."));
  }

  async refresh() {
    const number = (this.number = (this.number ?? 0) + 1);
    const found = await call("/jobs?limit=40").catch(() => null);
    if (!found || number !== this.number) return;
    const ended = found.jobs.filter((job) => ENDS.has(job.state)).sort((one, other) => other.updated.localeCompare(one.updated));
    const items = await Promise.all(ended.slice(0, SHOWN).map((job) => this.item(job)));
    if (number !== this.number) return;
    replace(this.root, items.length ? items : el("li", { class: "nothing" }, "Nothing yet. Finished jobs appear here, newest first."));
  }

  async item(job) {
    const records = (await Promise.all(job.records.slice(0, PICTURES).map((id) => record(id).catch(() => null)))).filter(Boolean);
    const more = job.records.length - PICTURES;
    const state = STATES[job.state] ?? job.state;
    const words = [state, job.problem?.detail, !records.length && job.state === "done" && "Its pictures were deleted."].filter(Boolean).join(": ");
    const again = job.state === "interrupted" && button("Run again", (event) => this.again(job, event.target), { class: "accent", "aria-label": `Run again: ${promptOf(job)}` });
    return el(
      "li",
      { class: "job", "data-id": job.id, "data-state": job.state },
      el("div", { class: "job-head" }, jobWords(job, words && el("span", { class: "job-why", dir: "auto" }, tame(words))), again),
      records.length > 0 && el("div", { class: "job-pictures" }, records.map((one) => this.thumb(one)), more > 0 && el("span", { class: "job-facts" }, `and ${more} more`)),
    );
  }

  thumb(found) {
    const prompt = tame(found.passport.request.prompt);
    const image = small(found);
    const props = { class: "thumb" + (flagged(found) ? " flagged" : ""), "aria-label": `Open: ${prompt}${flagged(found) ? " (flagged)" : ""}`, title: prompt };
    return button(image, () => openPicture(found.id, () => document.dispatchEvent(new CustomEvent("signet:changed"))), props);
  }

  async again(job, pressed) {
    pressed.disabled = true;
    try {
      await call(`/jobs/${job.id}/resume`, { method: "POST" });
      this.changed();
    } catch (error) {
      pressed.closest("li").append(problemBox(error.problem));
    }
  }
}
