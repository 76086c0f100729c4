// Paint over what is to be made anew: mouse, pen, touch and keyboard. The outline shows how the canvas grows.

import { upload } from "./picker.js";
import { slider } from "./controls.js";
import { button, el, say, stored } from "./dom.js";
import { Strokes, inkOf } from "./strokes.js";

const brush = stored("brush", 0.12);
const SMALLEST = 2;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const NO_GROWTH = { left: 0, right: 0, up: 0, down: 0 };

export class MaskEditor {
  constructor() {
    this.picture = el("img", { alt: "", draggable: false });
    this.canvas = el("canvas", {
      tabIndex: 0,
      role: "application",
      "aria-label": "Mask. Arrow keys move the brush, space puts it down or lifts it, E erases, [ and ] change its size, Ctrl+Z takes back.",
    });
    this.ring = el("div", { class: "brush-ring", hidden: true, "aria-hidden": "true" });
    this.frame = el("div", { class: "mask-picture" }, this.picture, this.canvas, this.ring);
    this.sheet = el("div", { class: "mask-sheet" }, this.frame);
    this.view = el("div", { class: "mask-view" }, this.sheet);
    this.strokes = new Strokes(this.canvas);
    this.growth = NO_GROWTH;
    this.zoom = 1;
    this.size = slider("mask.size", { min: SMALLEST, max: 512, value: 32 });
    this.opacity = slider("mask.opacity", { min: 0.1, max: 1, step: 0.05, value: 0.55 });
    this.eraser = button("Erase", () => this.erasing(!this.erases), { "aria-pressed": "false", title: "Erase instead of paint (E)" });
    this.undoing = button("Undo", () => this.change(() => this.strokes.undo()), { title: "Ctrl+Z" });
    this.redoing = button("Redo", () => this.change(() => this.strokes.redo()), { title: "Ctrl+Shift+Z" });
    const all = (kind, words) => button(words, () => this.deed(kind));
    this.larger = button("Large", () => this.enlarge(!this.root.classList.contains("large")), { "aria-pressed": "false", title: "Paint on the whole page (Esc goes back)" });
    const zoom = el("span", { class: "zoom", role: "group", "aria-label": "Zoom" }, button("−", () => this.scale(this.zoom / 1.5), { "aria-label": "Zoom out" }), button("Fit", () => this.scale(1)), button("+", () => this.scale(this.zoom * 1.5), { "aria-label": "Zoom in" }), this.larger);
    this.tools = el("div", { class: "row-actions mask-tools" }, this.eraser, this.undoing, this.redoing, all("clear", "Clear"), all("invert", "Invert"), all("fill", "Fill"), zoom);
    this.root = el("div", { class: "mask-editor", "data-field": "inpaint.mask" }, this.tools, this.view, el("div", { class: "field-row" }, this.size.root, this.opacity.root));
    this.pointer();
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.opacity.root.addEventListener("input", () => this.show());
    this.size.root.addEventListener("input", () => this.input && brush.set(this.size.value / Math.max(this.input.width, this.input.height)));
    this.change(() => {});
  }

  /** Another picture: the mask starts anew, unless it has the same size and nothing was painted for another one. */
  put(input) {
    const same = input && this.input && input.width === this.input.width && input.height === this.input.height;
    this.input = input;
    if (!input) return;
    this.picture.src = input.url;
    if (!same) {
      this.strokes.start(input.width, input.height);
      const longest = Math.max(input.width, input.height);
      this.size.value = Math.max(SMALLEST, Math.min(512, Math.round(longest * brush.get())));
      this.at = [input.width / 2, input.height / 2];
      this.change(() => {});
    }
    this.scale(1);
  }

  grow(growth) {
    this.growth = { ...NO_GROWTH, ...growth };
    this.scale(this.zoom);
  }

  /** Lay out picture and outline: everything in percent of the grown canvas. */
  scale(zoom) {
    this.zoom = Math.min(Math.max(zoom, 1), 12);
    if (!this.input) return;
    const { left, right, up, down } = this.growth;
    const [width, height] = [this.input.width + left + right, this.input.height + up + down];
    this.sheet.classList.toggle("grown", left + right + up + down > 0);
    this.sheet.dataset.size = `${width} × ${height}`;
    this.sheet.style.aspectRatio = `${width} / ${height}`;
    this.sheet.style.setProperty("--shape", width / height);
    this.sheet.style.setProperty("--zoom", this.zoom);
    const style = { left: left / width, width: this.input.width / width, top: up / height, height: this.input.height / height };
    for (const [side, share] of Object.entries(style)) this.frame.style[side] = `${share * 100}%`;
  }

  enlarge(on) {
    this.root.classList.toggle("large", on);
    this.larger.setAttribute("aria-pressed", String(on));
    this.larger.textContent = on ? "Back" : "Large";
    this.canvas.focus();
  }

  erasing(on) {
    this.erases = on;
    this.eraser.setAttribute("aria-pressed", String(on));
    say(on ? "Erasing" : "Painting");
  }

  deed(kind) {
    this.change(() => this.strokes.do({ kind }));
  }

  change(act) {
    act();
    this.sent = undefined;
    this.undoing.disabled = !this.strokes.deeds.length;
    this.redoing.disabled = !this.strokes.undone.length;
    this.show();
    this.root.dispatchEvent(new Event("change"));
  }

  show() {
    this.canvas.style.opacity = this.opacity.value;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.canvas.width, ((event.clientY - box.top) / box.height) * this.canvas.height];
  }

  ringAt([x, y]) {
    const shape = { left: x / this.canvas.width, top: y / this.canvas.height, width: this.size.value / this.canvas.width };
    for (const [side, share] of Object.entries(shape)) this.ring.style[side] = `${share * 100}%`;
    this.ring.hidden = false;
  }

  begin(point, erase) {
    this.stroke = { kind: "stroke", points: [point], size: this.size.value, erase };
    this.change(() => this.strokes.do(this.stroke));
  }

  pointer() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 && event.button !== 2) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      this.begin(this.place(event), this.erases || event.button === 2 || event.buttons === 32);
    });
    canvas.addEventListener("pointermove", (event) => {
      this.at = this.place(event);
      this.ringAt(this.at);
      if (!this.stroke || !canvas.hasPointerCapture(event.pointerId)) return;
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const each of passed.length ? passed : [event]) this.strokes.extend(this.stroke, this.place(each));
    });
    const lift = () => (this.stroke = undefined);
    canvas.addEventListener("pointerup", lift);
    canvas.addEventListener("pointercancel", lift);
    canvas.addEventListener("pointerleave", () => (this.ring.hidden = true));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("blur", lift);
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    const here = event.target === this.canvas;
    const step = Math.max(1, this.size.value / (event.shiftKey ? 1 : 4));
    const acts = {
      "[": () => this.resize(-1),
      "]": () => this.resize(1),
      ...(command && { z: () => this.change(() => (event.shiftKey ? this.strokes.redo() : this.strokes.undo())), y: () => this.change(() => this.strokes.redo()) }),
      ...(here && !command && { e: () => this.erasing(!this.erases), " ": () => this.press() }),
      ...(this.root.classList.contains("large") && { escape: () => this.enlarge(false) }),
    };
    if (here && !command && event.key in ARROWS) this.walk(ARROWS[event.key].map((part) => part * step));
    else if (acts[key]) acts[key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  resize(direction) {
    this.size.value = Math.min(512, Math.max(SMALLEST, Math.round(this.size.value * (direction > 0 ? 1.25 : 0.8) + direction)));
    this.ringAt(this.at);
  }

  press() {
    if (this.stroke) this.stroke = undefined;
    else this.begin([...this.at], this.erases);
    this.ring.classList.toggle("down", Boolean(this.stroke));
    say(this.stroke ? "Brush down" : "Brush up");
  }

  walk([dx, dy]) {
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    this.at = [inside(this.at[0] + dx, this.canvas.width), inside(this.at[1] + dy, this.canvas.height)];
    this.ringAt(this.at);
    if (this.stroke) this.strokes.extend(this.stroke, this.at);
  }

  /** The id of the mask in the studio, sent if it changed; null where nothing is painted. Raises a ProblemError. */
  async id() {
    if (this.strokes.empty) return null;
    const deeds = this.strokes.deeds.length;
    const length = this.strokes.deeds.at(-1).points?.length;
    const now = `${deeds}:${length}`;
    if (this.sent?.now !== now) this.sent = { now, id: (await upload(await this.strokes.export())).id };
    return this.sent.id;
  }

  /** The mask of a stored request. */
  async load(id) {
    const image = await inkOf(`/api/v1/inputs/${id}/file`).catch(() => null);
    if (!image) return;
    this.change(() => this.strokes.do({ kind: "picture", image }));
    this.sent = { now: `${this.strokes.deeds.length}:undefined`, id };
  }
}
