// Plots: one request made into many, with their pictures on sheets. The server knows the plans and reads the values;
// this panel is drawn from its description.

import { call, record } from "./api.js";
import { group } from "./controls.js";
import { button, debounce, el, plural, replace, say, stored, tame } from "./dom.js";
import { formFields } from "./fields.js";
import { problemBox, small } from "./passport.js";
import { openPicture } from "./picture.js";
import { sheet as styleSheet } from "./sheets.js";

const OFF = "Nothing";
const kept = stored("plots", {});

/** Values between commas; one that holds a comma or a quotation mark stands in quotation marks. */
export const joined = (values) =>
  values.map((value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value)).join(", ");

const field = (label, about, ...inner) =>
  el("label", { class: "field", title: about }, el("span", { class: "field-name" }, label), inner);

function axisInput({ name, label, about }, axes, given = {}) {
  const select = el(
    "select",
    { "aria-label": `${label} axis` },
    [OFF, ...axes.map((axis) => axis.name)].map((text) => el("option", { value: text }, tame(text))),
  );
  const values = el("input", { type: "text", "aria-label": `${label} values`, spellcheck: false, dir: "auto", value: given.values ?? "" });
  const fill = button("Fill", () => {
    values.value = joined(chosen()?.choices ?? []);
    values.dispatchEvent(new Event("input", { bubbles: true }));
  }, { title: "Write in everything there is to choose from" });
  const chosen = () => axes.find((axis) => axis.name === select.value);
  const show = () => {
    const axis = chosen();
    values.disabled = !axis;
    values.placeholder = axis ? axis.example || axis.choices.slice(0, 3).join(", ") : "";
    fill.hidden = !axis?.choices.length;
  };
  select.value = axes.some((axis) => axis.name === given.axis) ? given.axis : OFF;
  select.addEventListener("change", () => {
    values.value = "";
    show();
  });
  show();
  const root = el("div", { class: "field plot-axis", role: "group", "aria-label": `${label}. ${about}`, title: about },
    el("span", { class: "field-name" }, label), el("div", { class: "plot-line" }, select, values, fill));
  return { name, root, value: () => (chosen() ? { axis: select.value, values: values.value } : {}) };
}

function flagInput({ name, label, about, default: start }, given = start) {
  const box = el("input", { type: "checkbox", checked: given });
  const root = el("label", { class: "field check", title: about }, box, el("span", { class: "field-name" }, label));
  return { name, root, value: () => box.checked };
}

function wholeInput({ name, label, about, default: start, minimum, maximum }, given = start) {
  const input = el("input", { type: "number", min: minimum, max: maximum, step: 1, value: given });
  return { name, root: field(label, about, input), value: () => (input.value === "" ? start : Number(input.value)) };
}

function choiceInput({ name, label, about, default: start, choices }, given = start) {
  const select = el("select", {}, choices.map((text) => el("option", { value: text }, tame(text))));
  select.value = choices.includes(given) ? given : start;
  return { name, root: field(label, about, select), value: () => select.value };
}

/** Files are sent when they are chosen; their ids are what the plan needs. */
function picturesInput({ name, label, about }) {
  let ids = [];
  const told = el("span", { class: "outcome", role: "status" });
  const input = el("input", { type: "file", multiple: true, accept: "image/png,image/jpeg,image/webp" });
  const root = field(label, about, input, told);
  input.addEventListener("change", async () => {
    ids = [];
    const files = [...input.files];
    try {
      for (const [number, file] of files.entries()) {
        told.textContent = `Sending ${number + 1} of ${files.length} …`;
        ids.push((await call("/inputs", { method: "POST", body: file })).id);
      }
      told.textContent = `${plural(ids.length, "picture")} ready`;
    } catch (error) {
      told.textContent = `${tame(files[ids.length]?.name)}: ${error.message}`;
    }
    root.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return { name, root, value: () => ids };
}

const INPUTS = { flag: flagInput, whole: wholeInput, choice: choiceInput, pictures: picturesInput };

const inputFor = (argument, axes, given) =>
  argument.kind === "axis" ? axisInput(argument, axes, given) : INPUTS[argument.kind](argument, given);

const inWords = ({ pictures, sheets, shape }) =>
  `${shape.length > 1 ? `${shape.join(" × ")} = ` : ""}${plural(pictures, "picture")}${sheets ? ` on ${plural(sheets, "sheet")}` : ""}`;

/** A plan under way: how far it is, a way to stop it, and its sheets when they are laid. */
async function follow(place, ticket) {
  const line = el("span", { role: "status" });
  const sheets = el("div", { class: "plot-sheets" });
  const stop = button("Cancel the rest", () => call(`/plans/${ticket.id}`, { method: "DELETE" }).catch(() => null));
  place.prepend(el("div", { class: "plot-run" }, el("div", { class: "plot-line" }, line, stop), sheets));
  const show = ({ states, jobs, grids }) => {
    const all = jobs.length + grids.length;
    const rest = Object.entries(states).filter(([state]) => !["done", "queued", "running", "sealing"].includes(state));
    line.textContent = [`${states.done ?? 0} of ${all} done`, ...rest.map(([state, number]) => `${number} ${state}`)].join(" · ");
    replace(sheets, grids.map((grid) => grid.records[0] ? sheet(grid) : grid.problem && problemBox(grid.problem)));
  };
  for (show(ticket); !ticket.ended; show(ticket)) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(1000, ticket.jobs.length * 20)));
    ticket = await call(`/plans/${ticket.id}`).catch((error) => (error.problem?.code === "offline" ? ticket : { ...ticket, ended: true }));
  }
  stop.remove();
  say(`The plot has ended: ${line.textContent}`);
  document.dispatchEvent(new CustomEvent("signet:plan-ended", { detail: ticket }));
}

function sheet(grid) {
  const id = grid.records[0];
  const name = tame(grid.label || "Sheet");
  const place = el("span", { class: "sheet-picture" });
  record(id).then((found) => replace(place, small(found, { alt: name }))).catch(() => replace(place, "The sheet is gone."));
  return button([place, el("span", { dir: "auto" }, name)], () => openPicture(id), { title: "Open the sheet" });
}

export async function mount(root, { collect = formFields } = {}) {
  const form = el("div", { class: "plot-form" });
  const outcome = el("span", { class: "outcome", role: "status" });
  const problem = el("div", {});
  const runs = el("div", {});
  const which = el("select", { "aria-label": "Kind of plot" });
  const about = el("p", { class: "plot-about" });
  const go = button("Make the plot", make, { disabled: true });
  const box = group("plots", "Plots: X/Y/Z, prompt matrix, batch",
    [field("Kind", "", which), about, form, el("div", { class: "field-row" }, go, outcome), problem, runs], () => 0);
  let inputs = [];
  let described = { plans: [], axes: [] };
  let asked = 0;
  styleSheet("plots");
  replace(root, box);

  const args = () => Object.fromEntries(inputs.map((one) => [one.name, one.value()]));
  const body = async () => ({ fields: await collect(), arguments: args() });

  const count = debounce(400, async () => {
    if (!box.open || !inputs.length) return;
    const turn = ++asked;
    try {
      const draft = await call(`/plans/${which.value}/draft`, { method: "POST", json: await body() });
      if (turn !== asked) return;
      outcome.textContent = inWords(draft);
      go.disabled = false;
    } catch (error) {
      if (turn !== asked) return;
      outcome.textContent = error.message;
      go.disabled = true;
    }
  });

  function draw() {
    const plan = described.plans.find(({ name }) => name === which.value);
    const given = kept.get()[plan?.name] ?? {};
    inputs = (plan?.arguments ?? []).map((argument) => inputFor(argument, described.axes, given[argument.name]));
    about.textContent = tame(plan?.about);
    replace(form, inputs.map((one) => one.root));
    count();
  }

  async function make() {
    go.disabled = true;
    replace(problem);
    try {
      const ticket = await call(`/plans/${which.value}`, { method: "POST", json: await body() });
      say(`${plural(ticket.jobs.length, "picture")} queued`);
      document.dispatchEvent(new CustomEvent("signet:plan", { detail: ticket }));
      follow(runs, ticket);
    } catch (error) {
      if (!error.problem) throw error;
      replace(problem, problemBox(error.problem));
    } finally {
      go.disabled = false;
    }
  }

  async function load() {
    described = await call("/plans");
    const before = which.value;
    replace(which, described.plans.map(({ name, title }) => el("option", { value: name }, tame(title))));
    if (before) which.value = before;
    draw();
  }

  form.addEventListener("input", () => {
    const { pictures, ...rest } = args();
    kept.set({ ...kept.get(), [which.value]: rest });
    count();
  });
  which.addEventListener("change", draw);
  box.addEventListener("toggle", () => (box.open && !inputs.length ? load().catch((error) => (outcome.textContent = error.message)) : count()));
  document.addEventListener("input", (event) => event.target.closest?.("#form") && !root.contains(event.target) && count());
  if (box.open) await load().catch((error) => (outcome.textContent = error.message));
}
