// Everything on disk that pictures can be made with: what it is, where it comes from, whether it is in memory.

import { call } from "./api.js";
import { bytes, family, hash, isChosen, preview, refusedList, whileSeen } from "./cards.js";
import { button, debounce, el, plural, replace, say, stored, tame } from "./dom.js";
import { problemBox } from "./passport.js";
import { sendToForm } from "./send.js";
import { sheet } from "./sheets.js";

const KINDS = [
  ["checkpoint", "Checkpoints", "checkpoints"], ["vae", "VAEs", "vae"], ["controlnet", "ControlNets", "controlnet"], ["t2i-adapter", "T2I-Adapters", "t2i-adapter"],
  ["ip-adapter", "IP-Adapters", "ip-adapter"], ["upscaler", "Upscalers", "upscalers"], ["embedding", "Embeddings", "embeddings"],
];
const SORTS = [["name", "by name"], ["newest", "newest first"], ["size", "largest first"]];
const PAGE = 60;
const DEFAULTS = ["steps", "cfg", "sampler", "schedule"];

/** As JSON in ASCII, so that it is the same characters here and on the server. */
const ascii = (value) => JSON.stringify(value).replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
const labelled = (text, input) => el("label", { class: "filter" }, el("span", {}, text), input);

class Models {
  constructor(root) {
    this.root = root;
    this.kept = stored("models", { kind: "checkpoint", sort: "name" });
    const { kind, sort } = this.kept.get();
    this.kind = KINDS.some(([one]) => one === kind) ? kind : "checkpoint";
    this.limit = PAGE;
    this.asked = 0;
    this.cards = [];
    this.loaded = [];
    this.search = el("input", { type: "search", placeholder: "Name, author, base model", maxLength: 200, autocomplete: "off" });
    this.sort = el("select", {}, SORTS.map(([value, words]) => el("option", { value, selected: value === sort }, words)));
    this.kinds = KINDS.map(([value, words]) => button(words, () => this.show(value), { class: "chip", "data-kind": value, "aria-pressed": String(value === this.kind) }));
    const form = el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() }, labelled("Search", this.search), labelled("Sort", this.sort));
    this.memory = el("div", { class: "memory" });
    this.words = el("p", { class: "wall-words", role: "status" });
    this.list = el("div", { class: "model-list" });
    this.more = button("Show more", () => ((this.limit += PAGE), this.draw()), { hidden: true });
    this.refused = el("div", {});
    replace(root, this.memory, el("div", { class: "chips", role: "group", "aria-label": "Kind" }, this.kinds), form, this.words, this.list, el("div", { class: "wall-end" }, this.more), this.refused);
    form.addEventListener("input", debounce(150, () => this.load()));
    document.addEventListener("signet:tab", ({ detail }) => detail === "models" && this.load());
    document.addEventListener("input", (event) => event.target.closest?.("#f-model") && this.mark());
    whileSeen(root, () => this.load());
    this.load();
    this.watch();
  }

  show(kind) {
    this.kind = kind;
    this.limit = PAGE;
    for (const one of this.kinds) one.setAttribute("aria-pressed", String(one.dataset.kind === kind));
    this.load();
  }

  async load() {
    const number = (this.asked += 1);
    this.kept.set({ kind: this.kind, sort: this.sort.value });
    try {
      const query = new URLSearchParams({ kind: this.kind, text: this.search.value.trim(), sort: this.sort.value });
      const [cards, refused] = await Promise.all([call(`/models?${query}`), call("/models/refused")]);
      if (number !== this.asked) return;
      this.cards = cards;
      replace(this.refused, refusedList(refused));
      this.draw();
    } catch (error) {
      if (number === this.asked) replace(this.list, problemBox(error.problem ?? { title: "The list cannot be drawn", detail: String(error) }));
    }
  }

  /** What is in memory, as long as the tab can be seen. */
  async watch() {
    if (this.root.isConnected && this.root.offsetParent && !document.hidden) {
      const now = await call("/health").catch(() => null);
      if (now) this.inMemory(now);
    }
    setTimeout(() => this.watch(), 2500);
  }

  inMemory({ loaded, memory_used: used, memory_budget: budget, device }) {
    const signature = JSON.stringify([loaded, used, budget]);
    if (signature === this.signature) return;
    this.signature = signature;
    this.loaded = loaded;
    const words = `${bytes(used)} of ${bytes(budget)} for models${device ? ` on ${tame(device)}` : ""}`;
    replace(this.memory, budget > 0 && [el("meter", { min: 0, max: budget, value: used, "aria-label": words }), el("span", {}, words), el("span", { class: "hint" }, "When it is full, the model that was not used for longest goes.")]);
    this.mark();
  }

  draw() {
    const shown = this.cards.slice(0, this.limit);
    this.more.hidden = shown.length === this.cards.length;
    this.words.textContent = this.cards.length ? `${plural(this.cards.length, "model")}, ${bytes(this.cards.reduce((sum, card) => sum + card.size, 0))} on disk` : "";
    replace(this.list, shown.length ? shown.map((card) => this.card(card)) : this.nothing());
    this.mark();
  }

  nothing() {
    const [, words, folder] = KINDS.find(([kind]) => kind === this.kind);
    const detail = this.search.value ? "Try fewer words." : `Put .safetensors files into data/models/${folder}. They appear here by themselves.`;
    return el("div", { class: "empty-state" }, el("strong", {}, this.search.value ? "Nothing matches" : `No ${words} yet`), el("p", {}, detail));
  }

  card(card) {
    const title = tame(card.title);
    const facts = [
      ["Licence", card.licence], ["By", card.author], ["From", card.source], ["Made from", card.base_model], ["Folder", card.folder],
      ["Kind of files", card.layout === "diffusers" ? "folder (diffusers)" : "one file"], ["VAE", card.has_vae && "one lies beside it"],
    ].filter(([, value]) => value);
    const size = this.kind === "checkpoint" && card.native_size ? `${card.native_size} px` : this.kind === "upscaler" && card.factor > 1 ? `${card.factor} ×` : "";
    const problem = el("div", {});
    return el(
      "article",
      { class: "model-card", "data-id": card.id },
      el("div", { class: "card-picture" }, preview(card)),
      el(
        "div",
        { class: "model-words" },
        el("h3", { dir: "auto" }, title, el("span", { class: "badge in-memory", hidden: true }, "in memory"), el("span", { class: "badge in-use", hidden: true }, "in use")),
        el("p", { class: "card-line" }, [family(card.family), size, card.variant !== "plain" && tame(card.variant), bytes(card.size)].filter(Boolean).join(" · ")),
        card.description && el("p", { class: "model-about", dir: "auto" }, tame(card.description)),
        el("dl", { class: "facts" }, facts.map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, tame(value))])),
        el("div", { class: "row-actions" }, hash("AutoV2", card.sha256), hash("AutoV3", card.autov3, 12), hash("sha256", card.sha256, 12), !card.sha256 && el("span", { class: "hint" }, "Its hash is worked out when the studio is idle.")),
        el(
          "div",
          { class: "row-actions" },
          this.kind === "checkpoint" && button("Use", () => this.use(card), { class: "accent use", "aria-label": `Use ${title}` }),
          button("Unload", (event) => this.unload(card, event.currentTarget, problem), { class: "quiet unload", hidden: true, "aria-label": `Unload ${title}`, title: "Free its memory once no job needs it" }),
        ),
        problem,
      ),
    );
  }

  use(card) {
    const given = Object.fromEntries(DEFAULTS.filter((name) => name in card.defaults).map((name) => [name, card.defaults[name]]));
    const side = card.native_size > 0 ? { width: card.defaults.width ?? card.native_size, height: card.defaults.height ?? card.native_size } : {};
    sendToForm(`fields:${ascii({ model: card.id, ...given, ...side })}`, () => setTimeout(() => this.mark(), 50));
    say(`${tame(card.title)} is the model now`);
  }

  async unload(card, pressed, problem) {
    pressed.disabled = true;
    pressed.textContent = "Unloading …";
    replace(problem);
    try {
      await call("/models/unload", { method: "POST", json: { id: card.id } });
      say(`${tame(card.title)} is let go once no job needs it`);
    } catch (error) {
      replace(problem, problemBox(error.problem));
    }
    setTimeout(() => {
      pressed.disabled = false;
      pressed.textContent = "Unload";
    }, 4000);
  }

  mark() {
    const used = this.kind === "checkpoint" ? this.cards.find(isChosen)?.id : null;
    for (const node of this.list.querySelectorAll(".model-card")) {
      const here = this.loaded.includes(node.dataset.id);
      node.querySelector(".in-memory").hidden = node.querySelector(".unload").hidden = !here;
      node.querySelector(".in-use").hidden = node.dataset.id !== used;
    }
  }
}

export function mount(root) {
  sheet("lora");
  new Models(root);
}
