// The whole form as a request: what the page's own components hold, and what the panels add.

import { call } from "./api.js";
import { collectAll } from "./extra.js";
import { mode } from "./tabs.js";

const TEXTS = ["prompt", "negative", "sampler", "schedule"];
const NUMBERS = ["steps", "cfg", "width", "height", "seed", "count"];

const shown = (name, kind) => document.querySelector(`#f-${name} ${kind}`)?.value;

/** The list of models shows a title; a request names an id. */
async function model() {
  const text = shown("model", "input");
  if (!text) return {};
  const found = await call("/models").catch(() => []);
  const one = found.find(({ title, family, native_size }) => text === `${title} · ${family} · ${native_size} px`);
  return { model: one?.id ?? text };
}

/** A number field that was emptied is left out, so that the default applies. */
function plain() {
  const texts = TEXTS.map((name) => [name, shown(name, "textarea") ?? shown(name, "input")]);
  const numbers = NUMBERS.map((name) => [name, shown(name, "input[type=number]")]);
  const given = [...texts, ...numbers.map(([name, text]) => [name, text ? Number(text) : undefined])];
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}

/** Everything a request for the open mode needs. Raises what a panel raises, such as a failed upload. */
export async function formFields() {
  const fields = { ...plain(), ...(await model()), ...(await collectAll(mode())) };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));
}
