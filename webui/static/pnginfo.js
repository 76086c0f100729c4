// PNG Info: any picture or text in, what it says about how it was made out, ready to be made again.

import { call } from "./api.js";
import { button, el, replace, say, tame } from "./dom.js";
import { give } from "./extra.js";
import { credentials, list, mark, section } from "./findings.js";
import { problemBox } from "./passport.js";
import { upload } from "./picker.js";
import { sayProblem, sendToForm } from "./send.js";
import { showTab } from "./tabs.js";

const KINDS = new Set(["png", "jpeg", "webp", "avif", "gif", "bmp", "tiff"].map((kind) => `image/${kind}`));
const TARGETS = [["txt2img", "Send to txt2img"], ["img2img", "Send to img2img"], ["inpaint", "Send to inpaint"]];
const SILENT = "It does not say how it was made. Most web sites and messengers remove that, and programs can be told not to write it.";
const FORMS = { title: "This is not a picture", detail: "PNG, JPEG, WebP, AVIF, GIF, BMP and TIFF files can be read.", hint: "Drop the file itself, not a link to it." };

/** As JSON in ASCII, so that its beginning is the same characters here and on the server. */
const ascii = (value) => JSON.stringify(value).replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The text that A1111 would show: what the file holds, or what was understood of it. */
function asText(read, raw) {
  if (raw || !read) return raw ?? "";
  const pairs = Object.entries({ ...read.parameters, ...read.unknown }).map(([name, value]) => `${name}: ${/[,:\n]/.test(value) ? JSON.stringify(value) : value}`);
  return [read.prompt, read.negative && `Negative prompt: ${read.negative}`, pairs.join(", ")].filter(Boolean).join("\n");
}

function copyButton(text) {
  return button("Copy as text", async (event) => {
    try {
      await navigator.clipboard.writeText(text);
      event.target.textContent = "Copied";
      say("Copied");
    } catch {
      event.target.textContent = "The browser does not allow it";
    }
  });
}

const block = (text) => el("pre", { dir: "auto", tabIndex: 0 }, tame(text));
const table = (title, words, values) => Object.keys(values).length > 0 && section(title, "plain", words, list(Object.entries(values)));

function said(read) {
  const { prompt, negative, parameters, unknown, ignored, notes } = read;
  return [
    section("Prompt", "plain", prompt ? "" : "It names none.", prompt && block(prompt)),
    negative && section("Negative prompt", "plain", "", block(negative)),
    table("Settings", "", parameters),
    table("Kept, but not known here", "They travel on with the picture and change nothing.", unknown),
    ignored.length > 0 && section("Not taken over", "unknown", "There is no field for these, or their value makes no sense:", el("ul", { class: "names" }, ignored.map((name) => el("li", { dir: "auto" }, tame(name))))),
    notes.length > 0 && section("Notes", "unknown", "", el("ul", { class: "names" }, notes.map((note) => el("li", { dir: "auto" }, tame(note))))),
  ];
}

class PngInfo {
  constructor(root) {
    this.root = root;
    this.file = el("input", { type: "file", id: "pnginfo-file", accept: [...KINDS].join(), class: "sr-only" });
    this.drop = el(
      "label",
      { class: "drop" },
      el("strong", {}, "Drop a picture here, paste it, or choose one"),
      el("span", {}, "Made by A1111, Forge, ComfyUI, InvokeAI, Fooocus, NovelAI, SwarmUI or Signet. It is read on this machine and not kept."),
    );
    this.drop.htmlFor = "pnginfo-file";
    this.text = el("textarea", { id: "pnginfo-text", rows: 3, placeholder: "a red apple\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512" });
    const paste = el("details", { class: "more" }, el("summary", {}, "Or paste text"), el("div", { class: "pasted" }, el("label", { for: "pnginfo-text", class: "sr-only" }, "Generation text"), this.text, button("Read the text", () => this.readText())));
    this.answer = el("div", { class: "answer", "aria-live": "polite" });
    replace(root, el("div", { class: "pnginfo" }, this.file, this.drop, paste, this.answer));
    this.listen();
  }

  listen() {
    this.file.addEventListener("change", () => this.look(this.file.files[0]).finally(() => (this.file.value = "")));
    for (const kind of ["dragenter", "dragover"]) this.root.addEventListener(kind, () => this.drop.classList.add("over"));
    for (const kind of ["dragleave", "drop"]) this.root.addEventListener(kind, () => this.drop.classList.remove("over"));
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      const { files } = event.dataTransfer;
      const text = event.dataTransfer.getData("text/plain");
      if (files.length) this.look(files[0]);
      else if (text) this.readText(text);
    });
    document.addEventListener("paste", (event) => {
      if (!this.root.offsetParent || event.target.closest?.("input, textarea")) return;
      const data = event.clipboardData;
      if (data.files.length) this.look(data.files[0]);
      else if (data.getData("text/plain")) this.readText(data.getData("text/plain"));
    });
  }

  /** `find()` brings what is shown, unless something newer was asked for in between. */
  async show(looking, find) {
    const number = (this.number = (this.number ?? 0) + 1);
    replace(this.answer, el("p", { class: "looking" }, looking));
    let shown;
    try {
      shown = await find();
    } catch (error) {
      shown = [problemBox(error.problem ?? FORMS)];
    }
    if (number === this.number) replace(this.answer, shown);
  }

  async look(file) {
    if (!file) return;
    await this.show(`Reading ${tame(file.name)} …`, async () => {
      if (!KINDS.has(file.type)) throw { problem: FORMS };
      const post = (path) => call(path, { method: "POST", body: file });
      const [read, report] = await Promise.allSettled([post("/read"), post("/verify")]);
      if (read.status === "rejected") throw read.reason;
      return this.found(read.value, report, file);
    });
  }

  async readText(text = this.text.value) {
    if (!text.trim()) return this.text.focus();
    this.text.value = text;
    await this.show("Reading the text …", async () => this.found(await call("/read-text", { method: "POST", json: { text } }), null, null));
  }

  found(read, report, file) {
    const about = read ? `Made with ${tame(read.program)}` : SILENT;
    const raw = report?.value?.infotext;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = file && URL.createObjectURL(file);
    const words = el("div", { class: "pnginfo-head" }, el("p", { class: "sentence", dir: "auto" }, about), el("div", { class: "row-actions" }, this.actions(read, file), (read || raw) && copyButton(asText(read, raw))));
    const head = el("div", { class: "verify-head" }, file && el("img", { src: this.url, alt: `The picture ${tame(file.name)}`, onerror: (event) => event.target.remove() }), words);
    say(about);
    return [head, el("div", { class: "findings" }, read && said(read), report && this.provenance(report))].filter(Boolean);
  }

  actions(read, file) {
    return TARGETS.filter(([target]) => file || (read && target === "txt2img")).filter(([target]) => read || target !== "txt2img").map(([target, words], place) =>
      button(words, () => this.send(target, read, file), { class: place === 0 ? "accent" : "quiet", "data-target": target }),
    );
  }

  /** The picture goes into the well of the tab, what was read into the form. */
  send(target, read, file) {
    const arrive = async () => {
      showTab(target);
      if (target === "txt2img") return;
      try {
        give(target, await upload(file));
      } catch (error) {
        sayProblem(error.problem);
      }
    };
    if (!read) return arrive();
    sendToForm(`fields:${ascii(read.fields)}`, arrive);
  }

  provenance(report) {
    if (report.status === "rejected") return section("Content Credentials and mark", "unknown", "They could not be checked now.", report.reason.problem && problemBox(report.reason.problem));
    return [credentials(report.value.c2pa), mark(report.value.watermark)];
  }
}

export function mount(root) {
  new PngInfo(root);
}
