// Hires fix: a second, larger pass in the same job. Belongs to txt2img.

import { call } from "./api.js";
import { check, choice, group, row, slider } from "./controls.js";
import { el, replace } from "./dom.js";
import { contribute, provide } from "./extra.js";
import { labelOf } from "./texts.js";

const SAME = ["", "as in the first pass"];
const side = (name) => document.querySelector(`#f-${name} input[type=number]`);

export function mount(root) {
  const on = check("hires");
  const scale = slider("hires.scale", { min: 1, max: 4, step: 0.05, value: 2 });
  const upscaler = choice("hires.upscaler", [["Latent", "Latent"]]);
  const steps = slider("hires.steps", { min: 0, max: 150, value: 0 });
  const denoise = slider("hires.denoise", { min: 0, max: 1, step: 0.01, value: 0.7 });
  const sampler = choice("hires.sampler", [SAME]);
  const schedule = choice("hires.schedule", [SAME]);
  const outcome = el("span", { class: "outcome" });
  const rest = el("div", { class: "group-body" }, row(upscaler.root, scale.root), row(denoise.root, steps.root), row(sampler.root, schedule.root));
  // A size that no scale gives, from a stored request, and words of its own: kept until somebody moves the scale.
  let kept = {};
  let schedules = new Map();

  const box = group("hires", labelOf("group.hires"), [el("div", { class: "field-row" }, on.root, outcome), rest], () => on.value);
  replace(root, box);

  function show() {
    rest.classList.toggle("dimmed", !on.value);
    const size = (name) => kept[name] ?? Math.round((Number(side(name)?.value) * scale.value) / Number(side(name)?.step || 8)) * Number(side(name)?.step || 8);
    outcome.textContent = on.value ? `${side("width")?.value} × ${side("height")?.value} → ${size("width")} × ${size("height")} px` : "";
  }

  function offerSchedules() {
    schedule.options([SAME, ...(schedules.get(sampler.value) ?? []).map((name) => [name, name])]);
  }

  for (const kind of ["input", "change"]) box.addEventListener(kind, show, true);
  document.addEventListener("input", (event) => event.target.closest?.("#f-width, #f-height") && setTimeout(show, 50));
  scale.root.addEventListener("input", () => (kept = {}));
  sampler.root.addEventListener("input", () => {
    offerSchedules();
    if (schedule.value && !schedules.get(sampler.value)?.includes(schedule.value)) schedule.value = "";
  });
  for (const each of [scale, upscaler, steps, denoise, sampler, schedule]) {
    each.root.addEventListener("input", () => (on.value ||= true));
  }
  call("/upscalers").then(({ latent, pixel }) => upscaler.options([...latent, ...pixel].map((name) => [name, name])), () => null);
  call("/samplers").then((found) => {
    schedules = new Map(found.map(({ name, schedules: own }) => [name, own]));
    sampler.options([SAME, ...found.map(({ name }) => [name, name])]);
    offerSchedules();
  }, () => null);
  show();

  contribute("hires", (mode) => {
    if (mode !== "txt2img" || !on.value) return null;
    const { width, height, ...words } = kept;
    const size = width ? { width, height } : { scale: scale.value };
    const given = { upscaler: upscaler.value, steps: steps.value, denoise: denoise.value, sampler: sampler.value, schedule: schedule.value };
    return { hires: { ...size, ...given, ...words } };
  });

  provide("hires", (request, { partial }) => {
    if (partial && !("hires" in request)) return;
    const asked = request.hires;
    on.value = Boolean(asked);
    if (!asked) return show();
    for (const [name, each] of Object.entries({ upscaler, steps, denoise, sampler, schedule })) if (asked[name] !== undefined) each.value = asked[name];
    offerSchedules();
    const times = asked.scale ?? Math.round((asked.width / request.width) * 20) / 20;
    scale.value = Math.min(Math.max(times || 2, 1), 4);
    const exact = asked.scale || (request.width * times === asked.width && request.height * times === asked.height && times <= 4);
    const { cfg, prompt, negative } = asked;
    kept = { ...(exact ? {} : { width: asked.width, height: asked.height }), ...(cfg ? { cfg } : {}), ...(prompt ? { prompt } : {}), ...(negative ? { negative } : {}) };
    show();
  });
}
