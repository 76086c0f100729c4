// Style sheets of panels that bring their own, asked for when the panel is drawn.

import { el } from "./dom.js";

export function sheet(name) {
  const href = `/signet/${name}.css`;
  if (!document.querySelector(`link[href="${href}"]`)) document.head.append(el("link", { rel: "stylesheet", href }));
}
