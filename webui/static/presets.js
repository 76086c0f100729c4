// Presets: the form's values under a name. Pictures are not kept: they may be gone when the preset is used.

import { call } from "./api.js";
import { group } from "./controls.js";
import { button, el, replace, say, tame } from "./dom.js";
import { formFields } from "./fields.js";
import { problemBox } from "./passport.js";
import { sendToForm } from "./send.js";
import { sheet } from "./sheets.js";

const PICTURES = ["init_image", "inpaint", "outpaint", "control"];
const WORDS = ["prompt", "negative"];

const box = (text, checked) => {
  const input = el("input", { type: "checkbox", checked });
  return { input, root: el("label", { class: "field check" }, input, el("span", { class: "field-name" }, text)) };
};

export async function mount(root, { collect = formFields, fill = (fields) => sendToForm("fields:" + JSON.stringify(fields)) } = {}) {
  const list = el("select", { "aria-label": "Preset" });
  const name = el("input", { type: "text", maxLength: 100, placeholder: "Name", "aria-label": "Name of the preset", dir: "auto" });
  const words = box("with the prompt", false);
  const seed = box("with the seed", false);
  const problem = el("div", {});
  let presets = [];

  const panel = group("presets", "Presets", [
    el("div", { class: "plot-line two" }, list, button("Use", use), button("Delete", remove)),
    el("div", { class: "plot-line two" }, name, button("Save", save)),
    el("div", { class: "field-row" }, words.root, seed.root),
    problem,
  ], () => 0);
  sheet("plots");
  replace(root, panel);

  const chosen = () => presets.find((one) => one.name === list.value);

  async function show() {
    presets = await call("/presets");
    const before = list.value;
    replace(list, presets.length ? presets.map((one) => el("option", { value: one.name }, tame(one.name))) : el("option", { value: "" }, "none yet"));
    if (presets.some((one) => one.name === before)) list.value = before;
  }

  async function attempt(action) {
    replace(problem);
    try {
      await action();
    } catch (error) {
      if (!error.problem) throw error;
      replace(problem, problemBox(error.problem));
    }
  }

  function use() {
    const preset = chosen();
    if (!preset) return;
    fill(preset.fields);
    name.value = preset.name;
    say(`Preset ${preset.name} is in the form`);
  }

  function save() {
    return attempt(async () => {
      const left = [...PICTURES, ...(words.input.checked ? [] : WORDS), ...(seed.input.checked ? [] : ["seed"])];
      const fields = Object.fromEntries(Object.entries(await collect()).filter(([key]) => !left.includes(key)));
      const saved = await call(`/presets/${encodeURIComponent(name.value.trim() || " ")}`, { method: "PUT", json: { fields } });
      await show();
      list.value = saved.name;
      say(`Preset ${saved.name} saved`);
    });
  }

  function remove() {
    const preset = chosen();
    if (!preset || !window.confirm(`Delete the preset "${preset.name}"?`)) return;
    return attempt(async () => {
      await call(`/presets/${encodeURIComponent(preset.name)}`, { method: "DELETE" });
      await show();
    });
  }

  panel.addEventListener("toggle", () => panel.open && attempt(show));
  if (panel.open) await attempt(show);
}
