// Editing a prompt as text: the weight of what is selected, the order of its comma-separated items. Pure functions.
// Weights are written A1111's way: (words:1.2), [words] is 1/1.1, (words) is 1.1; <lora:name:0.8>.

const BREAKS = /[\s.,;:!?%^*=`~/\\|()[\]{}<>]/;
const STEP = 0.1;
const STEP_IN_TAG = 0.05;

const round = (value) => Math.round(value * 100) / 100;
const written = (value) => String(round(Math.max(0, value)));

const replaced = (text, start, end, middle, from, to) => ({ text: text.slice(0, start) + middle + text.slice(end), start: from, end: to });

/** The `<...>` around a place, as [start, end], or null. */
function tagAround(text, start, end) {
  const left = text.lastIndexOf("<", start - (text[start] === "<" ? 0 : 1));
  if (left < 0 || text.slice(left, start).includes(">")) return null;
  const right = text.indexOf(">", left);
  return right >= 0 && right + 1 >= end ? [left, right + 1] : null;
}

function weighTag(text, [left, right], direction) {
  const parts = text.slice(left + 1, right - 1).split(":");
  const at = parts.length > 2 ? 2 : parts.length;
  const before = at < parts.length ? Number(parts[at]) : 1;
  if (parts.length < 2 || !Number.isFinite(before)) return null;
  parts[at] = String(round(before + direction * STEP_IN_TAG));
  const tag = `<${parts.join(":")}>`;
  return replaced(text, left, right, tag, left, left + tag.length);
}

const escaped = (text, at) => {
  let slashes = 0;
  while (text[at - 1 - slashes] === "\\") slashes += 1;
  return slashes % 2 === 1;
};

/** The contents of the innermost bracket around a caret, as [start, end], or null. */
function insideBracket(text, caret) {
  let depth = 0;
  for (let at = caret - 1; at >= 0; at -= 1) {
    if (escaped(text, at)) continue;
    if (text[at] === ")" || text[at] === "]") depth += 1;
    if (text[at] !== "(" && text[at] !== "[") continue;
    if (depth > 0) {
      depth -= 1;
      continue;
    }
    const close = closing(text, at);
    if (close < 0 || close < caret) return null;
    const weight = text[at] === "(" ? /:\s*[\d.]+\s*$/.exec(text.slice(at + 1, close)) : null;
    return [at + 1, weight ? at + 1 + weight.index : close];
  }
  return null;
}

function closing(text, open) {
  let depth = 0;
  for (let at = open; at < text.length; at += 1) {
    if (escaped(text, at)) continue;
    if (text[at] === "(" || text[at] === "[") depth += 1;
    if (text[at] === ")" || text[at] === "]") depth -= 1;
    if (depth === 0) return at;
  }
  return -1;
}

function wordAround(text, caret) {
  let [start, end] = [caret, caret];
  while (start > 0 && !BREAKS.test(text[start - 1])) start -= 1;
  while (end < text.length && !BREAKS.test(text[end])) end += 1;
  return [start, end];
}

/** What is to be weighed: the selection without spaces at its ends, or the bracket or word at the caret. */
function chosen(text, start, end) {
  if (start === end) return insideBracket(text, start) ?? wordAround(text, start);
  while (start < end && /\s/.test(text[start])) start += 1;
  while (end > start && /\s/.test(text[end - 1])) end -= 1;
  return [start, end];
}

/** Brackets that the selection itself brings along do not belong to the words. */
function inner(text, start, end) {
  while (end - start > 1 && "([".includes(text[start]) && !escaped(text, start) && closing(text, start) === end - 1) {
    const weight = text[start] === "(" ? /:\s*[\d.]+\s*$/.exec(text.slice(start + 1, end - 1)) : null;
    end = weight ? start + 1 + weight.index : end - 1;
    start += 1;
  }
  return [start, end];
}

/** All brackets directly around the words: how far they reach, and the weight they come to. */
function brackets(text, start, end) {
  let [left, right, weight] = [start, end, 1];
  for (;;) {
    const open = text[left - 1];
    if ((open !== "(" && open !== "[") || escaped(text, left - 1)) return [left, right, weight];
    const number = open === "(" ? /^:\s*([\d.]+)\s*\)/.exec(text.slice(right)) : null;
    if (number && Number.isFinite(Number(number[1]))) {
      weight *= Number(number[1]);
      right += number[0].length;
    } else if (open === "(" && text[right] === ")") {
      weight *= 1.1;
      right += 1;
    } else if (open === "[" && text[right] === "]") {
      weight /= 1.1;
      right += 1;
    } else return [left, right, weight];
    left -= 1;
  }
}

/** One step more (`direction` 1) or less (-1) weight for a selection. {text, start, end}, or null if there is nothing. */
export function weigh(text, start, end, direction) {
  const tag = tagAround(text, start, end);
  if (tag) return weighTag(text, tag, direction);
  [start, end] = inner(text, ...chosen(text, start, end));
  if (start === end) return null;
  const words = text.slice(start, end);
  const [left, right, before] = brackets(text, start, end);
  const after = round(Math.max(0, before + direction * STEP));
  const bare = Math.abs(after - 1) < 0.005;
  const middle = bare ? words : `(${words}:${written(after)})`;
  const from = left + (bare ? 0 : 1);
  return replaced(text, left, right, middle, from, from + words.length);
}

/** Comma-separated items as [start, end] without the commas; commas inside brackets do not count. */
function items(text) {
  const found = [];
  let [depth, start] = [0, 0];
  for (let at = 0; at <= text.length; at += 1) {
    const char = text[at];
    if (at < text.length && escaped(text, at)) continue;
    if ("([<{".includes(char ?? "-")) depth += 1;
    if (")]>}".includes(char ?? "-")) depth = Math.max(0, depth - 1);
    if (at < text.length && (char !== "," || depth > 0)) continue;
    found.push([start, at]);
    start = at + 1;
  }
  return found;
}

const trimmed = (text, [start, end]) => {
  const part = text.slice(start, end);
  const lead = part.length - part.trimStart().length;
  return part.trim() ? [start + lead, start + lead + part.trim().length] : [start, start];
};

/** Swap the item at the caret with its neighbour. Spaces and line breaks between items stay where they are. */
export function move(text, start, end, direction) {
  const all = items(text);
  const at = all.findIndex(([, last]) => start <= last);
  const other = at + direction;
  if (at < 0 || other < 0 || other >= all.length) return null;
  const [first, second] = [at, other].sort((a, b) => a - b).map((place) => trimmed(text, all[place]));
  const [one, two] = [text.slice(...first), text.slice(...second)];
  const between = text.slice(first[1], second[0]);
  const from = direction > 0 ? first[0] + two.length + between.length : first[0];
  return replaced(text, first[0], second[1], two + between + one, from, from + (direction > 0 ? one : two).length);
}
