// Tags in the prompt: putting `<lora:name:weight>` and words in, taking them out, and seeing what is there.

import { say, tame } from "./dom.js";

const box = () => document.querySelector("#f-prompt textarea");
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const short = (value) => String(Number(value.toFixed(2)));

export const prompt = () => box()?.value ?? "";

function put(text, words) {
  const field = box();
  if (!field) return;
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  document.dispatchEvent(new CustomEvent("signet:prompt"));
  say(words);
}

const joined = (left, right) => [left.replace(/[\s,]+$/, ""), right].filter(Boolean).join(", ");
const tagOf = (id) => new RegExp(`\\s*,?\\s*<lora:${escaped(id)}(?::[^<>]*)?>`, "gi");
const wordOf = (word) => new RegExp(`(?:^|(?<=[\\s,(]))${escaped(word)}(?=$|[\\s,):])`, "i");

/** One weight for both, or A1111's "text encoder, then UNet". */
export function loraTag(id, weight = 1, text = weight) {
  return text === weight ? `<lora:${id}:${short(weight)}>` : `<lora:${id}:${short(text)}:${short(weight)}>`;
}

export const hasLora = (id) => tagOf(id).test(prompt());
export const hasWord = (word) => wordOf(word).test(prompt());

/** In place of the one that is there, or at the end, with the words that wake it where they are missing. */
export function putLora(id, weight, text, triggers = []) {
  const tag = loraTag(id, weight, text);
  const missing = triggers.filter((word) => !hasWord(word));
  let told = prompt();
  if (hasLora(id)) {
    let first = true;
    told = told.replace(tagOf(id), () => (first ? ((first = false), ` ${tag}`) : ""));
  } else {
    told = `${told.trimEnd()} ${tag}`;
  }
  told = missing.reduce((text, word) => joined(text, word), told);
  put(told.trim(), `In the prompt: ${tame(tag)}`);
}

export const takeLora = (id) => put(prompt().replace(tagOf(id), "").trim(), `No longer in the prompt: ${tame(id)}`);

export function putWord(word) {
  if (hasWord(word)) put(prompt().replace(wordOf(word), "").replace(/(,\s*)+(?=,|$)/g, "").replace(/^[\s,]+/, "").trim(), `No longer in the prompt: ${tame(word)}`);
  else put(joined(prompt().trim(), word), `In the prompt: ${tame(word)}`);
}
