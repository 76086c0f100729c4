// The wall: thumbnails by day, search as you type, older pages on demand; or the nearest first, by what pictures show.

import { call, remember } from "./api.js";
import { button, debounce, el, plural, replace, say, tame } from "./dom.js";
import { flagged, problemBox, small } from "./passport.js";
import { openPicture } from "./picture.js";
import { showTab } from "./tabs.js";

const PAGE = 60;
const LOOK_AGAIN = 3000; // ms, while pictures wait to be looked at

const MEANING = "Finds pictures by what they show, whatever their prompt says. It knows the everyday things that the starter model draws.";

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
    this.meaning = el("input", { type: "checkbox", name: "meaning", id: "history-meaning", title: MEANING });
    this.like = null;
    this.model = choice("model", "any model", []);
    this.sampler = choice("sampler", "any sampler", []);
    this.rating = choice("rating", "any rating", [1, 2, 3, 4, 5].map((stars) => [stars, "★".repeat(stars) + (stars < 5 ? " and more" : "")]));
    this.since = el("input", { type: "date", name: "since" });
    this.until = el("input", { type: "date", name: "until" });
    this.form = el(
      "form",
      { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      labelled("Search", this.search),
      el("label", { class: "filter-check by-meaning", title: MEANING }, this.meaning, el("span", {}, "By meaning")),
      labelled("Model", this.model),
      labelled("Sampler", this.sampler),
      labelled("Rating", this.rating),
      labelled("From", this.since),
      labelled("To", this.until),
      button("Clear", () => this.clear()),
    );
    this.likeness = el("div", { class: "likeness" });
    this.wall = el("div", { class: "wall" });
    this.words = el("p", { class: "wall-words", role: "status" });
    this.more = button("Show older pictures", () => this.load(), { id: "history-more", hidden: true });
    replace(root, this.form, this.likeness, this.words, this.wall, el("div", { class: "wall-end" }, this.more));
    this.form.addEventListener("input", debounce(180, () => this.restart()));
    this.meaning.addEventListener("change", () => this.hint());
    document.addEventListener("signet:changed", debounce(300, () => this.restart()));
    document.addEventListener("signet:like", (event) => this.showLike(event.detail));
    this.restart();
  }

  clear() {
    this.form.reset();
    this.hint();
    this.showLike(null);
    this.search.focus();
  }

  hint() {
    this.search.placeholder = this.meaning.checked ? "What the picture shows" : "Words of the prompt";
  }

  /** "More like this": the pictures nearest to `found`; null goes back to the search. */
  showLike(found) {
    this.like = found;
    const back = () => {
      this.showLike(null);
      this.search.focus();
    };
    replace(this.likeness, found && [small(found), el("span", { dir: "auto" }, `Like: ${tame(found.passport.request.prompt)}`), button("Show all pictures again", back)]);
    if (found) showTab("history");
    this.restart();
  }

  /** Whether the nearest come first, instead of the newest. */
  byMeaning() {
    return Boolean(this.like || (this.meaning.checked && this.search.value.trim()));
  }

  asked() {
    const moment = (input, end) => input.value && new Date(`${input.value}T${end ? "23:59:59.999" : "00:00:00"}`).toISOString();
    const text = this.search.value.trim();
    const words = this.like ? { like: this.like.id } : this.meaning.checked ? { meaning: text } : { q: text };
    const values = {
      ...words,
      model: this.model.value,
      sampler: this.sampler.value,
      rating: this.rating.value,
      since: moment(this.since, false),
      until: moment(this.until, true),
    };
    return Object.fromEntries(Object.entries(values).filter(([, value]) => value));
  }

  async restart() {
    clearTimeout(this.later);
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
    const near = this.byMeaning();
    const query = new URLSearchParams({ ...asked, limit: PAGE, ...(this.cursor ? { before: this.cursor } : {}) });
    this.more.disabled = true;
    let page;
    try {
      page = await call(`/${near ? "nearest" : "records"}?${query}`, { signal: abort.signal });
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
    page.records.forEach((found) => this.add(remember(found), near));
    this.cursor = page.next;
    this.more.hidden = !page.next;
    this.more.textContent = near ? "Show less similar pictures" : "Show older pictures";
    this.say(Object.keys(asked).length > 0, asked.q ?? asked.meaning, near, page.waiting ?? 0);
    // They are looked at when nothing else is to do; whoever waits for them sees them come.
    const again = () => this.wall.contains(document.activeElement) || this.restart();
    if (near && first && page.waiting) this.later = setTimeout(again, LOOK_AGAIN);
  }

  say(filtered, words, near, waiting) {
    const yet = waiting ? ` · ${plural(waiting, "picture")} not looked at yet` : "";
    if (this.count) {
      this.words.textContent = `${plural(this.count, "picture")}${this.cursor ? " so far" : ""}${filtered ? " found" : ""}${near ? ", nearest first" : ""}${yet}`;
      return;
    }
    this.words.textContent = yet.slice(3);
    const [title, detail] = near
      ? ["Nothing comes near", "Covered pictures are not found by what they show. Try other words, or clear the filters."]
      : filtered
      ? [words ? `Nothing matches “${tame(words)}”` : "Nothing matches", "Try fewer words, or clear the filters."]
      : ["No pictures yet", "Every picture you make appears here by itself, sealed and searchable."];
    replace(this.wall, el("div", { class: "empty-state" }, el("strong", {}, title), el("p", {}, detail), filtered && button("Clear the search", () => this.clear())));
    say(title);
  }

  add(found, near = false) {
    const day = near ? "Nearest first" : dayOf(found);
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
