// The policy in force, in plain words, for the owner to change. What is refused for everybody has no switch.

import { call } from "./api.js";
import { button, el, replace, say, tame } from "./dom.js";
import { problemBox } from "./passport.js";
import { sheet } from "./sheets.js";

const WORDS = { allow: "goes on, unsaid", note: "goes on, noted in the Passport", blur: "is made and covered", withhold: "is made and withheld", refuse: "is refused" };
const FLAGGED = { blur: "covered until somebody asks to see it", withhold: "withheld until you decide in Review" };
const PREVIEWS = { show: "shown", blur: "blurred", none: "not shown" };

function choice(label, value, words, changed, disabled = false) {
  const select = el("select", { "aria-label": label, disabled, onchange: () => changed(select.value) }, Object.entries(words).map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
  return select;
}

export function mount(root) {
  sheet("trust");
  const place = el("div", {});
  const said = el("div", {});
  replace(root, el("h2", { id: "policy" }, "Policy"), place, said);

  const change = async (edit) => {
    replace(said);
    try {
      draw(await call("/policy", { method: "PUT", json: edit }));
      say("The policy was changed");
    } catch (error) {
      replace(said, problemBox(error.problem));
      load();
    }
  };

  const draw = (now) => {
    const rows = now.categories.map((each) =>
      el(
        "tr",
        { "data-category": each.category },
        el("th", { scope: "row" }, each.category),
        el("td", {}, tame(each.meaning)),
        el("td", {}, each.fixed ? el("strong", {}, "is refused, always") : choice(each.category, each.action, WORDS, (action) => change({ actions: { [each.category]: action } }))),
      ),
    );
    const profiles = el("div", { class: "row-actions", role: "group", "aria-label": "Profile" }, now.profiles.map((each) => button(each.name, () => change({ profile: each.name }), { title: tame(each.about), "aria-pressed": String(each.name === now.profile) })));
    replace(
      place,
      el("p", { class: "hint" }, `In force: ${now.id}. Every change is written into the audit log. A request may ask for a stricter policy, never for a milder one.`),
      now.problem && el("p", { class: "problem", role: "alert" }, tame(now.problem)),
      profiles,
      el("table", { class: "settings policy" }, el("thead", {}, el("tr", {}, ["Category", "What it means", "A request that touches it"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows)),
      el(
        "div",
        { class: "policy-more" },
        el("label", {}, el("span", {}, "A picture that a detector flags is"), choice("Flagged pictures", now.flagged, FLAGGED, (flagged) => change({ flagged }))),
        el("label", {}, el("span", {}, "Previews are"), choice("Previews", now.previews, PREVIEWS, (previews) => change({ previews }))),
      ),
    );
  };

  const load = async () => {
    try {
      draw(await call("/policy"));
    } catch (error) {
      replace(place, problemBox(error.problem));
    }
  };
  load();
}
