// What was going on when the page was left, and what a stop of the studio interrupted.

import { call } from "./api.js";
import { button, el, plural, replace, say, tame } from "./dom.js";
import { problemBox } from "./passport.js";
import { ENDS } from "./phases.js";

/** The newest jobs of the studio, oldest first. */
const recentJobs = () => call("/jobs?limit=100").then(({ jobs }) => jobs.reverse(), () => []);

/** The jobs that this browser remembers, else those of the studio that run or wait to be run again; oldest first. */
export async function jobsBefore(kept) {
  const found = await Promise.all(
    kept.map(async ({ id, random }) => {
      const job = await call(`/jobs/${id}`).catch(() => null);
      return job && { id, random, job };
    }),
  );
  const jobs = found.filter(Boolean);
  if (jobs.length) return jobs;
  const recent = await recentJobs();
  return recent
    .filter((job) => !ENDS.has(job.state) || job.state === "interrupted")
    .map((job) => ({ id: job.id, random: true, job }));
}

/** All interrupted jobs of the studio, each to be run again or dismissed. `follow(job)` is called for one that runs. */
export class Interrupted {
  constructor(follow) {
    this.follow = follow;
    this.root = el("div", { class: "interrupted" });
  }

  async refresh(problem) {
    const jobs = (await recentJobs()).filter((job) => job.state === "interrupted");
    const within = this.root.contains(document.activeElement);
    replace(this.root, jobs.length && this.box(jobs), problem && problemBox(problem));
    if (within) this.root.querySelector("button")?.focus();
  }

  box(jobs) {
    const title = jobs.length === 1 ? "This job was interrupted" : `${plural(jobs.length, "job")} were interrupted`;
    const all = jobs.length > 1 && button("Run all again", () => this.each(jobs, (job) => this.again(job)));
    say(title);
    return el(
      "section",
      { class: "problem", "aria-label": "Interrupted jobs" },
      el("strong", {}, title),
      el("p", {}, "The studio stopped before the end. Nothing was lost: what was asked for is still here."),
      el("ul", {}, jobs.map((job) => this.item(job))),
      all && el("div", { class: "row-actions" }, all),
    );
  }

  item(job) {
    const prompt = tame(job.request.prompt);
    const again = () => this.each([job], (one) => this.again(one));
    const dismiss = () => this.each([job], ({ id }) => call(`/jobs/${id}`, { method: "DELETE" }));
    return el(
      "li",
      {},
      el("span", { class: "asked", dir: "auto", title: prompt }, prompt),
      job.problem && el("span", { class: "why", dir: "auto" }, tame(job.problem.detail)),
      el(
        "span",
        { class: "row-actions" },
        button("Run again", again, { class: "accent", title: `Run again: ${prompt}` }),
        button("Dismiss", dismiss, { title: `Do not offer this any more: ${prompt}` }),
      ),
    );
  }

  async again(job) {
    this.follow(await call(`/jobs/${job.id}/resume`, { method: "POST" }));
  }

  /** One after the other, up to the first that is not possible. */
  async each(jobs, act) {
    this.root.querySelectorAll("button").forEach((one) => (one.disabled = true));
    let problem;
    try {
      for (const job of jobs) await act(job);
    } catch (error) {
      problem = error.problem;
    }
    await this.refresh(problem);
  }
}
