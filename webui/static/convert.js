// Another file format of a sealed picture: a small job of its own, so that it is inspected and signed like all others.

import { call } from "./api.js";
import { button, el, replace, say } from "./dom.js";
import { openMenu } from "./menu.js";
import { problemBox } from "./passport.js";
import { fromRecord } from "./picker.js";

const FORMATS = [["png", "PNG, nothing lost"], ["jpeg", "JPEG, for everywhere"], ["webp", "WebP, smaller"], ["avif", "AVIF, smallest"]];
const UNFINISHED = new Set(["queued", "running", "sealing"]);

async function converted(found, format) {
  const { id } = await fromRecord(found.id);
  let job = await call("/jobs", { method: "POST", json: { mode: "convert", init_image: id, format } });
  while (UNFINISHED.has(job.state)) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    job = await call(`/jobs/${job.id}`);
  }
  if (!job.records.length) throw { problem: job.problem ?? { title: "Not converted", detail: `The job ended as ${job.state}.` } };
  return job.records[0];
}

/** "Save as": `then(id)` is called with the new picture of the history. */
export function convertButton(found, then) {
  const said = el("span", {});
  const act = (format) => async () => {
    more.disabled = true;
    more.textContent = "Converting …";
    replace(said);
    try {
      const id = await converted(found, format);
      say(`Saved as ${format}, signed with the first one as its parent`);
      then(id);
    } catch (error) {
      replace(said, problemBox(error.problem));
    } finally {
      more.disabled = false;
      more.textContent = "Save as ▾";
    }
  };
  const others = FORMATS.filter(([format]) => `image/${format}` !== found.passport.media_type);
  const more = button("Save as ▾", () => openMenu(more, others.map(([format, words]) => [words, act(format)]), "Save this picture as"), { "aria-haspopup": "menu", class: "quiet convert", title: "Another file format, signed anew with this picture as its parent" });
  return el("span", {}, more, said);
}
