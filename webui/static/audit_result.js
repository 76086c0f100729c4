// What an audit found: for every measure and variant the prompts with their shares on a line, sorted by distance.

import { record } from "./api.js";
import { intervals, percent, span } from "./audit_chart.js";
import { button, el, replace, tame } from "./dom.js";
import { small } from "./passport.js";
import { openPicture } from "./picture.js";

const distance = (one) => Math.max(0, ...Object.values(one.references ?? {}).map((each) => each.total_variation));
const number = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

/** The first pictures of a prompt; what is covered or gone says so. */
function sheet(found) {
  const place = el("div", { class: "audit-sheet" });
  for (const one of (found ?? []).slice(0, 12)) {
    const cell = button(el("span", { class: "veil" }, "…"), () => openPicture(one.record_id), { class: "thumb", "aria-label": `Seed ${one.seed}` });
    record(one.record_id).then((kept) => replace(cell, small(kept)), () => replace(cell, el("span", { class: "veil" }, "gone")));
    place.append(cell);
  }
  return place;
}

function promptRow(one, categories, sheets) {
  const against = Object.entries(one.references ?? {}).map(([name, each]) => {
    const words = `distance to ${name}: ${number(each.total_variation)} (${each.total_variation_interval.map(number).join("–")}), p = ${each.p_adjusted.toPrecision(2)} after correction`;
    return el("li", { class: each.differs ? "differs" : "" }, tame(`${words}${each.differs ? ": differs" : ": no difference shown"}`));
  });
  const facts = `${one.n} told, ${one.abstained} abstained · evenness ${number(one.entropy)}${one.entropy_interval ? ` (${number(one.entropy_interval[0])}–${number(one.entropy_interval[1])})` : ""}`;
  const seen = categories.filter((name) => one.counts[name]);
  const unseen = categories.filter((name) => !one.counts[name]);
  const most = Math.max(0, ...unseen.map((name) => one.intervals[name]?.[1] ?? 0));
  const none = one.n > 0 && unseen.length > 0 && el("li", { dir: "auto" }, tame(`not seen: ${unseen.join(", ")}; with ${one.n} pictures each may still have up to ${percent(most)}`));
  const more = el("details", { class: "more" }, el("summary", {}, "Pictures"));
  more.addEventListener("toggle", () => more.open && more.children.length === 1 && more.append(sheet(sheets?.[one.prompt])));
  return el("article", { class: "audit-row" }, el("h4", { dir: "auto" }, tame(one.prompt)), intervals(seen, one), el("ul", { class: "audit-facts" }, el("li", {}, facts), none, against), more);
}

function measured(name, stats, sheets) {
  const { overall } = stats;
  const rows = [...stats.prompts].sort((a, b) => distance(b) - distance(a));
  const references = overall.references.map((each) => `${each.differ} of ${each.prompts} prompts differ from ${each.name}`);
  const lines = [
    `${overall.pictures} pictures of ${overall.prompts} prompts; the measure abstained on ${percent(overall.abstained_share)} (${span(overall.abstained_interval)}).`,
    `Mean evenness ${number(overall.mean_entropy)} (1: all categories alike, 0: always the same). ${overall.one_sided} of ${overall.measured} prompts show one category in at least 95 %.`,
    [...references, overall.ranking].filter(Boolean).join(". "),
  ];
  return el("section", { class: "audit-measure" }, el("h3", {}, tame(`Measure: ${name}`)), lines.map((line) => el("p", { class: "hint", dir: "auto" }, tame(line))), rows.map((one) => promptRow(one, stats.categories, sheets)));
}

function fixed(found) {
  const score = found.score === null ? "nothing here could be measured" : `${percent(found.score)} (${span(found.interval)}) of ${found.spoken} pictures show what their prompt says`;
  return el("section", { class: "audit-measure" }, el("h3", {}, "What must not vary"), el("p", { class: "hint" }, `${score}. ${found.for_eyes} prompts are for eyes alone.`), el("ul", {}, found.prompts.map((one) => el("li", { dir: "auto" }, tame(`${one.prompt}: ${one.expected} in ${one.kept} of ${one.spoken}, ${span(one.interval)}`)))));
}

function labelFree(variant) {
  const alike = variant.diversity.filter((one) => one.duplicates);
  const resembles = variant.resemblance;
  const words = [`${variant.diversity.length} prompts were compared by what their pictures look like, without any label.`, alike.length ? `${alike.length} of them repeat pictures.` : "No repeated pictures."];
  if (resembles) words.push(resembles.why_not || `Identity pictures fall into their own group ${resembles.right} of ${resembles.known} times (${span(resembles.right_interval)}).`);
  return el("section", { class: "audit-measure" }, el("h3", {}, "Without labels"), el("p", { class: "hint" }, tame(words.join(" "))), resembles?.statistics && measured("resembles", resembles.statistics, variant.sheet));
}

function compared(name, found) {
  const rows = found.prompts.filter((one) => one.differs);
  const words = `${found.names[0]} against ${found.names[1]}: ${found.differ} of ${found.prompts.length} prompts differ.`;
  return el("section", { class: "audit-measure" }, el("h3", {}, tame(`Compared by ${name}`)), el("p", { class: "hint" }, tame(words)), el("ul", {}, rows.map((one) => el("li", { dir: "auto" }, tame(`${one.prompt}: ${Object.entries(one.differences).map(([category, value]) => `${category} ${value > 0 ? "+" : ""}${Math.round(100 * value)} points (${span(one.intervals[category])})`).join(", ")}`)))));
}

export function auditResult(result) {
  const several = result.variants.length > 1;
  return el(
    "div",
    { class: "audit-result" },
    result.variants.map((variant) =>
      el(
        "section",
        {},
        several && el("h2", {}, tame(variant.variant.name)),
        variant.hidden > 0 && el("p", { class: "hint" }, `${variant.hidden} pictures were covered and are not on the sheets.`),
        Object.entries(variant.measured).map(([name, stats]) => measured(name, stats, variant.sheet)),
        variant.must_not_vary && fixed(variant.must_not_vary),
        labelFree(variant),
      ),
    ),
    Object.entries(result.comparisons).map(([name, found]) => compared(name, found)),
    result.notes.length > 0 && el("ul", { class: "audit-notes" }, result.notes.map((note) => el("li", { dir: "auto" }, tame(note)))),
    el("details", { class: "more" }, el("summary", {}, "What this does not show"), el("ul", {}, result.limits.map((limit) => el("li", {}, tame(limit))))),
  );
}
