// The Passport page: what is known about a picture, row by row, and the duties that law and codes name.

import { el, tame } from "./dom.js";

const SIGNS = { good: "✓", warn: "!", bad: "✗", unknown: "?", plain: "·" };
const DUTY = { met: "good", "not met": "bad", "not applicable": "plain", unknown: "unknown" };

function line(tone, head, value, because) {
  return el(
    "li",
    { class: "trust-row " + tone },
    el("span", { class: "trust-sign", "aria-hidden": "true" }, SIGNS[tone] ?? "·"),
    el("span", { class: "trust-name" }, tame(head)),
    el("span", { class: "trust-value", dir: "auto" }, el("strong", {}, tame(value)), because && el("span", { class: "trust-why" }, tame(because))),
  );
}

/** `page` is {rows, duties} as /records/ID/passport and /verify give it. */
export function passportRows(page) {
  const rows = el("ul", { class: "trust-rows", "aria-label": "What is known about this picture" }, page.rows.map((row) => line(row.state, row.name, row.value, row.because)));
  const duties = el("ul", { class: "trust-rows" }, page.duties.map((duty) => line(DUTY[duty.state] ?? "unknown", `${duty.regime}${duty.clause ? `, ${duty.clause}` : ""}`, `${duty.what}: ${duty.state}`, duty.because)));
  const count = page.duties.filter((duty) => duty.state === "not met").length;
  const title = `Duties: ${count ? `${count} not met` : "none unmet"} of ${page.duties.length}. Not legal advice.`;
  return el("div", {}, rows, el("details", { class: "more" }, el("summary", {}, title), duties));
}
