// The audit log as people read it: newest first, whether the chain holds, and older pages on demand.

import { call } from "./api.js";
import { button, el, replace, tame } from "./dom.js";
import { problemBox } from "./passport.js";

function facts(entry) {
  return Object.entries(entry.facts ?? {})
    .map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(" · ");
}

function row(entry) {
  return el(
    "tr",
    {},
    el("td", {}, String(entry.seq)),
    el("td", {}, new Date(entry.time).toLocaleString()),
    el("td", {}, tame(entry.event)),
    el("td", { dir: "auto" }, tame(`${entry.who} (${entry.source})`)),
    el("td", { class: "log-facts", dir: "auto" }, tame(facts(entry))),
  );
}

export function mountLog(root) {
  const body = el("tbody", {});
  const outcome = el("p", { class: "hint", role: "status" });
  const said = el("div", {});
  let next;
  const load = async () => {
    try {
      const page = await call(`/audit-log?limit=50${next ? `&before=${next}` : ""}`);
      body.append(...page.entries.map(row));
      next = page.next;
      more.hidden = !next;
      if (!body.children.length) outcome.textContent = "Nothing has been logged yet.";
    } catch (error) {
      replace(said, problemBox(error.problem));
    }
  };
  const more = button("Older entries", load, { hidden: true });
  const check = button("Check the chain", async () => {
    outcome.textContent = "Checking …";
    try {
      const found = await call("/audit-log/verify");
      outcome.textContent = tame(found.summary);
    } catch (error) {
      replace(said, problemBox(error.problem));
    }
  });
  const heads = ["No.", "Time", "What", "Who", "Facts"].map((name) => el("th", { scope: "col" }, name));
  const table = el("div", { class: "log-table", tabIndex: 0 }, el("table", {}, el("thead", {}, el("tr", {}, heads)), body));
  const details = el("details", { class: "more" }, el("summary", {}, "Audit log"), el("p", { class: "hint" }, "What was decided, allowed, refused, changed and deleted, chained so that later changes show. Prompts are not in it, only commitments to them."), el("div", { class: "row-actions" }, check), outcome, table, more, said);
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    next = undefined;
    replace(body);
    load();
  });
  replace(root, details);
}
