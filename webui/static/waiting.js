// Jobs that wait, in order. Moved by dragging, by buttons, or with Alt+Up and Alt+Down.

import { button, el, replace } from "./dom.js";
import { jobWords, promptOf } from "./jobline.js";

export class Waiting {
  /** `move(id, place)` and `cancel(id)` change the queue; what became of it comes back through `show`. */
  constructor(move, cancel) {
    this.move = move;
    this.cancel = cancel;
    this.rows = new Map();
    this.order = [];
    this.list = el("ol", { class: "jobs", "aria-label": "Waiting jobs" });
    this.empty = el("p", { class: "nothing" }, "Nothing waits. Pictures you ask for while another is being made line up here.");
    this.hint = el("p", { class: "queue-hint" }, "Drag a job, or press Alt+↑ and Alt+↓ on it, to change its place.");
    this.root = el("div", {}, this.list, this.empty, this.hint);
  }

  show(jobs) {
    if (this.dragging) return;
    const order = jobs.map((job) => job.id);
    const focused = document.activeElement;
    for (const id of this.rows.keys()) if (!order.includes(id)) this.rows.delete(id);
    for (const job of jobs) if (!this.rows.has(job.id)) this.rows.set(job.id, this.row(job));
    if (order.join() !== this.order.join()) replace(this.list, order.map((id) => this.rows.get(id)));
    this.order = order;
    order.forEach((id, place) => this.mark(this.rows.get(id), place));
    this.list.hidden = !jobs.length;
    this.empty.hidden = jobs.length > 0;
    this.hint.hidden = jobs.length < 2;
    // Elements that change place lose the focus.
    if (this.list.contains(focused) && document.activeElement !== focused) (focused.disabled ? focused.closest("li") : focused).focus();
  }

  mark(row, place) {
    const last = this.order.length - 1;
    row.querySelector(".place").textContent = place + 1;
    row.querySelector(".up").disabled = place === 0;
    row.querySelector(".down").disabled = place === last;
    row.querySelector(".handle").hidden = last === 0;
  }

  row(job) {
    const prompt = promptOf(job);
    const step = (by) => () => this.shift(job.id, by);
    const named = (kind, words) => ({ class: `quiet small ${kind}`, "aria-label": `${words}: ${prompt}`, title: words });
    const handle = el("span", { class: "handle", "aria-hidden": "true", title: "Drag to another place" }, "⠿");
    const row = el(
      "li",
      { class: "job waiting", tabIndex: 0, "data-id": job.id, "aria-keyshortcuts": "Alt+ArrowUp Alt+ArrowDown" },
      el("span", { class: "place" }),
      jobWords(job),
      el("span", { class: "row-actions" }, button("↑", step(-1), named("up", "Earlier")), button("↓", step(1), named("down", "Later")), button("Cancel", () => this.cancel(job.id), named("stop", "Cancel"))),
      handle,
    );
    row.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!event.altKey || !by) return;
      event.preventDefault();
      this.shift(job.id, by);
    });
    handle.addEventListener("pointerdown", (event) => this.drag(event, job.id, row, handle));
    return row;
  }

  shift(id, by) {
    const place = this.order.indexOf(id) + by;
    if (place >= 0 && place < this.order.length) this.move(id, place);
  }

  /** The row follows the pointer; where it is let go is its new place. */
  drag(event, id, row, handle) {
    if (event.button > 0) return;
    event.preventDefault();
    const others = this.order.filter((other) => other !== id).map((other) => this.rows.get(other));
    const start = event.clientY;
    let place = this.order.indexOf(id);
    this.dragging = true;
    row.classList.add("dragged");
    handle.setPointerCapture(event.pointerId);
    const follow = ({ clientY }) => {
      row.style.transform = `translateY(${clientY - start}px)`;
      place = others.filter((other) => clientY > middle(other)).length;
      others.forEach((other, number) => {
        other.classList.toggle("before", number === place);
        other.classList.toggle("after", number === others.length - 1 && place === others.length);
      });
    };
    const stop = (end) => {
      handle.removeEventListener("pointermove", follow);
      for (const kind of ["pointerup", "pointercancel"]) handle.removeEventListener(kind, stop);
      this.dragging = false;
      row.classList.remove("dragged");
      row.style.transform = "";
      others.forEach((other) => other.classList.remove("before", "after"));
      if (end.type === "pointerup" && place !== this.order.indexOf(id)) this.move(id, place);
    };
    handle.addEventListener("pointermove", follow);
    for (const kind of ["pointerup", "pointercancel"]) handle.addEventListener(kind, stop);
  }
}

function middle(node) {
  const { top, height } = node.getBoundingClientRect();
  return top + height / 2;
}
