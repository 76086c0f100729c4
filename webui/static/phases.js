// What happens to a job, in words.

import { plural } from "./dom.js";

export const ENDS = new Set(["done", "cancelled", "failed", "refused", "interrupted"]);

function left(eta) {
  if (eta === undefined || eta === null) return "";
  if (eta < 1) return " · less than a second left";
  return eta < 90 ? ` · ${Math.round(eta)} s left` : ` · ${Math.round(eta / 60)} min left`;
}

function queued(event) {
  if (event.position === undefined) return "Waiting";
  return event.position === 0 ? "Next in the queue" : `Waiting: ${plural(event.position, "job")} ahead`;
}

/** `kept`: whether the job has pictures already. */
export function words(event, kept) {
  const steps = event.steps ? `step ${event.step}/${event.steps}` : "working";
  const said = {
    queued: queued(event),
    loading: event.message || "Loading the model; this happens once",
    encoding: "Reading the prompt",
    step: steps,
    decoding: "Decoding the picture",
    sealing: "Inspecting, marking and signing",
    image: "A picture is ready",
    done: "Done.",
    cancelled: kept ? "Cancelled. Finished pictures are in the History." : "Cancelled. Nothing was kept.",
    failed: "It did not work.",
    interrupted: "Interrupted.",
  };
  return (said[event.phase] ?? event.phase) + left(event.eta);
}
