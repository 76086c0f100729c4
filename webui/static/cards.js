// What cards of models have in common: addresses, sizes, hashes, pictures, and which model the form stands on.

import { call } from "./api.js";
import { button, el, tame } from "./dom.js";

export const address = (card) => `/models/${card.kind}/${card.id.split("/").map(encodeURIComponent).join("/")}`;
export const bytes = (size) => (size >= 2 ** 30 ? `${(size / 2 ** 30).toFixed(1)} GiB` : `${Math.max(1, Math.round(size / 2 ** 20))} MiB`);

const FAMILIES = { sd1: "SD 1.x", sd2: "SD 2.x", sdxl: "SDXL", "sdxl-refiner": "SDXL refiner", any: "any model", unknown: "unknown" };
export const family = (name) => FAMILIES[name] ?? tame(name);

/** The name in the list of models; see webui/parts.py. */
const shownAs = ({ title, family, native_size }) => `${title} · ${family} · ${native_size} px`;

export const checkpoints = () => call("/models").catch(() => []);

/** Whether the form has chosen this checkpoint. */
export function isChosen(model) {
  const text = document.querySelector("#f-model input")?.value ?? "";
  return text !== "" && (shownAs(model) === text || model.id === text);
}

/** The checkpoint that the form has chosen, of those given; else the first. */
export const chosen = (models) => models.find(isChosen) ?? models[0];

/** The picture beside a model; without one, the first letters of its name. */
export function preview(card) {
  const letters = tame(card.title).replace(/[^\p{L}\p{N}]+/gu, " ").trim().split(" ").slice(0, 2).map((word) => word[0]).join("").toUpperCase();
  const plain = () => el("span", { class: "card-plain", "aria-hidden": "true" }, letters || "?");
  if (!card.preview) return plain();
  const image = el("img", { src: card.preview, alt: "", loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(plain()), { once: true });
  return image;
}

/** A hash that copies itself. */
export function hash(name, value, digits = 10) {
  if (!value) return null;
  const shown = value.slice(0, digits);
  return button(`${name} ${shown}`, async (event) => {
    const pressed = event.currentTarget;
    await navigator.clipboard?.writeText(value).then(() => (pressed.textContent = `${name} copied`), () => null);
  }, { class: "hash", title: value });
}

/** Look at the version of the models while the place can be seen; `changed()` when it is another one. */
export function whileSeen(root, changed, every = 3000) {
  let known = null;
  const look = async () => {
    if (root.isConnected && root.offsetParent && !document.hidden) {
      const now = await call("/models/version").catch(() => null);
      if (now && known !== null && now.version !== known) changed();
      known = now?.version ?? known;
    }
    setTimeout(look, every);
  };
  look();
}

/** What lies there and cannot be used, with what to do about it. */
export function refusedList(refused) {
  if (!refused.length) return null;
  const convert = refused.some(({ name }) => /\.(ckpt|pt|pth|bin)$/i.test(name));
  return el(
    "details",
    { class: "more refused" },
    el("summary", {}, `${refused.length} ${refused.length === 1 ? "file" : "files"} that cannot be used`),
    convert && el("p", { class: "hint" }, "Files of the kinds .ckpt, .pt, .pth and .bin can run programs when they are opened, so they are never loaded here. Look for a .safetensors file of the same model, or convert it on a machine that you can spare: load it there with torch.load(path, weights_only=True) and write it with safetensors.torch.save_file."),
    el("dl", { class: "facts" }, refused.map(({ name, problem }) => [el("dt", { dir: "auto" }, tame(name)), el("dd", { dir: "auto" }, tame([problem.detail, problem.hint].filter(Boolean).join(" ")))])),
  );
}
