// The models that cannot be used, with the reasons; nothing where there are none.

import { call } from "./api.js";
import { el, replace, tame } from "./dom.js";

export async function mountRefused(root) {
  const refused = await call("/models/refused").catch(() => []);
  if (!refused.length) return;
  const items = refused.map(({ name, problem }) => [
    el("dt", { dir: "auto" }, tame(name)),
    el("dd", { dir: "auto" }, tame([problem.detail, problem.hint].filter(Boolean).join(" "))),
  ]);
  replace(root, el("h2", {}, "Models that cannot be used"), el("dl", { class: "facts" }, items));
}
