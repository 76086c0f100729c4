// The wall: thumbnails by day, search as you type, older pages on demand.

import { call, remember } from "./api.js";
import { button, debounce, el, plural, replace, say, tame } from "./dom.js";
import { flagged, problemBox, small } from "./passport.js";
import { openPicture } from "./picture.js";

const PAGE = 60;

function labelled(text, input) {
  return el("label", { class: "filter" }, el("span", {}, text), input);
}

function choice(name, any, options) {
  return el("select", { name }, el("option", { value: "" }, any), options.map(([value, text]) => el("option", { value }, text)));
}

function dayOf(found) {
  return new Date(found.passport.created).toLocaleDateString(undefined, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
}

export class History {
  constructor(root) {
    this.search = el("input", { type: "search", name: "q", id: "history-search", placeholder: "Words of the prompt", autocomplete: "off", maxLength: 300 });
    this.model = choice("model", "any model", []);
    this.sampler = choice("sampler", "any sampler", []);
    this.rating = choice("rating", "any rating", [1, 2, 3, 4, 5].map((stars) => [stars, "★".repeat(stars) + (stars < 5 ? " and more" : "")]));
    this.since = el("input", { type: "date", name: "since" });
    this.until = el("input", { type: "date", name: "until" });
    this.form = el(
      "form",
      { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      labelled("Search", this.search),
      labelled("Model", this.model),
      labelled("Sampler", this.sampler),
      labelled("Rating", this.rating),
      labelled("From", this.since),
      labelled("To", this.until),
      button("Clear", () => this.clear()),
    );
    this.wall = el("div", { class: "wall" });
    this.words = el("p", { class: "wall-words", role: "status" });
    this.more = button("Show older pictures", () => this.load(), { id: "history-more", hidden: true });
    replace(root, this.form, this.words, this.wall, el("div", { class: "wall-end" }, this.more));
    this.form.addEventListener("input", debounce(180, () => this.restart()));
    document.addEventListener("signet:changed", debounce(300, () => this.restart()));
    this.restart();
  }

  clear() {
    this.form.reset();
    this.restart();
    this.search.focus();
  }

  asked() {
    const moment = (input, end) => input.value && new Date(`${input.value}T${end ? "23:59:59.999" : "00:00:00"}`).toISOString();
    const values = {
      q: this.search.value.trim(),
      model: this.model.value,
      sampler: this.sampler.value,
      rating: this.rating.value,
      since: moment(this.since, false),
      until: moment(this.until, true),
    };
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value));
  }

  async restart() {
    this.cursor = undefined;
    this.days = new Map();
    this.count = 0;
    this.fillChoices();
    await this.load(true);
  }

  async fillChoices() {
    const found = await call("/filters").catch(() => null);
    for (const [select, values] of found ? [[this.model, found.model], [this.sampler, found.sampler]] : []) {
      const known = new Set([...select.options].map((option) => option.value));
      for (const value of values ?? []) if (!known.has(value)) select.append(el("option", { value }, tame(value)));
    }
  }

  async load(first = false) {
    this.abort?.abort();
    const abort = (this.abort = new AbortController());
    const asked = this.asked();
    const query = new URLSearchParams({ ...asked, limit: PAGE, ...(this.cursor ? { before: this.cursor } : {}) });
    this.more.disabled = true;
    let page;
    try {
      page = await call(`/records?${query}`, { signal: abort.signal });
    } catch (error) {
      if (error.name === "AbortError") return;
      if (first) replace(this.wall);
      this.words.textContent = "";
      this.wall.append(problemBox(error.problem));
      return;
    } finally {
      this.more.disabled = false;
    }
    if (first) replace(this.wall);
    page.records.forEach((found) => this.add(remember(found)));
    this.cursor = page.next;
    this.more.hidden = !page.next;
    this.say(Object.keys(asked).length > 0, asked.q);
  }

  say(filtered, words) {
    if (this.count) {
      this.words.textContent = `${plural(this.count, "picture")}${this.cursor ? " so far" : ""}${filtered ? " found" : ""}`;
      return;
    }
    this.words.textContent = "";
    const [title, detail] = filtered
      ? [words ? `Nothing matches “${tame(words)}”` : "Nothing matches", "Try fewer words, or clear the filters."]
      : ["No pictures yet", "Every picture you make appears here by itself, sealed and searchable."];
    replace(this.wall, el("div", { class: "empty-state" }, el("strong", {}, title), el("p", {}, detail), filtered && button("Clear the search", () => this.clear())));
    say(title);
  }

  add(found) {
    const day = dayOf(found);
    if (!this.days.has(day)) {
      const grid = el("div", { class: "grid" });
      this.days.set(day, grid);
      this.wall.append(el("section", { class: "day" }, el("h2", {}, day), grid));
    }
    this.count += 1;
    this.days.get(day).append(this.tile(found));
  }

  tile(found) {
    const prompt = tame(found.passport.request.prompt);
    const image = small(found, { width: found.passport.width, height: found.passport.height });
    const stars = found.rating ? el("span", { class: "tile-stars", "aria-hidden": "true" }, "★".repeat(found.rating)) : null;
    const name = `Open: ${prompt}${flagged(found) ? " (covered)" : ""}`;
    const props = { class: "tile" + (flagged(found) ? " flagged" : ""), "aria-label": name, title: prompt, "data-id": found.id };
    return button([image, el("span", { class: "tile-words", dir: "auto" }, prompt), stars].filter(Boolean), () => openPicture(found.id, () => this.restart()), props);
  }
}
