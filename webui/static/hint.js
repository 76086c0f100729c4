// What a control unit will see: the preprocessor's picture beside the one that was brought.

import { ProblemError } from "./api.js";
import { button, debounce, el, replace, say } from "./dom.js";
import { problemBox } from "./passport.js";

async function fetchHint(fields, signal) {
  let reply;
  try {
    reply = await fetch("/api/v1/control/hint", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(fields), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError({ title: "The studio does not answer", detail: "The preview could not be made." });
  }
  if (reply.ok) return reply.blob();
  throw new ProblemError((await reply.json().catch(() => null)) ?? { title: "The preview failed", detail: `Status ${reply.status}.` });
}

export class Hint {
  /** `fields()` gives {image, preprocessor, ...}, or nothing while there is nothing to look at. */
  constructor(fields, label) {
    this.fields = fields;
    this.image = el("img", { alt: `${label}: what it will see`, draggable: false });
    this.frame = el("div", { class: "hint-frame", hidden: true }, this.image);
    this.said = el("div", { class: "hint-said", role: "status" });
    this.button = button("Preview", () => this.draw(), { class: "quiet hint-button", title: "Show what the preprocessor makes of the picture" });
    this.hide = button("Hide preview", () => this.clear(), { hidden: true });
    this.later = debounce(300, () => this.shown && this.draw());
    this.root = el("div", { class: "hint" }, this.frame, el("div", { class: "row-actions" }, this.button, this.hide), this.said);
  }

  get shown() {
    return !this.frame.hidden;
  }

  /** Something was touched: draw again if there is a preview, soon but not at each pixel of a slider. */
  touched() {
    const fields = this.fields();
    this.button.disabled = !fields;
    if (this.shown && !fields) this.clear();
    else if (this.shown && JSON.stringify(fields) !== this.drawn) this.later();
  }

  async draw() {
    const fields = this.fields();
    if (!fields) return;
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    this.drawn = JSON.stringify(fields);
    this.root.setAttribute("aria-busy", "true");
    this.button.textContent = "Looking …";
    try {
      const blob = await fetchHint(fields, abort.signal);
      const url = URL.createObjectURL(blob);
      this.image.src = url;
      await this.image.decode().catch(() => null);
      if (this.url) URL.revokeObjectURL(this.url);
      this.url = url;
      if (abort.signal.aborted) return;
      this.frame.hidden = this.hide.hidden = false;
      replace(this.said);
      say("The preview is there");
    } catch (error) {
      if (error.name === "AbortError") return;
      this.frame.hidden = this.hide.hidden = true;
      replace(this.said, problemBox(error.problem));
    } finally {
      if (this.abort === abort) {
        this.root.removeAttribute("aria-busy");
        this.button.textContent = "Preview";
      }
    }
  }

  clear() {
    this.abort?.abort();
    this.frame.hidden = this.hide.hidden = true;
    this.root.removeAttribute("aria-busy");
    this.button.textContent = "Preview";
    replace(this.said);
  }
}
