// Any picture in, honest words out: the sentence first, then the four things that were looked at.

import { call } from "./api.js";
import { button, el, replace, say, tame } from "./dom.js";
import { chance, problemBox } from "./passport.js";
import { openPicture } from "./picture.js";

function section(title, tone, verdict, ...rest) {
  return el("section", { class: "finding " + tone }, el("h3", {}, title), el("p", { class: "verdict" }, verdict), rest);
}

function list(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", { dir: "auto" }, tame(value))]));
}

const RELATIONS = { parentOf: "Made from", inputTo: "Guided by", componentOf: "Contains" };
const OWN = { valid: "its own credentials were valid", invalid: "its own credentials were broken", absent: "holds no credentials of it" };

function ingredientWords(each) {
  const kind = each.digital_source_type?.split("/").pop();
  return [`picture ${each.title.slice(0, 24)}`, OWN[each.state], each.generator && `made with ${each.generator}`, kind].filter(Boolean).join(", ");
}

function credentials(c2pa) {
  const words = {
    absent: ["unknown", "None. That says nothing about where the picture is from: they are lost in most uploads."],
    invalid: ["bad", "Present, but they do not fit the file: it was changed after signing, or the signature is false."],
    valid: ["good", c2pa.trusted ? "Intact, by a signer on a public trust list." : "Intact: not changed since signing. The signer is not on a trust list."],
  };
  const [tone, verdict] = words[c2pa.state];
  if (c2pa.state === "absent") return section("Content Credentials", tone, verdict);
  const facts = [
    ["Signer", c2pa.signer],
    ["By this installation", c2pa.ours ? "yes" : "no"],
    ["Made with", c2pa.generator],
    ["Actions", c2pa.actions.join(", ")],
    ["Source type", c2pa.digital_source_type],
    ...c2pa.ingredients.map((each) => [RELATIONS[each.relation] ?? "Other picture", ingredientWords(each)]),
    [c2pa.state === "valid" ? "Notes" : "Failures", c2pa.failures.join(", ")],
  ];
  return section("Content Credentials", tone, verdict, list(facts));
}

function mark(watermark) {
  if (!watermark.found) {
    const words = "No mark of this studio found; that does not mean it is not AI-made.";
    return section("Invisible mark", "unknown", words, list([["Evidence", chance(watermark.p_value)]]));
  }
  const words = `A mark of this studio is in the pixels. An unmarked picture looks so with a chance of ${chance(watermark.p_value)}.`;
  return section("Invisible mark", "good", words, list([["Method", watermark.method], ["Record", watermark.record_id]]));
}

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
  const input = el("input", { type: "file", id: "verify-file", accept: "image/png,image/jpeg,image/webp", class: "sr-only" });
  const drop = el(
    "label",
    { class: "drop", for: "verify-file" },
    el("strong", {}, "Drop a picture here, or choose one"),
    el("span", {}, "PNG, JPEG or WebP. It is looked at on this machine and not kept."),
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
      const findings = [credentials(report.c2pa), mark(report.watermark), history(report.history), infotext(report.infotext)];
      replace(answer, el("div", { class: "verify-head" }, image, sentence), el("div", { class: "findings" }, findings));
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
