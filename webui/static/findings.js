// What can be said about a picture, section by section; the words are the same in Verify and in PNG Info.

import { el, tame } from "./dom.js";
import { chance } from "./passport.js";

export function section(title, tone, verdict, ...rest) {
  return el("section", { class: "finding " + tone }, el("h3", {}, title), verdict && el("p", { class: "verdict" }, verdict), rest);
}

/** Names and values; what is empty is left out. */
export function list(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", { dir: "auto" }, tame(name)), el("dd", { dir: "auto" }, tame(value))]));
}

const RELATIONS = { parentOf: "Made from", inputTo: "Guided by", componentOf: "Contains" };
const OWN = { valid: "its own credentials were valid", invalid: "its own credentials were broken", absent: "holds no credentials of it" };

function ingredientWords(each) {
  const kind = each.digital_source_type?.split("/").pop();
  return [`picture ${each.title.slice(0, 24)}`, OWN[each.state], each.generator && `made with ${each.generator}`, kind].filter(Boolean).join(", ");
}

const LOST = "None. That says nothing about where the picture is from: they are lost in most uploads.";
const BROKEN = "Present, but they do not fit the file: it was changed after signing, or the signature is false.";
const TRUSTED = "Intact, by a signer on a public trust list.";
const UNKNOWN = "Intact: not changed since signing. The signer is not on a trust list.";

export function credentials(c2pa) {
  const words = { absent: ["unknown", LOST], invalid: ["bad", BROKEN], valid: ["good", c2pa.trusted ? TRUSTED : UNKNOWN] };
  const [tone, verdict] = words[c2pa.state];
  if (c2pa.state === "absent") return section("Content Credentials", tone, verdict);
  const facts = [
    ["Signer", c2pa.signer],
    ["By this installation", c2pa.ours ? "yes" : "no"],
    ["Made with", c2pa.generator],
    ["Actions", c2pa.actions.join(", ")],
    ["Source type", c2pa.digital_source_type],
    ...c2pa.ingredients.map((each) => (each.kind === "model" ? ["Model", [each.title, each.ident?.slice(0, 19)].filter(Boolean).join(", ")] : [RELATIONS[each.relation] ?? "Other picture", ingredientWords(each)])),
    [c2pa.state === "valid" ? "Notes" : "Failures", c2pa.failures.join(", ")],
  ];
  return section("Content Credentials", tone, verdict, list(facts));
}

export function mark(watermark) {
  if (!watermark.found) {
    const words = "No mark of this studio found; that does not mean it is not AI-made.";
    return section("Invisible mark", "unknown", words, list([["Evidence", chance(watermark.p_value)]]));
  }
  const words = `A mark of this studio is in the pixels. An unmarked picture looks so with a chance of ${chance(watermark.p_value)}.`;
  return section("Invisible mark", "good", words, list([["Method", watermark.method], ["Record", watermark.record_id]]));
}

/** A mark in the noise that the picture grew from; reading it takes the model. */
export function noiseMark(report) {
  if (report.tested === false) return section("Mark in the noise", "unknown", `Could not be tested${report.detail ? `: ${tame(report.detail)}` : "; the model that made it has to be in memory."}`);
  if (!report.found) return section("Mark in the noise", "unknown", `Not found (${chance(report.p_value)}); that does not mean that it is not AI-made.`);
  return section("Mark in the noise", "good", `The noise it was made from carries a mark of this studio (${chance(report.p_value)}).`, list([["Method", report.method], ["Record", report.record_id]]));
}

const LIKENESS = {
  same: ["good", "This file shows the same picture."],
  part: ["good", "This file shows a part of that picture."],
  changed: ["warn", "This file shows that picture with something changed in it."],
  different: ["bad", "This file shows something else: the mark was put onto another picture."],
  unknown: ["unknown", "Whether this file shows that picture could not be compared."],
};

/** A copy that lost its credentials, and the signed file it came from. */
export function recovered(found) {
  if (!found) return null;
  const [tone, words] = LIKENESS[found.likeness];
  const facts = [["Signer", found.credentials.signer], ["Source type", found.credentials.digital_source_type], ["Difference", found.psnr_db === null ? "" : `${found.psnr_db.toFixed(1)} dB PSNR`]];
  const link = el("a", { href: `/api/v1/records/${encodeURIComponent(found.record_id)}/file?download=1`, download: "" }, "Download the signed file");
  return section("Credentials found again", tone, `The mark leads to a stored file with ${found.credentials.state} credentials. ${words}`, list(facts), link);
}

/** Plain metadata that says who made it; anybody can write such things. */
export function label(found) {
  const facts = Object.entries(found).filter(([, value]) => value).map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : value]);
  return section("Label in the metadata", "unknown", "Not signed: anybody can write it.", list(facts));
}
