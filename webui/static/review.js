// Pictures that were covered or withheld, for the owner to decide; and the log of what was decided.

import { call, remember } from "./api.js";
import { mountLog } from "./auditlog.js";
import { button, debounce, el, plural, replace, say, tame } from "./dom.js";
import { passport, problemBox } from "./passport.js";
import { sheet } from "./sheets.js";

const DECISIONS = [
  ["released", "Release", "Show it from now on"],
  ["false-alarm", "False alarm", "Show it, and count it against the detector"],
  ["withheld", "Withhold", "Nobody sees it but you, here"],
];

class Review {
  constructor(root) {
    this.root = root;
    this.words = el("p", { class: "queue-state", role: "status" });
    this.list = el("div", { class: "review-list" });
    this.more = button("Show older ones", () => this.load(), { hidden: true });
    const log = el("section", { class: "review-log" });
    replace(root, el("h2", {}, "Review"), el("p", { class: "hint" }, "Pictures that a detector flagged, or whose prompt the policy asks to cover. They are sealed like all others; you decide who sees them. Every decision goes into the audit log."), this.words, this.list, this.more, log);
    mountLog(log);
    new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && this.restart()).observe(root);
    document.addEventListener("signet:changed", debounce(300, () => this.root.offsetParent && this.restart()));
  }

  restart() {
    this.cursor = undefined;
    this.count = 0;
    replace(this.list);
    return this.load();
  }

  async load() {
    const number = (this.number = (this.number ?? 0) + 1);
    try {
      const page = await call(`/review?limit=20${this.cursor ? `&before=${encodeURIComponent(this.cursor)}` : ""}`);
      if (number !== this.number) return;
      page.records.forEach((found) => this.list.append(this.item(remember(found))));
      this.count += page.records.length;
      this.cursor = page.next;
      this.more.hidden = !page.next;
      this.tell();
    } catch (error) {
      replace(this.list, problemBox(error.problem));
    }
  }

  tell() {
    this.words.textContent = this.count ? `${plural(this.count, "picture waits", "pictures wait")}${this.cursor ? ", and older ones" : ""}.` : "Nothing waits for a decision.";
  }

  item(found) {
    const { passport: facts } = found;
    const frame = el("div", { class: "review-picture" }, el("span", { class: "veil" }, found.cover === "withhold" ? "withheld" : "covered"));
    const look = button("Look", () => {
      const image = el("img", { src: `/api/v1/review/${found.id}/file`, alt: `Picture for: ${tame(facts.request.prompt)}`, width: facts.width, height: facts.height });
      replace(frame, image);
      look.remove();
    }, { title: "Show it here, to you alone" });
    const note = el("input", { type: "text", maxLength: 300, placeholder: "Note for the log (optional)", "aria-label": "Note" });
    const said = el("div", {});
    const item = el(
      "article",
      { class: "review-item", "data-id": found.id },
      frame,
      el(
        "div",
        { class: "review-words" },
        el("p", { class: "opened-prompt", dir: "auto" }, tame(facts.request.prompt)),
        el("p", { class: "hint", dir: "auto" }, tame(found.covered)),
        note,
        el("div", { class: "row-actions" }, look, DECISIONS.map(([decision, words, title]) => button(words, () => decide(decision), { title, "data-decision": decision }))),
        said,
        passport(found),
      ),
    );
    const decide = async (decision) => {
      try {
        remember(await call(`/review/${found.id}`, { method: "POST", json: { decision, note: note.value } }));
        item.remove();
        this.count -= 1;
        this.tell();
        say(`Decided: ${decision}`);
        document.dispatchEvent(new CustomEvent("signet:changed"));
        if (!this.count && this.cursor) this.load();
      } catch (error) {
        replace(said, problemBox(error.problem));
      }
    };
    return item;
  }
}

export function mount(root) {
  sheet("trust");
  new Review(root);
}
