// The Passport of a picture in plain words. Never a tick for what is not known.

import { call } from "./api.js";
import { button, el, replace, tame } from "./dom.js";
import { passportRows } from "./passport_rows.js";
import { sheet } from "./sheets.js";

export function chance(p) {
  if (!(p > 0)) return "p < 1e-300";
  return p < 1e-3 ? `p < 1e${Math.ceil(Math.log10(p) + 1e-9)}` : `p = ${p.toFixed(3)}`;
}

export function seconds(value) {
  return value < 10 ? `${value.toFixed(1)} s` : `${Math.round(value)} s`;
}

/** Whether it is handed out only to those who ask, or not at all. */
export function flagged(record) {
  return record.cover !== "show";
}

const revealed = new Set();

/** What to add to an address of a picture that somebody has asked to see: the server hands it out only then. */
export const reveal = (id, sign = "?") => (revealed.has(id) ? `${sign}reveal=1` : "");

function detectorWords(detector) {
  const score = detector.score === null ? "" : ` ${detector.score.toFixed(2)}`;
  const limit = detector.threshold === null ? "" : ` (flagged from ${detector.threshold.toFixed(2)})`;
  return `${detector.name}: ${detector.state}${score}${limit}${detector.detail ? ` – ${detector.detail}` : ""}`;
}

const INSPECTION = {
  clean: ["good", "✓ inspected, nothing found"],
  flagged: ["warn", "! inspected and flagged"],
  "not-scanned": ["unknown", "– not inspected"],
  "scanner-failed": ["warn", "! the inspection failed"],
};

/** The parts of the line: [tone, words, what it means]. */
export function parts(record) {
  const { inspection, watermark, credential, engine, request, seed } = record.passport;
  const [tone, words] = INSPECTION[inspection.state] ?? ["unknown", inspection.state];
  const sure = watermark.p_value < 1e-3;
  const valid = credential.state === "valid";
  const trust = credential.trusted ? "on a trust list" : "not on a trust list";
  return [
    [tone, words, inspection.detectors.map(detectorWords).join("; ") || "No detector ran."],
    [
      sure ? "good" : "warn",
      sure ? `✓ marked (${chance(watermark.p_value)})` : `! mark is weak (${chance(watermark.p_value)})`,
      `Invisible mark ${watermark.method}, read back after it was made; ${chance(watermark.p_value)} is the chance ` +
        `that an unmarked picture would look so. It changes the picture by ${watermark.psnr_db.toFixed(1)} dB PSNR.`,
    ],
    [
      // Not the colour of certainty: anybody can sign under any name until a trust list says who it is.
      valid ? (credential.trusted ? "good" : "unknown") : "warn",
      valid ? `✓ signed by this installation, ${trust}` : "! the signature is not valid",
      `Content Credentials signed by ${credential.signer}. Others can see that the file was not changed since; ` +
        `${credential.trusted ? "the signer is on a public trust list." : "who runs this installation is not certified by anybody."}`,
    ],
    ["fact", `seed ${seed}`],
    ["fact", `${request.steps} steps`],
    ["fact", seconds(engine.seconds)],
  ];
}

function row(name, value) {
  return [el("dt", {}, name), el("dd", { dir: "auto" }, tame(value))];
}

const RELATIONS = { parent: "Made from", input: "Guided by", component: "Contains" };
const OWN = { valid: "its own credentials are valid", invalid: "its own credentials are broken", absent: "no credentials of its own" };

function networkWords(network) {
  const hash = network.sha256 ? `, ${network.sha256.slice(0, 12)}` : "";
  return `${network.kind} ${network.id} at ${network.weight}, licence: ${network.licence}${hash}`;
}

function sourceWords(source) {
  const kept = source.carried ? ", kept in this picture" : "";
  return `picture ${source.sha256.slice(0, 12)}, ${OWN[source.credentials]}${kept}${source.note ? `. ${source.note}` : ""}`;
}

function facts(record) {
  const { passport } = record;
  const { request, model, engine, words } = passport;
  const expanded = words && words.prompt !== request.prompt;
  return el(
    "dl",
    { class: "facts" },
    row(expanded ? "Prompt as typed" : "Prompt", request.prompt),
    expanded && row("Prompt as read", words.prompt),
    request.negative && row("Negative prompt", request.negative),
    words && words.negative !== request.negative && row("Negative prompt as read", words.negative),
    row("Model", `${model.title} (${model.family}), licence: ${model.licence}`),
    (passport.networks ?? []).map((network) => row("With", networkWords(network))),
    (passport.sources ?? []).map((source) => row(RELATIONS[source.relation] ?? "Other picture", sourceWords(source))),
    row("Settings", `${request.sampler}, ${request.schedule}, ${request.steps} steps, guidance ${request.cfg}, seed ${passport.seed}`),
    row("Size", `${passport.width} × ${passport.height} px, ${passport.media_type}`),
    row("Made", `${new Date(passport.created).toLocaleString()}, ${seconds(engine.seconds)} on ${engine.device} (${engine.dtype})`),
    row("Software", `${engine.app}, torch ${engine.torch}, diffusers ${engine.diffusers}, attention ${engine.attention}, batch of ${engine.bucket}`),
    row("Policy", `${passport.policy}: ${passport.admission}${(passport.reasons ?? []).length ? ` (${passport.reasons.map((each) => each.category).join(", ")})` : ""}`),
    row("Record", record.id),
    row("Mark", `${passport.watermark.mark_id} (${passport.watermark.method})`),
    row("SHA-256", passport.sha256),
  );
}

/** What is known row by row, and which duties are met; fetched when somebody looks. */
function passportPage(record) {
  sheet("trust");
  const place = el("div", { class: "passport-page" }, el("p", { class: "hint" }, "Reading the Passport …"));
  call(`/records/${record.id}/passport`)
    .then((page) => replace(place, passportRows(page), el("p", {}, el("a", { href: `/api/v1/records/${record.id}/passport`, download: `passport-${record.id}.json` }, "Passport as JSON"))))
    .catch((error) => replace(place, problemBox(error.problem)));
  return place;
}

function copyButton(text) {
  return button("copy", async (event) => {
    try {
      await navigator.clipboard.writeText(text);
      event.target.textContent = "copied";
    } catch {
      event.target.textContent = "press Ctrl+C";
    }
  });
}

/** The line under a picture, and everything else behind one word. */
export function passport(record, open = false) {
  const line = el("ul", { class: "passport", "aria-label": "Passport of this picture" });
  const detail = el("p", { class: "passport-detail", hidden: true, role: "status" });
  for (const [tone, words, meaning] of parts(record)) {
    const item = meaning
      ? button(words, () => {
          const same = !detail.hidden && detail.textContent === meaning;
          detail.hidden = same;
          detail.textContent = meaning;
        }, { class: "chip " + tone, title: meaning })
      : el("span", { class: "chip " + tone }, words);
    line.append(el("li", {}, item));
  }
  const more = el("details", { class: "more", open }, el("summary", {}, "Passport in full"));
  const fill = () => {
    if (!more.open || more.dataset.filled) return;
    more.dataset.filled = "1";
    more.append(passportPage(record), facts(record), el("div", { class: "infotext" }, copyButton(record.infotext), el("pre", { dir: "auto", tabIndex: 0 }, tame(record.infotext))));
  };
  more.addEventListener("toggle", fill);
  fill();
  return el("div", { class: "passport-box" }, line, detail, more);
}

/** A link to the file. For a covered picture it works once somebody has asked to see it. */
export function download(record) {
  const link = el("a", { class: "quiet", href: record.urls.download + reveal(record.id, "&"), download: "" }, "Download");
  const open = () => !flagged(record) || revealed.has(record.id);
  link.hidden = !open();
  document.addEventListener("signet:revealed", () => {
    link.hidden = !open();
    link.href = record.urls.download + reveal(record.id, "&");
  });
  return link;
}

/** A small picture for walls and strips. What there is none of says so in a word. */
export function small(record, props = {}) {
  const veil = () => el("span", { class: "veil" }, record.cover === "withhold" ? "withheld" : "covered");
  if (record.cover === "withhold") return veil();
  const image = el("img", { src: record.urls.thumbnail, alt: "", loading: "lazy", ...props });
  image.addEventListener("error", () => flagged(record) && image.replaceWith(veil()), { once: true });
  return image;
}

/** The picture itself. A covered one is fetched only when somebody asks to see it, a withheld one never. */
export function covered(record, image, shown = () => {}) {
  const frame = el("div", { class: "picture" }, image);
  if (!flagged(record) || revealed.has(record.id)) {
    image.src = record.urls.file + reveal(record.id);
    return frame;
  }
  frame.classList.add("covered");
  image.src = "";
  image.hidden = true;
  const withheld = record.cover === "withhold";
  const show = button("Show it anyway", () => {
    revealed.add(record.id);
    image.src = record.urls.file + reveal(record.id);
    image.hidden = false;
    frame.classList.remove("covered");
    cover.remove();
    shown();
    document.dispatchEvent(new CustomEvent("signet:revealed", { detail: record.id }));
  });
  const cover = el(
    "div",
    { class: "cover" },
    el("strong", {}, withheld ? "This picture is withheld" : "This picture is covered"),
    el("span", { dir: "auto" }, tame(record.covered)),
    withheld ? el("span", {}, "The owner decides in Review.") : show,
  );
  frame.prepend(small(record, { class: "behind" }));
  frame.append(cover);
  return frame;
}

export function problemBox(problem, ...actions) {
  const box = el("div", { class: "problem", role: "alert" });
  replace(box, el("strong", {}, tame(problem.title)), el("p", { dir: "auto" }, tame(problem.detail)), problem.hint && el("p", {}, tame(problem.hint)), actions.length && el("div", { class: "row-actions" }, actions));
  return box;
}
