// inpaint: paint over what is to be made anew, or let the canvas grow.

import { call } from "./api.js";
import { choice, group, row, segments, slider } from "./controls.js";
import { el, replace } from "./dom.js";
import { contribute, provide, take } from "./extra.js";
import { MaskEditor } from "./mask.js";
import { Well } from "./picker.js";
import { followSwitch } from "./size.js";
import { labelOf } from "./texts.js";

const FILLS = [
  ["original", "what is there"],
  ["fill", "colours around it"],
  ["noise", "latent noise"],
  ["nothing", "latent nothing"],
];
const SIDES = ["left", "right", "up", "down"];

function controls() {
  return {
    denoise: slider("denoise", { min: 0, max: 1, step: 0.01, value: 0.75 }),
    inverted: segments("inpaint.inverted", [["false", "the masked"], ["true", "the rest"]]),
    area: segments("inpaint.area", [["whole", "whole"], ["masked", "only masked"]]),
    padding: slider("inpaint.padding", { min: 0, max: 256, step: 4, value: 32 }),
    blur: slider("inpaint.blur", { min: 0, max: 64, value: 4 }),
    fill: choice("inpaint.fill", FILLS),
  };
}

export function mount(root) {
  const editor = new MaskEditor();
  const well = new Well("Picture to repaint", (input) => editor.put(input), editor.root);
  const the = controls();
  const follow = followSwitch("inpaint");
  const sides = Object.fromEntries(SIDES.map((side) => [side, slider(`outpaint.${side}`, { min: 0, max: 512, step: 8, value: 0 })]));
  const growth = () => Object.fromEntries(SIDES.map((side) => [side, sides[side].value]));
  const grows = () => SIDES.filter((side) => sides[side].value > 0).length;
  const outpaint = group("outpaint", labelOf("group.outpaint"), [row(sides.left.root, sides.right.root), row(sides.up.root, sides.down.root)], grows);
  for (const kind of ["input", "change"]) outpaint.addEventListener(kind, () => editor.grow(growth()), true);
  const show = () => (the.padding.root.hidden = the.area.value !== "masked");
  for (const kind of ["input", "change"]) the.area.root.addEventListener(kind, show);
  show();
  const { denoise, inverted, area, padding, blur, fill } = the;
  replace(
    root,
    el("div", { class: "panel" }, well.root, row(inverted.root, area.root), row(denoise.root, blur.root), padding.root, row(fill.root, follow.root), outpaint),
  );

  contribute("inpaint", async (mode) => {
    if (mode !== "inpaint") return null;
    return {
      init_image: well.input?.id ?? null,
      denoise: denoise.value,
      inpaint: { mask: well.input && (await editor.id()), blur: blur.value, inverted: inverted.value === "true", area: area.value, padding: padding.value, fill: fill.value },
      outpaint: growth(),
      ...follow.fields(),
    };
  });

  function settings(request) {
    const asked = request.inpaint ?? {};
    denoise.value = request.denoise;
    inverted.value = String(asked.inverted ?? false);
    for (const name of ["area", "padding", "blur", "fill"]) the[name].value = asked[name];
    for (const side of SIDES) sides[side].value = request.outpaint?.[side] ?? 0;
    show();
  }

  provide("inpaint", async (request) => {
    if (request.mode !== "inpaint") return;
    settings(request);
    const input = request.init_image && (await call(`/inputs/${request.init_image}`).catch(() => null));
    if (!input) return;
    well.put(input);
    const { left, right, up, down } = growth();
    editor.grow(growth());
    follow.fill(request, input.width + left + right, input.height + up + down);
    if (request.inpaint?.mask) await editor.load(request.inpaint.mask);
  });

  take("inpaint", (input) => {
    well.put(input);
    follow.value = true;
  });
}
