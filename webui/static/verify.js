// Any picture in, honest words out: the sentence first, then the four things that were looked at.

import { call } from "./api.js";
import { button, el, replace, say, tame } from "./dom.js";
import { credentials, label, mark, noiseMark, recovered, section } from "./findings.js";
import { problemBox } from "./passport.js";
import { passportRows } from "./passport_rows.js";
import { openPicture } from "./picture.js";
import { sheet } from "./sheets.js";

function infotext(text) {
  if (!text) return section("Generation text", "unknown", "The file carries none.");
  return section("Generation text", "plain", "Written in the file. Anybody can write such a text.", el("pre", { dir: "auto", tabIndex: 0 }, tame(text)));
}

function history(found) {
  if (found.match === "none") return section("History", "unknown", "No picture of this studio's history matches.");
  const words = found.match === "exact" ? "Byte for byte a picture of this studio's history." : "The mark leads to a picture of this studio's history; the file itself was changed.";
  const open = found.record_id && button("Open that picture", () => openPicture(found.record_id), { id: "verify-open" });
  return section("History", "good", words, open);
}

export function mountVerify(root) {
  const input = el("input", { type: "file", id: "verify-file", accept: "image/png,image/jpeg,image/webp,image/avif", class: "sr-only" });
  const drop = el(
    "label",
    { class: "drop", for: "verify-file" },
    el("strong", {}, "Drop a picture here, or choose one"),
    el("span", {}, "PNG, JPEG, WebP or AVIF. It is looked at on this machine and not kept."),
  );
  drop.htmlFor = "verify-file";
  const answer = el("div", { class: "answer", "aria-live": "polite" });
  replace(root, input, drop, answer);
  let url;

  async function look(file) {
    if (!file) return;
    replace(answer, el("p", { class: "looking" }, `Looking at ${tame(file.name)} …`));
    const body = new FormData();
    body.append("file", file);
    try {
      const report = await call("/verify", { method: "POST", body });
      if (url) URL.revokeObjectURL(url);
      url = URL.createObjectURL(file);
      const image = el("img", { src: url, alt: tame(file.name) });
      const sentence = el("p", { class: "sentence", dir: "auto" }, tame(report.summary));
      const findings = [credentials(report.c2pa), mark(report.watermark), ...report.more_marks.map(noiseMark), recovered(report.recovered), ...report.labels.map(label), history(report.history), infotext(report.infotext)].filter(Boolean);
      sheet("trust");
      replace(answer, el("div", { class: "verify-head" }, image, sentence), el("div", { class: "findings" }, findings), el("details", { class: "more", open: true }, el("summary", {}, "Passport"), passportRows(report.page)));
      say(report.summary);
    } catch (error) {
      replace(answer, problemBox(error.problem));
    }
  }

  input.addEventListener("change", () => look(input.files[0]).finally(() => (input.value = "")));
  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    look(event.dataTransfer.files[0]);
  });
}
