// The models that take up memory now, each of which can be let go.

import { call } from "./api.js";
import { button, el, replace, say, tame } from "./dom.js";
import { problemBox } from "./passport.js";

const GIVE_UP = 30_000;
const bytes = (size) => (size >= 2 ** 30 ? `${(size / 2 ** 30).toFixed(1)} GiB` : `${Math.max(1, Math.round(size / 2 ** 20))} MiB`);

export class LoadedModels {
  constructor(changed) {
    this.changed = changed;
    this.known = new Map();
    this.leaving = new Map();
    this.drawn = "";
    this.root = el("ul", { class: "jobs loaded" });
  }

  async show(loaded) {
    for (const [id, since] of this.leaving) if (!loaded.includes(id) || Date.now() - since > GIVE_UP) this.leaving.delete(id);
    const signature = JSON.stringify([loaded, [...this.leaving.keys()]]);
    if (signature === this.drawn) return;
    this.drawn = signature;
    if (loaded.some((id) => !this.known.has(id))) {
      const models = await call("/models").catch(() => []);
      this.known = new Map(models.map((model) => [model.id, model]));
    }
    replace(this.root, loaded.length ? loaded.map((id) => this.item(id)) : el("li", { class: "nothing" }, "None. The next picture loads what it needs."));
  }

  item(id) {
    const model = this.known.get(id);
    const title = tame(model?.title ?? id);
    const facts = model ? `${tame(model.family)} · ${bytes(model.size)} on disk` : "";
    const leaving = this.leaving.has(id);
    const props = { disabled: leaving, "aria-label": `Unload ${title}`, title: "Free its memory once no job needs it. The next picture that needs it loads it again." };
    return el(
      "li",
      { class: "job", "data-id": id },
      el("div", { class: "job-head" }, el("div", { class: "job-words" }, el("span", { class: "job-prompt", dir: "auto" }, title), el("span", { class: "job-facts" }, facts)), button(leaving ? "Unloading …" : "Unload", (event) => this.unload(id, title, event.target), props)),
    );
  }

  async unload(id, title, pressed) {
    pressed.disabled = true;
    pressed.textContent = "Unloading …";
    this.leaving.set(id, Date.now());
    try {
      await call("/models/unload", { method: "POST", json: { id } });
      say(`${title} is let go once no job needs it`);
    } catch (error) {
      this.leaving.delete(id);
      pressed.closest("li").append(problemBox(error.problem));
    }
    this.changed();
  }
}
