// img2img: a picture to start from, and how much of it is made anew.

import { call } from "./api.js";
import { choice, slider } from "./controls.js";
import { el, replace } from "./dom.js";
import { contribute, provide, take } from "./extra.js";
import { Well } from "./picker.js";
import { followSwitch } from "./size.js";

const RESIZES = [
  ["stretch", "Just resize"],
  ["crop", "Crop and resize"],
  ["fill", "Resize and fill"],
  ["latent", "Just resize (latent)"],
];

export function mount(root) {
  const well = new Well("Picture to start from", () => {});
  const denoise = slider("denoise", { min: 0, max: 1, step: 0.01, value: 0.75 });
  const resize = choice("resize", RESIZES);
  const follow = followSwitch("img2img", () => (resize.root.hidden = follow.value));
  resize.root.hidden = true;
  replace(root, el("div", { class: "panel" }, well.root, denoise.root, el("div", { class: "field-row" }, follow.root, resize.root)));

  contribute("img2img", (mode) => mode === "img2img" && { init_image: well.input?.id ?? null, denoise: denoise.value, resize: resize.value, ...follow.fields() });
  provide("img2img", async (request, { partial }) => {
    if (request.denoise !== undefined && (partial || request.mode === "img2img")) denoise.value = request.denoise;
    if (request.mode !== "img2img") return;
    resize.value = request.resize;
    if (!request.init_image) return;
    well.load(request.init_image);
    const input = await call(`/inputs/${request.init_image}`).catch(() => null);
    if (input) follow.fill(request, input.width, input.height);
  });
  take("img2img", (input) => {
    well.put(input);
    follow.value = true;
  });
}
