// Rarer things that any request may have. Only what differs from the start is sent.

import { call } from "./api.js";
import { check, choice, group, many, number, row, slider } from "./controls.js";
import { replace } from "./dom.js";
import { contribute, provide } from "./extra.js";
import { labelOf } from "./texts.js";

/** Fields that no control shows but that a stored request may carry: kept as they came, sent again. */
const CARRIED = ["emphasis", "churn", "resize_from", "noise_multiplier", "bucket"];
const PLAIN = { emphasis: "original", noise_multiplier: 1 };

export function mount(root) {
  const plain = {
    vae: choice("vae", [["", "the model's own"]]),
    clip_skip: slider("clip_skip", { min: 1, max: 12, value: 1 }),
    cfg_rescale: slider("cfg_rescale", { min: 0, max: 1, step: 0.05, value: 0 }),
    eta: number("eta", { min: 0, max: 1, step: 0.05, placeholder: "the sampler's own" }),
    tiling: check("tiling"),
    styles: many("styles"),
    policy: choice("policy", [["", "as the owner set it"], ["shared", "as strict as on a shared server"], ["classroom", "as strict as in a classroom"]]),
  };
  const consent = check("consent");
  const begin = slider("cfg_interval.0", { min: 0, max: 1, step: 0.05, value: 0 });
  const end = slider("cfg_interval.1", { min: 0, max: 1, step: 0.05, value: 1 });
  const towards = number("variation.seed", { min: -1, max: 2 ** 53 - 1, value: -1 });
  const strength = slider("variation.strength", { min: 0, max: 1, step: 0.01, value: 0 });
  const refiner = choice("refiner.model", [["", "none"]]);
  const takeover = slider("refiner.switch", { min: 0, max: 1, step: 0.05, value: 0.8 });
  const set = () => [...Object.values(plain), begin, end, strength, refiner].filter((each) => each.changed).length + Object.keys(carried).length;
  let carried = {};

  replace(
    root,
    group(
      "more",
      labelOf("group.more"),
      [
        plain.styles.root,
        row(plain.vae.root, plain.clip_skip.root),
        row(strength.root, towards.root),
        row(plain.cfg_rescale.root, plain.eta.root),
        row(begin.root, end.root),
        row(refiner.root, takeover.root),
        plain.tiling.root,
        row(plain.policy.root, consent.root),
      ],
      set,
    ),
  );

  const names = (found) => found.map(({ id, title }) => [id, title]);
  call("/models?kind=vae").then((found) => plain.vae.options([["", "the model's own"], ...names(found)]), () => null);
  call("/models").then((found) => refiner.options([["", "none"], ...names(found)]), () => null);
  const styles = () => call("/styles").then((found) => plain.styles.options(found.map(({ name }) => name)), () => null);
  document.addEventListener("signet:styles", styles);
  styles();

  contribute("more", (mode) => {
    const given = Object.entries(plain).map(([name, each]) => [name, each.given]);
    return {
      ...carried,
      ...Object.fromEntries(given.filter(([, value]) => value !== undefined)),
      ...(consent.value ? { consent: true } : {}),
      ...(begin.changed || end.changed ? { cfg_interval: [begin.value, end.value] } : {}),
      ...(strength.changed ? { variation: { seed: towards.value ?? -1, strength: strength.value } } : {}),
      ...(refiner.value && mode !== "upscale" ? { refiner: { model: refiner.value, switch: takeover.value } } : {}),
    };
  });

  provide("more", (request, { partial }) => {
    const named = (name) => !partial || name in request;
    for (const [name, each] of Object.entries(plain)) if (named(name)) each.value = request[name];
    if (!partial) consent.value = false; // said anew for every picture that is worked on
    if (named("cfg_interval")) [begin.value, end.value] = request.cfg_interval ?? [0, 1];
    if (named("variation")) [towards.value, strength.value] = [request.variation?.seed, request.variation?.strength];
    if (named("refiner")) [refiner.value, takeover.value] = [request.refiner?.model, request.refiner?.switch];
    const odd = CARRIED.filter((name) => request[name] !== undefined && request[name] !== null && request[name] !== PLAIN[name]);
    carried = Object.fromEntries(odd.filter((name) => name !== "churn" || request.churn.churn > 0).map((name) => [name, request[name]]));
    root.firstElementChild.dispatchEvent(new Event("change"));
  });
}
