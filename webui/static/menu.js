// A small menu under a button: mouse, touch and keyboard.

import { el } from "./dom.js";

/** Open below `anchor`; `items` are [words, action] pairs. */
export function openMenu(anchor, items, label) {
  document.querySelector(".menu")?.remove();
  const list = el("div", { class: "menu", role: "menu", "aria-label": label });
  const close = (back = true) => {
    list.remove();
    removeEventListener("pointerdown", outside, true);
    if (back) anchor.focus();
  };
  const outside = (event) => list.contains(event.target) || close(false);
  for (const [words, act] of items) {
    const item = el("button", { type: "button", role: "menuitem", class: "menu-item", tabIndex: -1 }, words);
    item.addEventListener("click", () => {
      close();
      act();
    });
    list.append(item);
  }
  list.addEventListener("keydown", (event) => {
    const all = [...list.children];
    const at = all.indexOf(document.activeElement);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 };
    if (event.key in moves) all[moves[event.key] % all.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  // In a dialog nothing outside of it can be reached.
  const host = anchor.closest("dialog") ?? document.body;
  host.append(list);
  const place = anchor.getBoundingClientRect();
  const base = host === document.body ? { left: -scrollX, top: -scrollY } : host.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, innerWidth - list.offsetWidth - 8));
  const below = place.bottom + 4 + list.offsetHeight <= innerHeight;
  const top = below ? place.bottom + 4 : Math.max(8, place.top - list.offsetHeight - 4);
  // In the coordinates of what scrolls, so that it stays beside its button.
  list.style.left = `${left - base.left + (host === document.body ? 0 : host.scrollLeft)}px`;
  list.style.top = `${top - base.top + (host === document.body ? 0 : host.scrollTop)}px`;
  list.firstElementChild.focus({ preventScroll: true });
  addEventListener("pointerdown", outside, true);
}

/** A long press or a right click. The click that ends a long press is not one. */
export function onContext(node, act) {
  let timer;
  let held = false;
  const open = () => {
    held = true;
    act();
  };
  node.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    clearTimeout(timer);
    if (!held) act();
  });
  node.addEventListener("touchstart", () => {
    held = false;
    timer = setTimeout(open, 550);
  }, { passive: true });
  for (const kind of ["touchend", "touchmove", "touchcancel"]) {
    node.addEventListener(kind, (event) => {
      clearTimeout(timer);
      if (kind === "touchend" && held && event.cancelable) event.preventDefault();
      held = false;
    });
  }
}
