// What was going on when the page was left.

import { call } from "./api.js";
import { ENDS } from "./phases.js";

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
  const recent = await call("/jobs?limit=5").catch(() => ({ jobs: [] }));
  return recent.jobs
    .filter((job) => !ENDS.has(job.state) || job.state === "interrupted")
    .reverse()
    .map((job) => ({ id: job.id, random: true, job }));
}
