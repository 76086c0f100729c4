// Width and height: those of the picture, or one's own from the form.

import { check } from "./controls.js";

const field = (name) => document.querySelector(`#f-${name} input[type=number]`);

/** A switch for a mode that starts from a picture. While it is on, no size is sent and the server takes the picture's. */
export function followSwitch(mode, changed = () => {}) {
  const follow = check("follow", true);
  const tell = () => {
    if (document.body.dataset.mode === mode) document.body.classList.toggle("own-size", !follow.value);
    changed();
  };
  for (const kind of ["input", "change"]) follow.root.addEventListener(kind, tell);
  document.addEventListener("signet:tab", tell);
  return Object.assign(follow, {
    fields: () => (follow.value ? { width: null, height: null } : {}),
    /** Whether a stored size is the one the server takes for a picture of this size. */
    fill(request, width, height) {
      const factor = Number(field("width")?.step) || 8;
      const near = (asked, side) => !asked || Math.abs(asked - side) <= factor / 2;
      follow.value = near(request.width, width) && near(request.height, height);
    },
  });
}
