// The live canvas: one job at a time, drawn from its event stream.
// Jobs that wait are followed in order; their ids are kept, so that a reload goes on where it was.

import { call, record } from "./api.js";
import { button, el, replace, say, stored, tame } from "./dom.js";
import { covered, download, flagged, passport, problemBox, seconds } from "./passport.js";
import { ENDS, words } from "./phases.js";
import { Interrupted, jobsBefore } from "./restore.js";
import { sendButtons, sendToForm, stayOrShow } from "./send.js";
import { Strip } from "./strip.js";

const kept = stored("jobs", []);
const NAME = document.title || "Signet";

export class Canvas {
  constructor(root) {
    this.root = root;
    this.jobs = [];
    this.outcome = "done";
    this.image = el("img", { class: "live", alt: "", hidden: true, draggable: false });
    this.hint = el("p", { class: "stage-hint" }, "Your picture will form here.");
    this.stage = el("div", { class: "stage" }, this.image, this.hint);
    this.bar = el("progress", { max: 1, value: 0, "aria-label": "Progress" });
    this.line = el("span", { class: "line", id: "progress-line" }, "Ready.");
    this.below = el("div", { class: "below" });
    this.strip = new Strip((id) => this.choose(id));
    this.randoms = new Map(kept.get().map(({ id, random }) => [id, random]));
    this.interrupted = new Interrupted((job) => this.add(job.id, this.randoms.get(job.id) ?? true, job));
    const progress = el("div", { class: "progress" }, this.bar, this.line);
    replace(root, this.stage, progress, this.interrupted.root, this.below, this.strip.root);
    this.restore();
  }

  get active() {
    return this.source !== undefined;
  }

  /** What was going on when the page was left. */
  async restore() {
    this.interrupted.refresh();
    const jobs = await jobsBefore(kept.get());
    if (!jobs.length || this.jobs.length) return;
    sendToForm(`job:${jobs.at(-1).id}${jobs.at(-1).random ? ":random" : ""}`, stayOrShow);
    const going = jobs.filter(({ job }) => !ENDS.has(job.state));
    const ended = jobs.filter(({ job }) => ENDS.has(job.state) && job.state !== "interrupted");
    const followed = going.length ? going : ended.slice(-1);
    if (!followed.length) return;
    this.jobs = followed;
    this.save();
    this.next();
  }

  /** Follow a job; `random` says whether the form goes on drawing seeds. */
  add(id, random, job) {
    const ended = !this.active;
    if (ended) this.jobs = [];
    this.randoms.set(id, random);
    this.jobs.push({ id, random, job });
    this.save();
    ended ? this.next() : this.say(this.lastWords);
  }

  save() {
    kept.set(this.jobs.map(({ id, random }) => ({ id, random })));
  }

  /** Follow the first job of the list. */
  next() {
    this.current = this.jobs[0];
    const { id, job } = this.current;
    this.shown = undefined;
    this.pinned = false;
    this.got = false;
    this.preview = 0;
    replace(this.below);
    this.size(job.request.width, job.request.height);
    this.root.classList.add("working");
    this.image.classList.add("stale");
    this.say("Sent.");
    this.source = new EventSource(`/api/v1/jobs/${id}/events?after=0`);
    this.source.onmessage = (message) => this.happened(id, JSON.parse(message.data));
    this.source.onerror = () => {
      if (this.source?.readyState === EventSource.CLOSED) this.lost(id);
      else this.say("The connection was lost; trying again …");
    };
    document.dispatchEvent(new CustomEvent("signet:busy", { detail: this.active }));
  }

  async lost(id) {
    this.close();
    try {
      await call(`/jobs/${id}`);
      setTimeout(() => this.next(), 1000);
    } catch (error) {
      this.finish();
      replace(this.below, problemBox(error.problem));
    }
  }

  close() {
    this.source?.close();
    this.source = undefined;
  }

  happened(id, event) {
    if (id !== this.current?.id) return;
    if (event.preview && event.preview > this.preview) this.drawPreview(id, event.preview);
    if (event.record_id) this.arrived(event.record_id);
    if (event.fraction !== undefined) this.bar.value = event.fraction;
    else if (event.steps) this.bar.value = event.step / event.steps;
    else if (!ENDS.has(event.phase)) this.bar.removeAttribute("value");
    this.say(words(event, this.got || this.current.job.images > 0), event);
    this.title();
    if (ENDS.has(event.phase)) this.ended(id, event);
  }

  /** The title of the browser's tab says how far it is, for those who look elsewhere. */
  title() {
    const share = this.active && this.bar.hasAttribute("value") ? `${Math.floor(this.bar.value * 100)}% · ` : "";
    document.title = share + NAME;
  }

  say(text, event) {
    this.lastWords = text;
    const waiting = this.jobs.length - 1;
    this.line.textContent = waiting > 0 ? `${text} · ${waiting} more waiting` : text;
    if (!event || event.phase !== "step") say(text);
  }

  size(width, height) {
    if (!width || !height) return;
    this.stage.style.setProperty("--w", width);
    this.stage.style.setProperty("--h", height);
  }

  /** Show a picture once it is decoded, so that nothing flashes in between. */
  async draw(url, alt, wanted) {
    const next = new Image();
    next.src = url;
    await next.decode().catch(() => null);
    if (!wanted() || !next.naturalWidth) return;
    replace(this.stage, this.image);
    this.image.src = url;
    this.image.alt = alt;
    this.image.hidden = false;
    this.image.classList.remove("stale");
  }

  /** A replay brings many versions at once; only the newest is worth fetching. */
  drawPreview(id, version) {
    this.preview = version;
    const wanted = () => this.current?.id === id && this.preview === version && !this.pinned && this.active;
    setTimeout(() => {
      if (!wanted()) return;
      if (this.shown) replace(this.below);
      this.shown = undefined;
      this.image.classList.toggle("veiled", document.body.dataset.blurPreviews === "true");
      this.draw(`/api/v1/jobs/${id}/preview?v=${version}`, "Preview of the picture that is forming", wanted);
    }, 20);
  }

  async arrived(recordId) {
    this.got = true;
    document.dispatchEvent(new CustomEvent("signet:changed"));
    await this.strip.add(recordId);
    if (!this.pinned) await this.show(recordId);
  }

  async ended(id, event) {
    this.close();
    this.outcome = event.phase;
    setTimeout(() => document.dispatchEvent(new CustomEvent("signet:ended", { detail: event.phase })), 0);
    if (event.phase === "interrupted") this.interrupted.refresh();
    if (this.jobs.length > 1) {
      this.jobs.shift();
      this.save();
      this.next();
      return;
    }
    this.finish();
    if (event.phase === "done") {
      this.bar.value = 1;
      if (!this.got) await this.showResult(id);
      return;
    }
    if (event.phase === "failed") {
      replace(this.below, problemBox(event.problem ?? { title: "The picture could not be made", detail: event.message }));
    }
  }

  finish() {
    this.close();
    this.root.classList.remove("working");
    this.image.classList.remove("stale");
    if (!this.bar.hasAttribute("value")) this.bar.value = 0;
    this.title();
    document.dispatchEvent(new CustomEvent("signet:busy", { detail: this.active }));
  }

  async showResult(id) {
    const job = await call(`/jobs/${id}`).catch(() => null);
    if (job?.records.length && id === this.current?.id) await this.show(job.records[0]);
  }

  async cancel() {
    if (!this.active) return;
    this.say("Stopping …");
    try {
      await call(`/jobs/${this.current.id}`, { method: "DELETE" });
    } catch (error) {
      if (error.problem.code !== "conflict") replace(this.below, problemBox(error.problem));
    }
  }

  /** Put a picture of the history on the stage, with its Passport. */
  async show(id) {
    const found = await record(id).catch(() => null);
    if (!found) return;
    this.shown = id;
    this.tell(id);
    const { passport: facts } = found;
    this.size(facts.width, facts.height);
    this.image.classList.remove("veiled");
    const words = `Picture for: ${tame(facts.request.prompt)}`;
    if (!flagged(found)) await this.draw(found.urls.file, words, () => this.shown === id);
    if (this.shown !== id) return;
    // A picture of its own, so that a preview never takes the place of what is under a cover.
    replace(this.stage, flagged(found) ? covered(found, el("img", { alt: words })) : el("div", { class: "picture" }, this.image));
    replace(this.below, this.actions(found), passport(found));
    if (!this.active && this.outcome === "done") this.say(`Done in ${seconds(facts.engine.seconds)}.`);
    this.strip.mark(id);
  }

  /** Which picture is on the canvas, for wells that may take it. */
  tell(id) {
    if (id) document.body.dataset.shown = id;
    else delete document.body.dataset.shown;
    document.dispatchEvent(new CustomEvent("signet:shown", { detail: id }));
  }

  actions(found) {
    return el(
      "div",
      { class: "row-actions" },
      download(found),
      sendButtons(found),
      button("Hide", () => this.hide(found.id), { title: "Take it off this page; it stays in the History" }),
    );
  }

  hide(id) {
    this.strip.remove(id);
    this.shown = undefined;
    this.tell(undefined);
    this.image.hidden = true;
    replace(this.stage, this.image, this.hint);
    replace(this.below);
  }

  choose(id) {
    this.pinned = this.active;
    this.show(id);
  }
}
