// Shares with their intervals on a line, references marked: the same picture as in the report.

import { el, tame } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 260;
const ROW = 18;

function svg(tag, props, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
export const span = (interval) => (interval ? `${Math.round(100 * interval[0])}–${Math.round(100 * interval[1])} %` : "");

/** One line for each category: the interval as a bar, the share as a dot, the reference as a mark across. */
export function intervals(categories, one, reference) {
  const at = (share) => (4 + share * (WIDTH - 8)).toFixed(1);
  const rows = categories.map((name, place) => {
    const y = place * ROW + ROW / 2;
    const [low, high] = one.intervals[name] ?? [0, 1];
    const share = one.shares?.[name];
    const marks = [
      svg("line", { x1: at(0), x2: at(1), y1: y, y2: y, class: "axis" }),
      svg("line", { x1: at(low), x2: at(high), y1: y, y2: y, class: "interval" }),
    ];
    if (reference?.[name] !== undefined) marks.push(svg("line", { x1: at(reference[name]), x2: at(reference[name]), y1: y - 7, y2: y + 7, class: "reference" }));
    if (share !== undefined && share !== null) marks.push(svg("circle", { cx: at(share), cy: y, r: 4, class: "share" }));
    return svg("g", {}, ...marks);
  });
  const words = categories.map((name) => `${name} ${percent(one.shares?.[name])}, ${span(one.intervals[name])}`).join("; ");
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${categories.length * ROW}`, width: WIDTH, height: categories.length * ROW, role: "img", "aria-label": words, class: "chart" }, ...rows);
  const names = el("ul", { class: "chart-names" }, categories.map((name) => el("li", {}, el("span", { dir: "auto" }, tame(name)), el("span", { class: "chart-value" }, `${percent(one.shares?.[name])} `, el("small", {}, span(one.intervals[name]))))));
  return el("div", { class: "chart-box" }, drawing, names);
}
