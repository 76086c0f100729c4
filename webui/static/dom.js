// Building blocks. Text from people is only ever set as text, never as markup.

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== "list" && !key.startsWith("aria")) node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

export function button(text, onclick, props = {}) {
  return el("button", { type: "button", class: "quiet", onclick, ...props }, text);
}

const ISOLATE = /[\u202a-\u202e\u2066-\u2069]/g;

/** Text without the characters that turn the direction of what stands around it. */
export const tame = (text) => String(text ?? "").replace(ISOLATE, "");

export function plural(count, one, many = one + "s") {
  return `${count} ${count === 1 ? one : many}`;
}

export function debounce(delay, action) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), delay);
  };
}

/** What the browser remembers for us; private windows may forbid it. */
export function stored(key, fallback, store = "localStorage") {
  return {
    get() {
      try {
        return JSON.parse(window[store].getItem("signet." + key)) ?? fallback;
      } catch {
        return fallback;
      }
    },
    set(value) {
      try {
        window[store].setItem("signet." + key, JSON.stringify(value));
      } catch {
        // Nothing depends on it.
      }
    },
  };
}

let told;

/** Say something to screen readers without moving anything. */
export function say(text) {
  told ??= document.body.appendChild(el("div", { class: "sr-only", role: "status", "aria-live": "polite" }));
  told.textContent = text;
}
