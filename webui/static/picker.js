// A picture well: drop, paste, choose, or take one of your own. The picture lives in the studio, named by its sha256.

import { call } from "./api.js";
import { button, el, replace, say } from "./dom.js";
import { problemBox, reveal } from "./passport.js";

const KINDS = ["png", "jpeg", "webp", "avif", "gif", "bmp", "tiff"].map((kind) => `image/${kind}`).join();

/** Bring a file along; {id, width, height, media_type, url}. Raises a ProblemError. */
export function upload(file) {
  return call("/inputs", { method: "POST", body: file });
}

export const fromRecord = (id) => call(`/inputs/from-record/${id}${reveal(id)}`, { method: "POST" });

async function newest() {
  const { records } = await call("/records?limit=1");
  if (records.length) return fromRecord(records[0].id);
  throw { problem: { title: "There is no picture yet", detail: "The History is empty.", hint: "Make one, or choose a file." } };
}

const pictureOf = (data) => [...(data?.files ?? [])].find((file) => file.type.startsWith("image/"));

/** `changed(input or null)` is called whenever another picture lies in the well. `stage` replaces the plain thumbnail. */
export class Well {
  constructor(label, changed, stage = null, field = "init_image") {
    this.label = label;
    this.changed = changed;
    this.input = null;
    this.number = 0;
    this.file = el("input", { type: "file", accept: KINDS, class: "sr-only", tabIndex: -1, "aria-label": `${label}: file` });
    this.image = el("img", { alt: label, draggable: false });
    this.stage = stage ?? el("div", { class: "well-thumb" }, this.image);
    this.words = el("span", { class: "well-words" });
    this.said = el("div", { class: "well-said" });
    this.empty = button([el("strong", {}, label), el("span", {}, "Drop it here, paste it, or press to choose a file")], () => this.file.click(), { class: "well-empty" });
    this.full = el("div", { class: "well-full" }, this.stage);
    this.choose = button("Choose file", () => this.file.click());
    this.newest = button("Newest picture", () => this.fill(newest()), { title: "Take the newest picture of your History" });
    this.result = button("Take the result", () => this.fill(fromRecord(document.body.dataset.shown)), { title: "Put the picture on the canvas here" });
    this.remove = button("Remove", () => this.put(null));
    this.bar = el("div", { class: "row-actions well-bar" }, this.choose, this.newest, this.result, this.remove, this.words);
    this.root = el("div", { class: "well", role: "group", "aria-label": label, "data-field": field }, this.file, this.empty, this.full, this.bar, this.said);
    this.listen();
    this.draw();
  }

  listen() {
    this.file.addEventListener("change", () => {
      if (this.file.files[0]) this.fill(upload(this.file.files[0]));
      this.file.value = "";
    });
    for (const kind of ["dragenter", "dragover"]) this.root.addEventListener(kind, () => this.root.classList.add("over"));
    for (const kind of ["dragleave", "drop"]) this.root.addEventListener(kind, () => this.root.classList.remove("over"));
    this.root.addEventListener("drop", (event) => this.receive(event, event.dataTransfer));
    document.addEventListener("paste", (event) => {
      const typing = event.target.closest?.("input:not([type=range]), textarea");
      if (this.root.offsetParent && !typing) this.receive(event, event.clipboardData);
    });
    document.addEventListener("signet:shown", () => this.draw());
  }

  receive(event, data) {
    const file = pictureOf(data);
    if (!file && !data?.files?.length) return;
    event.preventDefault();
    if (file) this.fill(upload(file));
    else this.fill(Promise.reject({ problem: { title: "This is not a picture", detail: "Bring a PNG, JPEG, WebP or another picture file." } }));
  }

  /** Take what a promise brings, unless something newer came in between. */
  async fill(coming) {
    const number = (this.number += 1);
    replace(this.said, el("p", { class: "looking" }, "Taking the picture …"));
    try {
      const input = await coming;
      if (number === this.number) this.put(input);
    } catch (error) {
      if (number !== this.number) return;
      replace(this.said, problemBox(error.problem ?? { title: "The picture could not be read", detail: String(error) }));
    }
  }

  /** The picture that a stored request names. */
  load(id) {
    if (!id) this.put(null);
    else if (id !== this.input?.id) this.fill(call(`/inputs/${id}`));
  }

  put(input) {
    this.number += 1;
    this.input = input;
    replace(this.said);
    this.draw();
    if (input) say(`${this.label}: ${input.width} by ${input.height} pixels`);
    this.changed(input);
  }

  draw() {
    const input = this.input;
    const shown = document.body.dataset.shown;
    if (input && this.image.getAttribute("src") !== input.url) this.image.src = input.url;
    this.empty.hidden = Boolean(input);
    this.full.hidden = this.remove.hidden = this.choose.hidden = !input;
    this.result.hidden = !shown;
    this.words.textContent = input ? `${input.width} × ${input.height} px` : "";
  }
}
