// The wall of LoRAs and embeddings: a click puts one into the prompt, the details stand behind "Details".

import { hasLora, hasWord, prompt, putLora, putWord, takeLora } from "./additions.js";
import { call } from "./api.js";
import { checkpoints, chosen, family, hash, preview, refusedList, whileSeen } from "./cards.js";
import { button, debounce, el, plural, replace, stored, tame } from "./dom.js";
import { openAddition, weights } from "./lora_details.js";
import { problemBox } from "./passport.js";
import { sheet } from "./sheets.js";
import { mode, showTab } from "./tabs.js";
import { Trainings } from "./training.js";

const PAGE = 120;
const TOP_TAGS = 4;
const SORTS = [["name", "by name"], ["newest", "newest first"], ["size", "largest first"]];
const KINDS = [["lora", "LoRAs"], ["embedding", "Embeddings"]];
const WHERE = { lora: "data/models/loras", embedding: "data/models/embeddings" };

const labelled = (text, input) => el("label", { class: "filter" }, el("span", {}, text), input);
const shortName = (card) => card.id.split("/").at(-1);
const there = (card) => (card.kind === "lora" ? hasLora(card.id) : hasWord(shortName(card)));

class Wall {
  constructor(root) {
    this.kept = stored("loras", { kind: "lora", sort: "name", fits: false });
    const { kind, sort, fits } = this.kept.get();
    this.kind = kind;
    this.cards = [];
    this.limit = PAGE;
    this.asked = 0;
    this.search = el("input", { type: "search", id: "lora-search", placeholder: "Name, trigger word, tag, author", maxLength: 200, autocomplete: "off" });
    this.sort = el("select", { "aria-label": "Sort" }, SORTS.map(([value, words]) => el("option", { value, selected: value === sort }, words)));
    this.folder = el("select", {}, el("option", { value: "" }, "all folders"));
    this.fits = el("input", { type: "checkbox", checked: fits });
    this.kinds = KINDS.map(([value, words]) => button(words, () => this.show(value), { class: "chip", "data-kind": value, "aria-pressed": String(value === kind) }));
    this.form = el(
      "form",
      { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      el("div", { class: "chips", role: "group", "aria-label": "Kind" }, this.kinds),
      labelled("Search", this.search),
      labelled("Sort", this.sort),
      labelled("Folder", this.folder),
      el("label", { class: "field check" }, this.fits, el("span", { class: "field-name" }, "Only what fits the model")),
    );
    this.prompt = el("p", { class: "prompt-now", dir: "auto" });
    this.words = el("p", { class: "wall-words", role: "status" });
    this.wall = el("div", { class: "addition-wall" });
    this.more = button("Show more", () => ((this.limit += PAGE), this.draw()), { hidden: true });
    this.refused = el("div", {});
    const back = button("Back to the prompt", () => showTab(mode()));
    replace(root, this.form, el("div", { class: "prompt-bar" }, this.prompt, back), this.words, this.wall, el("div", { class: "wall-end" }, this.more), this.refused);
    this.form.addEventListener("input", debounce(150, () => this.load()));
    document.addEventListener("signet:prompt", () => this.mark());
    document.addEventListener("input", (event) => event.target.closest?.("#f-prompt") && this.mark());
    document.addEventListener("signet:tab", ({ detail }) => detail === "lora" && this.load());
    whileSeen(root, () => this.load());
    this.load();
  }

  show(kind) {
    this.kind = kind;
    this.folder.value = "";
    for (const one of this.kinds) one.setAttribute("aria-pressed", String(one.dataset.kind === kind));
    this.load();
  }

  async load() {
    const number = (this.asked += 1);
    this.kept.set({ kind: this.kind, sort: this.sort.value, fits: this.fits.checked });
    try {
      const model = chosen(await checkpoints());
      const query = new URLSearchParams({ kind: this.kind, text: this.search.value.trim(), sort: this.sort.value, ...(this.folder.value ? { folder: this.folder.value } : {}), ...(model ? { fits: model.id } : {}) });
      const [cards, refused] = await Promise.all([call(`/models?${query}`), call("/models/refused")]);
      if (number !== this.asked) return;
      this.model = model;
      this.cards = this.fits.checked ? cards.filter((card) => !card.why_not) : cards;
      this.hidden = cards.length - this.cards.length;
      if (!this.folder.value) this.folders(cards);
      replace(this.refused, refusedList(refused));
      this.draw();
    } catch (error) {
      if (number !== this.asked) return;
      replace(this.wall, problemBox(error.problem ?? { title: "The list cannot be drawn", detail: String(error) }));
    }
  }

  folders(cards) {
    const names = [...new Set(cards.map((card) => card.folder).filter(Boolean))].sort();
    replace(this.folder, el("option", { value: "" }, "all folders"), names.map((name) => el("option", { value: name }, tame(name))));
    this.folder.closest(".filter").hidden = !names.length;
  }

  draw() {
    const shown = this.cards.slice(0, this.limit);
    this.more.hidden = shown.length === this.cards.length;
    this.words.textContent = this.cards.length ? plural(this.cards.length, "card") + (this.hidden ? `, ${this.hidden} more do not fit ${tame(this.model?.title ?? "the model")}` : "") : "";
    replace(this.wall, shown.length ? shown.map((card) => this.card(card)) : this.nothing());
    this.mark();
  }

  nothing() {
    const narrowed = this.search.value || this.folder.value || this.hidden;
    const [title, detail] = narrowed
      ? ["Nothing matches", this.hidden ? `${plural(this.hidden, "card")} do not fit ${tame(this.model?.title ?? "the model")}.` : "Try fewer words."]
      : [`No ${this.kind === "lora" ? "LoRAs" : "embeddings"} yet`, `Put .safetensors files into ${WHERE[this.kind]}, or train one below. They appear here by themselves.`];
    return el("div", { class: "empty-state" }, el("strong", {}, title), el("p", {}, detail));
  }

  card(card) {
    const title = tame(card.title);
    const name = `${title}: into the prompt, or out of it`;
    const face = button([el("span", { class: "card-picture" }, preview(card)), el("span", { class: "card-title", dir: "auto" }, title), el("span", { class: "card-in" }, "in the prompt")], () => this.toggle(card), { class: "card-face", "aria-label": name, title: card.why_not ? tame(card.why_not) : name });
    const tags = (card.triggers.length ? card.triggers : []).slice(0, TOP_TAGS);
    return el(
      "article",
      { class: "addition-card" + (card.why_not ? " unfit" : ""), "data-id": card.id },
      face,
      el("div", { class: "card-words" },
        el("span", { class: "card-line" }, [family(card.family), card.licence !== "not stated" && tame(card.licence), card.folder && tame(card.folder)].filter(Boolean).join(" · ")),
        tags.length > 0 && el("span", { class: "card-tags", dir: "auto" }, tags.map(tame).join(", ")),
        card.why_not && el("span", { class: "why-not" }, tame(card.why_not)),
      ),
      el("div", { class: "row-actions" }, button("Details", () => openAddition(card, { update: () => this.mark(), saved: () => this.load() }), { "aria-label": `Details of ${title}` }), hash("", card.sha256)),
    );
  }

  toggle(card) {
    if (card.kind !== "lora") putWord(shortName(card));
    else if (there(card)) takeLora(card.id);
    else {
      const { text, unet } = weights(card);
      putLora(card.id, unet, text, card.triggers.slice(0, 1));
    }
    this.mark();
  }

  mark() {
    const told = prompt();
    this.prompt.textContent = told ? tame(told) : "The prompt is empty.";
    this.prompt.classList.toggle("empty", !told);
    for (const node of this.wall.querySelectorAll(".addition-card")) {
      const card = this.cards.find((one) => one.id === node.dataset.id);
      const inside = Boolean(card) && there(card);
      node.classList.toggle("inside", inside);
      node.querySelector(".card-face").setAttribute("aria-pressed", String(inside));
    }
  }
}

export function mount(root) {
  sheet("lora");
  const wall = el("div", { class: "lora-wall" });
  const trainings = el("div", { class: "trainings" });
  replace(root, wall, trainings);
  const shown = new Wall(wall);
  new Trainings(trainings, () => shown.load());
}
