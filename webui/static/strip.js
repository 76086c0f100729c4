// The pictures since the page was opened, newest first.

import { forget, record } from "./api.js";
import { button, el, replace, stored, tame } from "./dom.js";
import { flagged, small } from "./passport.js";

const LONGEST = 40;
const ids = stored("strip", [], "sessionStorage");

export class Strip {
  constructor(choose) {
    this.choose = choose;
    this.root = el("div", { class: "strip empty", role: "group", "aria-label": "Pictures since you opened this page" });
    this.draw();
  }

  add(id) {
    ids.set([id, ...ids.get().filter((other) => other !== id)].slice(0, LONGEST));
    return this.draw();
  }

  remove(id) {
    ids.set(ids.get().filter((other) => other !== id));
    return this.draw();
  }

  async draw() {
    const found = await Promise.all(ids.get().map((id) => record(id).catch(() => forget(id))));
    const items = found.filter(Boolean).map((one) => {
      const words = tame(one.passport.request.prompt);
      const image = small(one, { alt: words });
      const kind = flagged(one) ? "thumb flagged" : "thumb";
      return button(image, () => this.choose(one.id), { class: kind, title: words, "data-id": one.id });
    });
    this.root.classList.toggle("empty", items.length < 2);
    replace(this.root, items);
    this.mark(this.marked);
  }

  mark(id) {
    this.marked = id;
    for (const item of this.root.children) item.setAttribute("aria-pressed", String(item.dataset.id === id));
  }
}
