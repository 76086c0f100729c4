// The queue: what runs, what waits and in which order, what was finished last, and which models are in memory.

import { call } from "./api.js";
import { button, debounce, el, replace, say, tame } from "./dom.js";
import { Finished } from "./finished.js";
import { LoadedModels } from "./loaded.js";
import { problemBox } from "./passport.js";
import { Progress } from "./progress.js";
import { Waiting } from "./waiting.js";

const EVERY = 2000;

class Queue {
  constructor(root) {
    this.root = root;
    this.signature = null;
    this.state = el("p", { class: "queue-state", role: "status" });
    this.pause = button("Pause", () => this.act(() => call("/queue", { method: "PATCH", json: { paused: !this.paused } })));
    this.clear = el("span", { class: "row-actions" });
    this.said = el("div", { class: "queue-said" });
    this.progress = new Progress((id) => this.cancel(id), () => this.refresh());
    this.waiting = new Waiting((id, place) => this.move(id, place), (id) => this.cancel(id));
    this.finished = new Finished(() => this.refresh());
    this.models = new LoadedModels(() => this.refresh());
    const column = (title, ...children) => el("section", { class: "queue-part" }, el("h2", {}, title), children);
    replace(
      root,
      el("div", { class: "queue-head" }, this.state, el("div", { class: "row-actions" }, this.pause, this.clear)),
      this.said,
      el(
        "div",
        { class: "queue-columns" },
        el("div", {}, column("Now", this.progress.root), column("Waiting", this.waiting.root)),
        el("div", {}, column("Finished last", this.finished.root), column("Models in memory", this.models.root)),
      ),
    );
    this.offerClear();
    new IntersectionObserver(() => this.look()).observe(root);
    document.addEventListener("visibilitychange", () => this.look());
    document.addEventListener("signet:busy", debounce(200, () => this.refresh()));
    document.addEventListener("signet:changed", debounce(200, () => this.changed()));
  }

  get visible() {
    return !document.hidden && this.root.offsetParent !== null;
  }

  /** Nothing is asked and no stream is open while nobody looks. */
  look() {
    if (this.visible) this.refresh();
    else this.progress.stop();
  }

  /** Pictures came or went. */
  changed() {
    this.signature = null;
    return this.refresh();
  }

  async refresh() {
    clearTimeout(this.timer);
    if (!this.visible) return;
    const number = (this.number = (this.number ?? 0) + 1);
    try {
      const [queue, health] = await Promise.all([call("/queue"), call("/health")]);
      if (number !== this.number) return;
      if (this.lost) replace(this.said);
      this.lost = false;
      this.show(queue);
      this.models.show(health.loaded);
    } catch (error) {
      this.lost = true;
      replace(this.said, problemBox(error.problem));
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), EVERY);
  }

  show({ paused, running, waiting }) {
    this.paused = paused;
    this.pause.textContent = paused ? "Resume" : "Pause";
    this.pause.title = paused ? "Let what waits start again" : "What runs is finished; nothing new starts";
    this.root.classList.toggle("paused", paused);
    const words = paused ? "Paused: nothing new starts until you press Resume." : "";
    const counts = running.length + waiting.length ? `${running.length} running, ${waiting.length} waiting.` : "Nothing is running and nothing waits.";
    this.tell([words, counts].filter(Boolean).join(" "));
    this.progress.show(running);
    this.waiting.show(waiting);
    const count = waiting.length;
    if (count !== this.count) this.offerClear(count);
    this.count = count;
    const signature = [...running, ...waiting].map((job) => `${job.id}${job.images}`).sort().join();
    if (signature !== this.signature) this.finished.refresh();
    this.signature = signature;
  }

  /** Only what is different, so that a screen reader does not repeat itself. */
  tell(words) {
    if (this.state.textContent !== words) this.state.textContent = words;
  }

  /** Asked twice, because what was cancelled does not come back. */
  offerClear(count = 0) {
    const ask = button("Cancel all waiting", () => {
      const sure = button(`Cancel ${count === 1 ? "the waiting job" : `all ${count}`}`, () => this.cancelAll(), { class: "danger" });
      replace(this.clear, sure, button("Keep them", () => this.offerClear(this.count)));
      sure.focus();
    }, { disabled: !count });
    replace(this.clear, ask);
  }

  /** Do something; the queue that comes back is shown at once. A job that ended in between is no error. */
  async act(what) {
    replace(this.said);
    this.number = (this.number ?? 0) + 1; // an answer that is on its way is older than this
    try {
      const queue = await what();
      if (queue?.waiting) this.show(queue);
    } catch (error) {
      if (!["conflict", "not-found"].includes(error.problem.code)) replace(this.said, problemBox(error.problem));
    }
    await this.refresh();
  }

  move(id, place) {
    return this.act(async () => {
      const queue = await call(`/jobs/${id}`, { method: "PATCH", json: { place } });
      const now = queue.waiting.findIndex((job) => job.id === id);
      if (now >= 0) say(`Moved to place ${now + 1} of ${queue.waiting.length}: ${tame(queue.waiting[now].request.prompt)}`);
      return queue;
    });
  }

  cancel(id) {
    return this.act(() => call(`/jobs/${id}`, { method: "DELETE" }));
  }

  cancelAll() {
    return this.act(async () => {
      const { waiting } = await call("/queue");
      // The last one first, so that none of them starts meanwhile.
      for (const job of waiting.reverse()) await call(`/jobs/${job.id}`, { method: "DELETE" }).catch(() => null);
      this.count = undefined;
      say("Everything that waited was cancelled");
    });
  }
}

export function mount(root) {
  new Queue(root);
}
