// upscale: make a picture larger, plainly or by painting new detail tile by tile.

import { call } from "./api.js";
import { check, choice, row, segments, slider } from "./controls.js";
import { el, replace } from "./dom.js";
import { contribute, provide, take } from "./extra.js";
import { Well } from "./picker.js";

const form = (name) => Number(document.querySelector(`#f-${name} input[type=number]`)?.value);

export function mount(root) {
  const well = new Well("Picture to enlarge", () => show());
  const upscaler = choice("upscale.upscaler", [["Lanczos", "Lanczos"], ["Nearest", "Nearest"]]);
  const by = segments("upscale.by", [["scale", "times larger"], ["size", "own size"]]);
  const scale = slider("upscale.scale", { min: 1, max: 8, step: 0.05, value: 2 });
  const diffusion = check("upscale.diffusion");
  // The form's width starts as the size that the model was made for.
  const side = Math.min(Math.max(form("width") || 512, 64), 1024);
  const tile = slider("upscale.tile", { min: 64, max: 1024, step: 16, value: side });
  const overlap = slider("upscale.overlap", { min: 0, max: 256, step: 8, value: side >> 3 });
  const denoise = slider("denoise", { min: 0, max: 1, step: 0.01, value: 0.35 });
  const outcome = el("p", { class: "outcome", role: "status" });
  const tiles = el("div", { class: "panel" }, denoise.root, row(tile.root, overlap.root));

  function show() {
    const own = by.value === "size";
    scale.root.hidden = own;
    tiles.hidden = !diffusion.value;
    if (document.body.dataset.mode === "upscale") {
      document.body.classList.toggle("own-size", own);
      document.body.classList.toggle("no-painting", !diffusion.value);
    } else document.body.classList.remove("no-painting");
    const size = (side) => Math.round(side * scale.value);
    const { width, height } = well.input ?? {};
    outcome.textContent = width && !own ? `${width} × ${height} → ${size(width)} × ${size(height)} px` : "";
  }

  replace(root, el("div", { class: "panel" }, well.root, row(upscaler.root, by.root), scale.root, outcome, diffusion.root, tiles));
  for (const kind of ["input", "change"]) root.addEventListener(kind, show, true);
  document.addEventListener("signet:tab", show);
  call("/upscalers").then(({ pixel }) => (upscaler.options(pixel.map((name) => [name, name]))), () => null);
  show();

  contribute("upscale", (mode) => {
    if (mode !== "upscale") return null;
    const own = by.value === "size";
    return {
      init_image: well.input?.id ?? null,
      denoise: denoise.value,
      upscale: { upscaler: upscaler.value, diffusion: diffusion.value, tile: tile.value, overlap: overlap.value, ...(own ? {} : { scale: scale.value }) },
      ...(own ? { width: form("width"), height: form("height") } : { width: null, height: null }),
    };
  });

  provide("upscale", async (request) => {
    if (request.mode !== "upscale" || !request.upscale) return;
    denoise.value = request.denoise;
    for (const [name, each] of Object.entries({ upscaler, diffusion, tile, overlap })) each.value = request.upscale[name];
    const input = request.init_image && (await call(`/inputs/${request.init_image}`).catch(() => null));
    if (!input) return;
    well.put(input);
    const times = Math.round((request.width / input.width) * 20) / 20;
    const same = times >= 1 && times <= 8 && Math.abs(input.width * times - request.width) <= 8 && Math.abs(input.height * times - request.height) <= 8;
    by.value = same ? "scale" : "size";
    if (same) scale.value = times;
    show();
  });

  take("upscale", (input) => well.put(input));
}
