// One LoRA or embedding, opened: what it is, its words, how strong, and the owner's notes.

import { hasLora, hasWord, prompt, putLora, putWord, takeLora } from "./additions.js";
import { call } from "./api.js";
import { address, bytes, family, hash, preview } from "./cards.js";
import { button, el, replace, say, tame } from "./dom.js";
import { problemBox } from "./passport.js";

/** A tag of the prompt has what the card prefers, unless the prompt says otherwise already. */
export function weights(card) {
  const found = prompt().match(new RegExp(`<lora:${card.id.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}:([^<>]*)>`, "i"));
  const [first, second] = (found?.[1] ?? "").split(":").map(Number);
  if (Number.isFinite(second)) return { text: first, unet: second };
  const one = found && Number.isFinite(first) ? first : (card.preferred_weight ?? 1);
  return { text: one, unet: one };
}

function range(label, value, changed) {
  const number = el("input", { type: "number", min: -10, max: 10, step: 0.05, value, "aria-label": `${label}, number` });
  const bar = el("input", { type: "range", min: -1, max: 2, step: 0.05, value, "aria-label": label });
  const part = () => bar.style.setProperty("--part", `${((bar.value - bar.min) / (bar.max - bar.min)) * 100}%`);
  const set = (from, to) => () => {
    to.value = from.value;
    part();
    changed();
  };
  bar.addEventListener("input", set(bar, number));
  number.addEventListener("input", set(number, bar));
  part();
  return { root: el("div", { class: "field slider" }, el("div", { class: "field-head" }, el("span", { class: "field-name" }, label), number), bar), get value() { return Number(number.value) || 0; }, set value(given) { number.value = bar.value = given; part(); } };
}

function strength(card, update) {
  const now = weights(card);
  const both = el("input", { type: "checkbox", checked: now.text !== now.unet });
  const changed = () => {
    if (!both.checked) text.value = unet.value;
    if (hasLora(card.id)) insert();
  };
  const unet = range("Weight", now.unet, changed);
  const text = range("Weight in the text encoder", now.text, changed);
  const insert = () => {
    putLora(card.id, unet.value, both.checked ? text.value : unet.value, hasLora(card.id) ? [] : card.triggers);
    update();
  };
  both.addEventListener("change", () => {
    text.root.hidden = !both.checked;
    changed();
  });
  text.root.hidden = !both.checked;
  const take = button("Take it out", () => {
    takeLora(card.id);
    update();
  });
  const put = button("Put it into the prompt", insert, { class: "accent" });
  const draw = () => {
    take.hidden = !hasLora(card.id);
    put.textContent = hasLora(card.id) ? "In the prompt" : "Put it into the prompt";
  };
  draw();
  const root = el("div", { class: "strength" }, unet.root, el("label", { class: "field check" }, both, el("span", { class: "field-name" }, "Another weight for the text encoder")), text.root, el("div", { class: "row-actions" }, put, take));
  return { root, draw };
}

function words(title, list, update) {
  if (!list.length) return null;
  const chip = ({ tag, count }) => {
    const one = button([tame(tag), count && el("small", {}, ` ${count}`)].filter(Boolean), () => {
      putWord(tag);
      one.setAttribute("aria-pressed", String(hasWord(tag)));
      update();
    }, { class: "chip", "aria-pressed": String(hasWord(tag)), title: "Into the prompt, or out of it" });
    return one;
  };
  return el("section", {}, el("h3", {}, title), el("div", { class: "chips" }, list.map(chip)));
}

function notes(card, saved) {
  const area = (label, value) => {
    const input = el("textarea", { rows: 3, maxLength: 20000, dir: "auto" });
    input.value = value ?? "";
    return { input, root: el("label", { class: "field" }, el("span", { class: "field-name" }, label), input) };
  };
  const own = area("Notes", card.notes);
  const wakes = area("Trigger words", card.triggers.join(", "));
  const preferred = el("input", { type: "number", min: -10, max: 10, step: 0.05, value: card.preferred_weight ?? "", placeholder: "1" });
  wakes.input.rows = 1;
  const told = el("div", { role: "status" });
  const save = button("Save", async () => {
    const json = { notes: own.input.value };
    if (wakes.input.value !== card.triggers.join(", ")) json.activation_text = wakes.input.value;
    if (preferred.value !== "") json.preferred_weight = Number(preferred.value);
    try {
      saved(await call(address(card), { method: "PATCH", json }));
      replace(told, el("p", { class: "hint" }, "Saved beside the file, where A1111 and Forge read it too."));
      say("Saved");
    } catch (error) {
      replace(told, problemBox(error.problem));
    }
  });
  return el("section", { class: "notes" }, el("h3", {}, "Yours"), own.root, wakes.root, card.kind === "lora" && el("label", { class: "field number" }, el("span", { class: "field-name" }, "Preferred weight"), preferred), el("div", { class: "row-actions" }, save), told);
}

const facts = (card) =>
  [
    ["Made for", family(card.family)],
    ["Trained on", card.base_model],
    ["Licence", card.licence],
    ["By", card.author],
    ["From", card.source],
    ["Folder", card.folder],
    ["Size", bytes(card.size)],
  ].filter(([, value]) => value);

export async function openAddition(card, { update, saved }) {
  const dialog = el("dialog", { class: "picture-dialog addition-dialog", "aria-label": tame(card.title) });
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const body = el("div", { class: "addition-open" });
  dialog.append(button("Close", () => dialog.close(), { class: "quiet close" }), body);
  document.body.append(dialog);
  dialog.showModal();
  let whole;
  try {
    whole = await call(address(card));
  } catch (error) {
    replace(body, problemBox(error.problem));
    return;
  }
  const strong = whole.kind === "lora" ? strength(whole, () => (strong.draw(), update())) : null;
  const metadata = Object.entries(whole.metadata);
  replace(
    body,
    el("div", { class: "addition-picture" }, preview(whole)),
    el(
      "div",
      { class: "opened-words" },
      el("h2", { dir: "auto" }, tame(whole.title)),
      card.why_not && el("p", { class: "why-not" }, `It does not fit the chosen model: ${tame(card.why_not)}.`),
      strong?.root ?? words("Its name", [{ tag: whole.id.split("/").at(-1) }], update),
      words("Trigger words", whole.triggers.map((tag) => ({ tag })), update),
      words("Words of its training pictures", whole.tags, update),
      whole.description && el("p", { class: "opened-prompt", dir: "auto" }, tame(whole.description)),
      el("dl", { class: "facts" }, facts(whole).map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, tame(value))])),
      el("div", { class: "row-actions" }, hash("AutoV2", whole.sha256), hash("AutoV3", whole.autov3, 12), hash("sha256", whole.sha256, 12)),
      notes(whole, saved),
      metadata.length > 0 && el("details", { class: "more" }, el("summary", {}, `Everything the file says (${metadata.length})`), el("dl", { class: "facts" }, metadata.map(([name, value]) => [el("dt", { dir: "auto" }, tame(name)), el("dd", { dir: "auto" }, tame(value))]))),
    ),
  );
}
