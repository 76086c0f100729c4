// The Audit tab: choose a suite, hear first how much it will take, watch it run as ordinary jobs, read it, sign it off.

import { call } from "./api.js";
import { auditResult } from "./audit_result.js";
import { button, debounce, el, replace, say, tame } from "./dom.js";
import { problemBox } from "./passport.js";
import { sheet } from "./sheets.js";

const STATES = { running: "running", done: "done", stopped: "stopped", failed: "failed" };
const EVERY = 2500;

const label = (words, control, help) => el("label", { class: "field", title: help }, el("span", { class: "field-name" }, words), control);

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${(seconds / 3600).toFixed(1)} h`;
}

class Audit {
  constructor(root) {
    this.root = root;
    this.suite = el("select", { id: "audit-suite" });
    this.model = el("select", { id: "audit-model" });
    this.against = el("select", { id: "audit-against" });
    this.lora = el("input", { type: "text", id: "audit-lora", placeholder: "name:1 (optional)", maxLength: 200 });
    this.n = el("input", { type: "number", id: "audit-n", min: 1, max: 10000, value: 20 });
    this.about = el("p", { class: "hint", dir: "auto" });
    this.size = el("p", { class: "audit-size", role: "status" });
    this.start = button("Start the audit", () => this.begin(), { class: "accent", id: "audit-start" });
    this.said = el("div", {});
    this.list = el("div", { class: "audit-list" });
    this.open = el("div", { class: "audit-open" });
    replace(
      root,
      el("h2", {}, "Audit"),
      el("p", { class: "hint" }, "What does a model draw when the prompt leaves something open? A suite of prompts is made many times over as ordinary jobs, measured, and written up with intervals. Nothing is said about real people."),
      el("div", { class: "audit-form" }, label("Suite", this.suite), label("Model", this.model), label("With LoRA", this.lora, "name:weight, to audit the model with it"), label("Compare with", this.against), label("Pictures per prompt", this.n, "More pictures, narrower intervals"), this.start),
      this.about,
      this.size,
      this.said,
      this.list,
      this.open,
    );
    this.root.addEventListener("input", debounce(250, () => this.estimate()));
    this.fill();
    new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && this.refresh()).observe(root);
  }

  async fill() {
    try {
      const [suites, models] = await Promise.all([call("/audits/suites"), call("/models")]);
      this.suites = suites;
      replace(this.suite, suites.map((one) => el("option", { value: one.name }, `${tame(one.title)} (${one.prompts})`)));
      replace(this.model, models.map((one) => el("option", { value: one.id }, tame(one.title))));
      replace(this.against, el("option", { value: "" }, "nothing"), el("option", { value: "base" }, "itself without the LoRA"), models.map((one) => el("option", { value: one.id }, tame(one.title))));
      // What the starter can draw; the other suites are for models of photographs.
      this.suite.value = models[0]?.id === "starter" ? "starter-colours" : "professions";
      this.estimate();
    } catch (error) {
      replace(this.said, problemBox(error.problem));
    }
  }

  order() {
    const against = this.against.value;
    return {
      suite: this.suite.value,
      model: this.model.value,
      n: Number(this.n.value) || 1,
      ...(this.lora.value.trim() ? { lora: this.lora.value.trim() } : {}),
      ...(against ? { against } : {}),
    };
  }

  async estimate() {
    this.about.textContent = tame(this.suites?.find((one) => one.name === this.suite.value)?.about ?? "");
    try {
      const plan = await call("/audits/plan", { method: "POST", json: this.order() });
      const long = plan.seconds ? `, ${duration(plan.seconds)} on this machine` : "";
      this.size.textContent = `${plan.pictures} pictures${long}. With ${plan.n} for each prompt a share is known to ±${Math.round(100 * plan.half_width)} points.`;
      replace(this.said);
    } catch (error) {
      this.size.textContent = "";
      replace(this.said, problemBox(error.problem));
    }
  }

  async begin() {
    this.start.disabled = true;
    try {
      const made = await call("/audits", { method: "POST", json: this.order() });
      say("The audit has started");
      await this.refresh();
      this.show(made.id);
    } catch (error) {
      replace(this.said, problemBox(error.problem));
    } finally {
      this.start.disabled = false;
    }
  }

  async refresh() {
    clearTimeout(this.timer);
    const audits = await call("/audits").catch(() => null);
    if (!audits) return;
    replace(this.list, audits.length ? audits.map((one) => this.line(one)) : el("p", { class: "hint" }, "No audit yet."));
    const running = audits.some((one) => one.state === "running");
    if (running && this.root.offsetParent) this.timer = setTimeout(() => this.refresh(), EVERY);
    const shown = audits.find((one) => one.id === this.shown);
    if (shown && shown.state !== this.state) this.show(shown.id);
  }

  line(one) {
    const act = async (verb) => {
      await call(`/audits/${one.id}/${verb}`, { method: "POST", json: {} }).catch((error) => replace(this.said, problemBox(error.problem)));
      this.refresh();
    };
    const words = `${one.done} of ${one.total} pictures${one.state === "running" && one.seconds_left ? `, ${duration(one.seconds_left)} left` : ""}`;
    return el(
      "div",
      { class: "audit-line", "data-id": one.id, "data-state": one.state },
      button(tame(one.title), () => this.show(one.id), { class: "quiet", "aria-expanded": String(one.id === this.shown) }),
      el("span", { class: "hint" }, `${STATES[one.state] ?? one.state} · ${words}${one.signed ? ` · signed off by ${tame(one.signed)}` : ""}`),
      el("progress", { max: one.total || 1, value: one.done, "aria-label": words }),
      one.state === "running" ? button("Stop", () => act("cancel"), { title: "What was made stays; it can go on later" }) : one.done < one.total && button("Go on", () => act("resume")),
    );
  }

  async show(id) {
    this.shown = id;
    try {
      const one = await call(`/audits/${id}`);
      this.state = one.state;
      const report = one.result && el("a", { class: "quiet", href: `/api/v1/audits/${id}/report`, target: "_blank", rel: "noopener" }, "Open the report");
      const keep = one.result && el("a", { class: "quiet", href: `/api/v1/audits/${id}/report?download=1`, download: "" }, "Download it");
      const why = one.problem && problemBox(one.problem);
      const body = one.result ? auditResult(one.result) : el("p", { class: "hint" }, "The figures appear when it is through, or when it is stopped.");
      replace(this.open, el("div", { class: "audit-head" }, el("h2", {}, tame(one.title)), el("div", { class: "row-actions" }, report, keep)), why, body, one.result && one.state !== "running" && this.signing(one));
    } catch (error) {
      replace(this.open, problemBox(error.problem));
    }
  }

  signing(one) {
    if (one.signed) return el("p", { class: "hint" }, `Signed off by ${tame(one.signed)}.`);
    const name = el("input", { type: "text", maxLength: 200, "aria-label": "Your name", placeholder: "Your name" });
    const note = el("input", { type: "text", maxLength: 2000, "aria-label": "Note", placeholder: "Note (optional)" });
    const said = el("div", {});
    const sign = button("Sign off", async () => {
      try {
        await call(`/audits/${one.id}/sign`, { method: "POST", json: { name: name.value, note: note.value } });
        say("Signed off");
        this.refresh();
        this.show(one.id);
      } catch (error) {
        replace(said, problemBox(error.problem));
      }
    });
    return el("div", { class: "audit-sign" }, el("p", { class: "hint" }, "You have read it and looked at the pictures? Your name goes into the report and the audit log."), el("div", { class: "row-actions" }, name, note, sign), said);
  }
}

export function mount(root) {
  sheet("trust");
  sheet("audit");
  new Audit(root);
}
