// Where the words looked: a heat map per word, over the frame of the same step.

import { el, replace, tame } from "./dom.js";

export class Words {
  constructor(shelf) {
    this.shelf = shelf;
    this.maps = new Map();
    this.base = el("img", { alt: "" });
    this.heat = el("img", { class: "heat", alt: "" });
    this.strength = el("input", { type: "range", min: 0, max: 100, value: 55, "aria-label": "Strength of the overlay, percent" });
    this.said = el("output", { class: "hint" });
    this.list = el("div", { class: "word-list", role: "radiogroup", "aria-label": "Words of the prompt" });
    this.view = el(
      "div",
      { class: "words-view" },
      el("div", { class: "film-frame" }, this.base, this.heat),
      el("div", { class: "viridis", "aria-hidden": "true" }, el("span", {}, "least"), el("i", {}), el("span", {}, "most")),
      el("label", { class: "strength" }, "Overlay", this.strength),
      this.said,
    );
    this.hint = el("p", { class: "hint" }, "After “Show me” every word of the prompt stands here with its map.");
    this.root = el("div", { class: "words" }, this.hint, this.view, this.list);
    this.strength.addEventListener("input", () => this.fade());
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("pointerleave", () => this.look(this.pinned));
    this.clear();
  }

  clear() {
    this.maps.clear();
    this.pinned = 0;
    this.step = undefined;
    replace(this.list);
    this.fade();
    this.dress();
  }

  dress() {
    const some = this.maps.size > 0;
    this.hint.hidden = some;
    this.view.hidden = this.list.hidden = !some;
  }

  fade() {
    this.heat.style.opacity = this.strength.value / 100;
  }

  /** All maps of a job, as the API lists them. */
  take(found) {
    this.maps.clear();
    for (const one of found) this.maps.set(one.step, [...(this.maps.get(one.step) ?? []), one]);
    if (this.maps.size && this.pinned === 0) this.pinned = this.telling();
    this.dress();
    if (this.frame) this.at(this.frame);
  }

  /** The word to begin with: the longest of the first step, which is seldom an article. */
  telling() {
    const words = [...this.maps.values()][0].map((one) => one.word.length);
    return words.indexOf(Math.max(...words));
  }

  async at(frame) {
    this.frame = frame;
    const words = this.maps.get(frame.step);
    if (!words) return;
    const same = this.list.children.length === words.length && words.every((one, number) => this.list.children[number].dataset.word === one.word);
    if (!same) replace(this.list, words.map((one, number) => this.chip(one, number)));
    this.step = frame.step;
    this.pinned = Math.min(this.pinned, words.length - 1);
    const url = await this.shelf.get(frame.url);
    if (frame !== this.frame) return;
    this.base.src = url;
    this.base.alt = `The picture the model expects after step ${frame.step}`;
    words.forEach(async (one, number) => {
      const url = await this.shelf.get(one.url);
      const chip = this.list.children[number];
      if (frame !== this.frame || !chip) return;
      chip.querySelector("img").src = url;
      chip.querySelector("small").textContent = `${Math.round(one.share * 100)} %`;
    });
    this.look(this.pinned);
  }

  chip(one, number) {
    const chip = el(
      "button",
      { type: "button", class: "word", role: "radio", "data-word": one.word, onclick: () => this.pin(number), onfocus: () => this.look(number) },
      el("img", { alt: "" }),
      el("span", { dir: "auto" }, tame(one.word)),
      el("small", {}, ""),
    );
    chip.addEventListener("pointerenter", () => this.look(number));
    return chip;
  }

  pin(number) {
    this.pinned = number;
    this.look(number);
  }

  key(event) {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const count = this.list.children.length;
    this.pin((this.pinned + move + count) % count);
    this.list.children[this.pinned].focus();
  }

  async look(number) {
    const one = this.maps.get(this.step)?.[number];
    if (!one) return;
    const url = await this.shelf.get(one.url);
    if (one !== this.maps.get(this.step)?.[number]) return;
    this.heat.src = url;
    this.heat.alt = `Where the picture attended to “${tame(one.word)}” at step ${one.step}`;
    this.said.textContent = `“${tame(one.word)}” at step ${one.step}: ${(one.share * 100).toFixed(1)} % of the attention that went to words.`;
    [...this.list.children].forEach((chip, place) => {
      chip.setAttribute("aria-checked", String(place === this.pinned));
      chip.classList.toggle("looking", place === number);
      chip.tabIndex = place === this.pinned ? 0 : -1;
    });
  }
}
