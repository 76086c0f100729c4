// The film: what the model was given and what it expected, step by step, and the sealed picture at the end.

import { record } from "./api.js";
import { button, el, replace, tame } from "./dom.js";
import { covered, flagged, passport } from "./passport.js";
import { openPicture } from "./picture.js";
import { short } from "./plot.js";

const PACE = 320;

/** Pictures of the API that are shown again and again: fetched once, until `forget`. */
export class Shelf {
  constructor() {
    this.known = new Map();
  }

  async get(url) {
    if (!this.known.has(url)) {
      this.known.set(url, fetch(url).then(async (reply) => (reply.ok ? URL.createObjectURL(await reply.blob()) : "")));
    }
    return this.known.get(url);
  }

  forget() {
    for (const found of this.known.values()) found.then((url) => url && URL.revokeObjectURL(url), () => {});
    this.known.clear();
  }
}

export class Film {
  constructor(shelf) {
    this.shelf = shelf;
    this.moved = () => {};
    this.noisy = el("img", { alt: "" });
    this.clean = el("img", { alt: "" });
    this.slider = el("input", { type: "range", min: 0, max: 0, value: 0, step: 1, "aria-label": "Step of the film", id: "film-step" });
    this.words = el("output", { class: "film-words" }, "");
    this.play = button("▶ Play", () => this.toggle(), { id: "film-play" });
    this.strip = el("div", { class: "film-strip", role: "group", "aria-label": "All steps" });
    this.sealed = el("div", { class: "film-sealed" });
    this.hint = el("p", { class: "hint" }, "Press “Show me” above: the frames appear here while the picture forms.");
    this.veiled = el("p", { class: "hint", hidden: true }, "This studio blurs pictures until they are inspected, so the frames show little more than colours.");
    this.pair = el(
      "div",
      { class: "film-pair" },
      el("figure", {}, el("div", { class: "film-frame" }, this.noisy), el("figcaption", {}, "What the model is given")),
      el("figure", {}, el("div", { class: "film-frame" }, this.clean), el("figcaption", {}, "What it expects the picture to be")),
    );
    this.controls = el("div", { class: "film-controls" }, this.play, this.slider, this.words);
    this.root = el("div", { class: "film" }, this.hint, this.veiled, this.pair, this.controls, this.strip, this.sealed);
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value), true));
    this.clear();
  }

  clear() {
    this.stop();
    this.veil(false);
    this.frames = [];
    this.place = 0;
    this.chosen = false;
    replace(this.strip);
    replace(this.sealed);
    this.dress();
  }

  /** The frames of a picture that was flagged are covered as long as the picture is. */
  veil(on) {
    this.root.closest(".mount")?.classList.toggle("veiled", on);
  }

  dress() {
    const some = this.frames.length > 0;
    this.hint.hidden = some;
    this.veiled.hidden = document.body.dataset.blurPreviews !== "true";
    for (const part of [this.pair, this.controls, this.strip]) part.hidden = !some;
  }

  get frame() {
    return this.frames[this.place];
  }

  /** More frames have come; whoever has not chosen one watches the newest. */
  show(frames) {
    if (frames.length === this.frames.length) return;
    const fresh = frames.slice(this.frames.length);
    this.frames = frames;
    this.dress();
    this.slider.max = frames.length - 1;
    for (const frame of fresh) this.strip.append(this.thumb(frame));
    this.go(this.chosen ? this.place : frames.length - 1, false);
  }

  thumb(frame) {
    const image = el("img", { alt: "" });
    this.shelf.get(frame.url).then((url) => (image.src = url));
    const place = this.frames.indexOf(frame);
    return button([image, el("span", {}, String(frame.step))], () => this.go(place, true), { class: "film-thumb", "aria-label": `Step ${frame.step}` });
  }

  async go(place, chosen) {
    this.chosen ||= chosen;
    this.place = Math.min(Math.max(place, 0), this.frames.length - 1);
    const frame = this.frame;
    if (!frame) return;
    const last = this.frames.at(-1).step;
    this.slider.value = this.place;
    const noise = `noise level σ ${short(frame.sigma)}`;
    this.slider.setAttribute("aria-valuetext", `step ${frame.step} of ${last}, ${noise}`);
    this.words.textContent = `step ${frame.step} of ${last} · ${noise}${frame.changed === null ? "" : ` · changed by ${short(frame.changed)}`}`;
    [...this.strip.children].forEach((item, number) => item.setAttribute("aria-pressed", String(number === this.place)));
    this.reveal(this.strip.children[this.place]);
    this.moved(frame);
    const [noisy, clean] = await Promise.all([this.shelf.get(frame.noisy), this.shelf.get(frame.url)]);
    if (frame !== this.frame) return;
    this.noisy.src = noisy;
    this.clean.src = clean;
    this.noisy.alt = `The noisy picture before step ${frame.step}`;
    this.clean.alt = `The picture the model expects after step ${frame.step}`;
  }

  /** Within the strip only: the page stays where it is. */
  reveal(item) {
    if (!item) return;
    const [left, right] = [item.offsetLeft - this.strip.offsetLeft, item.offsetLeft - this.strip.offsetLeft + item.offsetWidth];
    if (left < this.strip.scrollLeft || right > this.strip.scrollLeft + this.strip.clientWidth) this.strip.scrollLeft = left - this.strip.clientWidth / 2;
  }

  toggle() {
    if (this.timer) return this.stop();
    this.play.textContent = "❚❚ Pause";
    if (this.place >= this.frames.length - 1) this.go(0, true);
    this.timer = setInterval(() => {
      if (this.place >= this.frames.length - 1) this.stop();
      else this.go(this.place + 1, true);
    }, PACE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.play.textContent = "▶ Play";
  }

  async end(id) {
    const found = await record(id);
    const { request } = found.passport;
    const image = el("img", { alt: `The finished picture: ${tame(request.prompt)}` });
    const open = button("Open it with its Passport", () => openPicture(found.id), { id: "explain-open" });
    const words = el("div", {}, el("h4", {}, "The finished picture"), el("p", { class: "hint" }, "Decoded at full size, inspected, marked and signed."), passport(found), open);
    const picture = covered(found, image, () => this.veil(false));
    this.veil(flagged(found));
    replace(this.sealed, picture, words);
  }
}
