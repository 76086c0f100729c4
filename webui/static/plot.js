// Line plots as SVG, drawn at the size they are shown at, so that their text stays readable on a phone.

import { el, replace } from "./dom.js";

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 260;
const EDGE = { left: 52, right: 14, top: 14, bottom: 42 };

function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 || size < 0.001) return value.toExponential(0).replace("e+", "e");
  return String(Number(value.toPrecision(size >= 100 ? 3 : 2)));
}

/** Round numbers that cover low..high, about `count` of them. */
export function ticks(low, high, count) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

/** Powers of ten within low..high, with 2 and 5 times as much where they would be few. */
export function logTicks(low, high) {
  const found = [];
  const inner = Math.log10(high / low) < 2 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const times of inner) {
      const value = times * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return found;
}

function scale(from, to, log) {
  const bend = log ? Math.log : (value) => value;
  const [low, high] = from.map(bend);
  return (value) => to[0] + ((bend(value) - low) / (high - low || 1)) * (to[1] - to[0]);
}

/**
 * One plot in a <figure>. `series` are {name, points: [[x, y]]}; a `log` plot leaves out what is not above 0.
 * Lines differ by colour and by dashes; pointing or moving with the arrow keys reads the values out.
 */
export class Plot {
  constructor({ title, x, y, log = false, empty = "Nothing to draw yet." }) {
    Object.assign(this, { title, x, y, log, empty });
    this.series = [];
    this.place = el("div", { class: "plot-place", tabIndex: 0, role: "group", "aria-label": `${title}. Arrow keys read the values.` });
    this.readout = el("output", { class: "plot-readout" });
    this.legend = el("div", { class: "plot-legend", "aria-hidden": "true" });
    this.root = el("figure", { class: "plot" }, el("figcaption", {}, title), this.place, this.readout, this.legend);
    this.place.addEventListener("pointermove", (event) => this.point(event));
    this.place.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.place);
  }

  show(series) {
    const drawable = ([, y]) => y !== null && Number.isFinite(y) && (!this.log || y > 0);
    this.series = series.map((one) => ({ ...one, points: one.points.filter(drawable) })).filter((one) => one.points.length);
    this.at = undefined;
    this.readout.textContent = "";
    this.draw();
  }

  /** A line across the plot at `x`: the step that is being looked at elsewhere. */
  mark(x) {
    this.marked = x;
    this.draw();
  }

  draw() {
    const width = Math.floor(this.place.clientWidth);
    if (!width) return;
    if (!this.series.length) {
      replace(this.place, el("p", { class: "plot-empty" }, this.empty));
      replace(this.legend);
      return;
    }
    const all = this.series.flatMap((one) => one.points);
    const xs = all.map(([x]) => x);
    const ys = all.map(([, y]) => y);
    const across = [Math.min(...xs), Math.max(...xs)];
    const up = [this.log ? Math.min(...ys) : Math.min(0, ...ys), Math.max(...ys)];
    this.toX = scale(across, [EDGE.left, width - EDGE.right], false);
    this.toY = scale(up, [HEIGHT - EDGE.bottom, EDGE.top], this.log);
    const picture = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" });
    const label = `${this.title}: ${this.series.map((one) => this.sentence(one)).join(" ")}`;
    picture.append(svg("title", {}, label), this.axes(width, across, up));
    if (this.marked !== undefined && this.marked >= across[0] && this.marked <= across[1]) picture.append(this.rule(this.marked, "plot-mark"));
    this.series.forEach((one, number) => picture.append(this.line(one, number)));
    replace(this.place, picture);
    if (this.at !== undefined) this.read(this.at);
    replace(this.legend, this.series.length > 1 && this.series.map((one, number) => el("span", { class: `tone-${number % 8}` }, this.swatch(number), one.name)));
  }

  sentence({ name, points }) {
    const [first, last] = [points[0], points.at(-1)];
    return `${name} goes from ${short(first[1])} at ${short(first[0])} to ${short(last[1])} at ${short(last[0])}.`;
  }

  swatch(number) {
    return svg("svg", { width: 26, height: 10 }, svg("line", { x1: 1, x2: 25, y1: 5, y2: 5, class: `plot-line dash-${number % 8}` }));
  }

  axes(width, across, up) {
    const group = svg("g", { class: "plot-axes", "aria-hidden": "true" });
    const bottom = HEIGHT - EDGE.bottom;
    for (const value of this.log ? logTicks(...up) : ticks(...up, 5)) {
      const y = this.toY(value);
      group.append(svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y, class: "plot-grid" }));
      group.append(svg("text", { x: EDGE.left - 7, y: y + 4, "text-anchor": "end" }, short(value)));
    }
    for (const value of ticks(...across, Math.max(3, Math.floor(width / 80)))) {
      group.append(svg("text", { x: this.toX(value), y: bottom + 16, "text-anchor": "middle" }, short(value)));
    }
    group.append(svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: bottom, y2: bottom, class: "plot-base" }));
    group.append(svg("text", { x: (EDGE.left + width) / 2, y: HEIGHT - 6, "text-anchor": "middle", class: "plot-name" }, this.x));
    group.append(svg("text", { x: -(EDGE.top + bottom) / 2, y: 13, transform: "rotate(-90)", "text-anchor": "middle", class: "plot-name" }, this.y));
    return group;
  }

  line({ points }, number) {
    const group = svg("g", { class: `tone-${number % 8}` });
    const path = points.map(([x, y], place) => `${place ? "L" : "M"}${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`);
    group.append(svg("path", { d: path.join(""), class: `plot-line dash-${number % 8}` }));
    if (points.length <= 40) group.append(...points.map(([x, y]) => svg("circle", { cx: this.toX(x), cy: this.toY(y), r: 2.4, class: "plot-dot" })));
    return group;
  }

  rule(x, kind) {
    return svg("line", { x1: this.toX(x), x2: this.toX(x), y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: kind });
  }

  point(event) {
    if (!this.series.length || !this.toX) return;
    const here = event.clientX - this.place.getBoundingClientRect().left;
    const xs = this.everyX();
    this.read(xs.reduce((best, x) => (Math.abs(this.toX(x) - here) < Math.abs(this.toX(best) - here) ? x : best), xs[0]));
  }

  key(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move || !this.series.length) return;
    event.preventDefault();
    const xs = this.everyX();
    const now = this.at === undefined ? (move > 0 ? -1 : xs.length) : xs.indexOf(this.at);
    this.read(xs[Math.min(Math.max(now + move, 0), xs.length - 1)]);
  }

  everyX() {
    return [...new Set(this.series.flatMap((one) => one.points.map(([x]) => x)))].sort((one, other) => one - other);
  }

  read(x) {
    this.at = x;
    this.place.querySelector(".plot-cursor")?.remove();
    this.place.querySelector("svg")?.append(this.rule(x, "plot-cursor"));
    const said = this.series.map((one) => [one.name, one.points.find(([at]) => at === x)]).filter(([, found]) => found);
    this.readout.textContent = `${this.x} ${short(x)}: ${said.map(([name, [, y]]) => `${name} ${short(y)}`).join(", ")}`;
  }
}
