// Controls of our own, dressed like Gradio's: a slider with number field and reset, a choice, a switch, a number,
// and closed groups that remember how they were left. `value` reads and writes; "input" means somebody touched it,
// "change" that it is different.

import { el, replace, stored, tame } from "./dom.js";
import { helpOf, labelOf } from "./texts.js";

function control(name, root, initial, read, write) {
  root.dataset.field = name;
  root.title = helpOf(name);
  root.querySelectorAll("input, select").forEach((input) => {
    if (helpOf(name)) input.setAttribute("aria-description", helpOf(name));
  });
  return {
    name,
    root,
    initial,
    get value() {
      return read();
    },
    set value(value) {
      write(value ?? this.initial);
      root.dispatchEvent(new Event("change"));
    },
    get changed() {
      return String(read()) !== String(this.initial);
    },
    /** The value, or nothing where it is what it was at the start. */
    get given() {
      return this.changed ? read() : undefined;
    },
  };
}

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

export function slider(name, { min, max, step = 1, value }) {
  const label = labelOf(name);
  const range = el("input", { type: "range", min, max, step, value, "aria-label": label });
  const number = el("input", { type: "number", min, max, step, value, "aria-label": `${label}, number` });
  const reset = el("button", { type: "button", class: "reset", "aria-label": `Reset ${label}`, title: `Back to ${value}` }, "↺");
  const root = el("div", { class: "field slider" }, el("div", { class: "field-head" }, el("span", { class: "field-name" }, label), number, reset), range);
  const show = (given) => {
    range.value = given;
    range.style.setProperty("--part", `${((range.value - range.min) / (range.max - range.min)) * 100}%`);
  };
  const found = control(name, root, value, () => Number(number.value), (given) => {
    number.value = given;
    show(given);
  });
  range.addEventListener("input", () => {
    number.value = range.value;
    show(range.value);
  });
  number.addEventListener("input", () => number.value !== "" && show(number.value));
  number.addEventListener("change", () => {
    number.value = number.value === "" ? found.initial : clamp(Number(number.value), Number(number.min), Number(number.max));
    show(number.value);
  });
  reset.addEventListener("click", () => {
    found.value = found.initial;
    root.dispatchEvent(new Event("input", { bubbles: true }));
  });
  show(value);
  return found;
}

/** `options`: [value, words] pairs. `options = ` replaces them and keeps the choice, also one that is not listed. */
export function choice(name, options, initial = options[0]?.[0] ?? "") {
  const select = el("select", {});
  const root = el("label", { class: "field choice" }, el("span", { class: "field-name" }, labelOf(name)), select);
  const found = control(name, root, initial, () => select.value, (value) => {
    if (![...select.options].some((option) => option.value === value)) select.append(el("option", { value }, tame(value)));
    select.value = value;
  });
  found.options = (pairs) => {
    const before = select.options.length ? select.value : initial;
    replace(select, pairs.map(([value, words]) => el("option", { value }, tame(words))));
    found.value = before;
  };
  found.options(options);
  return found;
}

export function check(name, initial = false) {
  const box = el("input", { type: "checkbox", checked: initial });
  const root = el("label", { class: "field check" }, box, el("span", { class: "field-name" }, labelOf(name)));
  return control(name, root, initial, () => box.checked, (value) => (box.checked = Boolean(value)));
}

/** A number that may be empty, which reads as null. */
export function number(name, { min, max, step = 1, value = null, placeholder = "" }) {
  const input = el("input", { type: "number", min, max, step, value: value ?? "", placeholder });
  const root = el("label", { class: "field number" }, el("span", { class: "field-name" }, labelOf(name)), input);
  return control(name, root, value, () => (input.value === "" ? null : Number(input.value)), (given) => (input.value = given ?? ""));
}

/** One of a few, all visible. */
export function segments(name, options, initial = options[0][0]) {
  const group = `${name}-${Math.random().toString(36).slice(2)}`;
  const inputs = options.map(([value]) => el("input", { type: "radio", name: group, value, class: "sr-only", checked: value === initial }));
  const labels = options.map(([, words], place) => el("label", { class: "segment" }, inputs[place], el("span", {}, words)));
  const root = el(
    "div",
    { class: "field segments", role: "radiogroup", "aria-label": labelOf(name) },
    el("span", { class: "field-name" }, labelOf(name)),
    el("div", { class: "segment-row" }, labels),
  );
  return control(name, root, initial, () => inputs.find((input) => input.checked)?.value ?? initial, (value) => {
    for (const input of inputs) input.checked = input.value === String(value);
  });
}

/** Several of a list; `options = ` names them. */
export function many(name) {
  const list = el("div", { class: "many" });
  const root = el("div", { class: "field", role: "group", "aria-label": labelOf(name) }, el("span", { class: "field-name" }, labelOf(name)), list);
  const boxes = () => [...list.querySelectorAll("input")];
  const item = (value, checked) => el("label", { class: "many-item" }, el("input", { type: "checkbox", value, checked }), el("span", { dir: "auto" }, tame(value)));
  const found = control(name, root, [], () => boxes().filter((box) => box.checked).map((box) => box.value), (values) => {
    const known = new Set(boxes().map((box) => box.value));
    for (const value of values) if (!known.has(value)) list.append(item(value, true));
    for (const box of boxes()) box.checked = values.includes(box.value);
  });
  found.options = (names) => {
    const chosen = found.value;
    replace(list, [...new Set([...names, ...chosen])].map((value) => item(value, chosen.includes(value))));
    root.hidden = !list.children.length;
  };
  found.options([]);
  return found;
}

export const row = (...children) => el("div", { class: "field-row" }, children);

/** A closed group. `count()` says how many things in it are set (or whether it is on), which its head shows. */
export function group(name, title, children, count = () => 0) {
  const open = stored(`open.${name}`, false);
  const badge = el("span", { class: "badge" });
  const root = el(
    "details",
    { class: "group", id: `group-${name}`, open: open.get() },
    el("summary", {}, el("span", {}, title), badge),
    el("div", { class: "group-body" }, children),
  );
  root.addEventListener("toggle", () => open.set(root.open));
  const refresh = () => {
    const set = count();
    badge.textContent = set === true ? "on" : set ? `${set} set` : "";
  };
  for (const kind of ["input", "change"]) root.addEventListener(kind, refresh, true);
  refresh();
  return root;
}
