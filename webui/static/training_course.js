// One training: how far it is, its loss, its sample pictures, and what can be done with it.

import { hasWord, putLora, putWord } from "./additions.js";
import { call, record } from "./api.js";
import { button, el, replace, say, tame } from "./dom.js";
import { openAddition } from "./lora_details.js";
import { flagged, problemBox, small } from "./passport.js";
import { openPicture } from "./picture.js";
import { Plot } from "./plot.js";
import { mode, showTab } from "./tabs.js";

const STATES = { waiting: "waiting for its turn", running: "training", done: "done", stopped: "stopped", interrupted: "interrupted", failed: "failed" };
const SMOOTH = 0.9;

function time(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** The course of the mean: single losses jump with every draw of noise. */
function smoothed(points) {
  let mean = null;
  return points.map(([step, loss]) => [step, (mean = mean === null ? loss : SMOOTH * mean + (1 - SMOOTH) * loss)]);
}

export class Course {
  constructor(id, changed, finished) {
    this.id = id;
    this.changed = changed;
    this.finished = finished;
    this.drawn = "";
    this.title = el("h3", { dir: "auto" });
    this.state = el("span", { class: "course-state" });
    this.bar = el("progress", { max: 1, value: 0 });
    this.line = el("span", { class: "line" });
    this.problem = el("div", {});
    this.actions = el("div", { class: "row-actions" });
    this.plot = new Plot({ title: "Loss", x: "step", y: "loss", empty: "The first step has not been taken yet." });
    this.samples = el("div", { class: "samples" });
    this.pictures = new Map();
    this.root = el("section", { class: "course", "data-id": id, "aria-label": "Training" }, el("div", { class: "course-head" }, this.title, this.state), el("div", { class: "progress" }, this.bar, this.line), this.problem, this.plot.root, this.samples, this.actions);
  }

  show(now) {
    this.live = now.state === "running" || now.state === "waiting";
    this.title.textContent = tame(now.name);
    this.state.textContent = STATES[now.state] ?? now.state;
    this.root.dataset.state = now.state;
    this.bar.value = now.step / now.steps;
    this.bar.setAttribute("aria-label", `Progress of ${tame(now.name)}`);
    const facts = [`step ${now.step}/${now.steps}`, now.average !== null && `loss ${now.average.toFixed(4)}`, now.eta !== null && `${time(now.eta)} left`, `${now.pictures} pictures`, tame(now.message)];
    this.line.textContent = facts.filter(Boolean).join(" · ");
    const last = now.losses.at(-1)?.[0];
    if (this.last !== last) {
      this.last = last;
      this.plot.show([{ name: "smoothed", points: smoothed(now.losses) }, { name: "each step", points: now.losses }]);
      this.root.dataset.points = now.losses.length;
    }
    this.showSamples(now.samples);
    const signature = JSON.stringify([now.state, now.lora, now.problem]);
    if (signature === this.drawn) return;
    if (now.lora && now.lora !== this.lora) this.finished();
    this.lora = now.lora;
    this.drawn = signature;
    replace(this.problem, now.problem && problemBox(now.problem));
    replace(this.actions, this.buttons(now));
  }

  buttons(now) {
    const resume = ["stopped", "interrupted", "failed"].includes(now.state);
    return [
      this.live && button("Stop", () => this.send("stop"), { title: "What was learned is kept; it can go on later" }),
      resume && button(now.step ? `Go on from step ${now.step}` : "Start again", () => this.send("resume"), { class: "accent" }),
      now.lora && button("Use it in the prompt", () => this.use(now), { class: this.live || resume ? "quiet" : "accent" }),
      now.lora && button("Show its card", () => this.card(now)),
      now.state !== "running" && this.deletion(),
    ].filter(Boolean);
  }

  async send(what) {
    try {
      await call(`/training/${this.id}/${what}`, { method: "POST", json: {} });
      say(what === "stop" ? "Stopping" : "Going on");
    } catch (error) {
      replace(this.problem, problemBox(error.problem));
    }
    this.changed();
  }

  use(now) {
    if (now.kind === "lora") putLora(now.lora, 1, 1, now.settings.trigger ? [now.settings.trigger] : []);
    else if (!hasWord(now.lora)) putWord(now.lora);
    showTab(mode());
  }

  card(now) {
    openAddition({ kind: now.kind, id: now.lora, title: now.lora }, { update: () => {}, saved: () => this.finished() });
  }

  deletion() {
    const place = el("span", { class: "deletion" });
    const ask = button("Forget this training", () => {
      const sure = button("Forget its pictures and checkpoint", async () => {
        await call(`/training/${this.id}`, { method: "DELETE" }).catch((error) => replace(this.problem, problemBox(error.problem)));
        this.changed();
      }, { class: "danger" });
      replace(place, sure, button("Keep it", () => replace(place, ask)));
      sure.focus();
    }, { title: "The file that it has written stays" });
    place.append(ask);
    return place;
  }

  /** Each sample once; a picture is drawn when its job is through. */
  showSamples(samples) {
    for (const sample of samples) {
      const signature = JSON.stringify([sample.job, sample.state, sample.records]);
      if (this.pictures.get(sample.step)?.signature === signature) continue;
      const root = el("figure", { class: "sample", "data-step": sample.step }, el("figcaption", {}, `step ${sample.step}`));
      const before = this.pictures.get(sample.step)?.root;
      this.pictures.set(sample.step, { signature, root });
      if (before) before.replaceWith(root);
      else this.samples.append(root);
      if (sample.records.length) this.picture(root, sample);
      else root.prepend(el("span", { class: "sample-wait" }, sample.why ? tame(sample.why) : `${sample.state} …`));
    }
  }

  async picture(root, { step, records: [id] }) {
    try {
      const found = await record(id);
      root.prepend(button(small(found, { alt: `Sample at step ${step}` }), () => openPicture(id), { class: "tile" + (flagged(found) ? " flagged" : ""), "aria-label": `Open the sample of step ${step}` }));
    } catch {
      root.prepend(el("span", { class: "sample-wait" }, "The picture is gone."));
    }
  }
}
