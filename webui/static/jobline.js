// A job in one line: what was asked for, and its few facts.

import { el, plural, tame } from "./dom.js";

export function promptOf(job) {
  return tame(job.request.prompt).trim() || "no prompt";
}

export function factsOf({ request }) {
  const control = request.control?.length ? plural(request.control.length, "control unit") : "";
  const steps = request.mode === "grid" ? "" : `${request.steps} steps`;
  const facts = [request.mode, `${request.width} × ${request.height}`, steps, plural(request.count, "picture"), control, tame(request.model)];
  return facts.filter(Boolean).join(" · ");
}

export function jobWords(job, ...more) {
  const prompt = promptOf(job);
  return el("div", { class: "job-words" }, el("span", { class: "job-prompt", dir: "auto", title: prompt }, prompt), el("span", { class: "job-facts" }, factsOf(job)), more);
}
