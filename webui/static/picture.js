// One picture of the history, opened: the file itself, its Passport, and what can be done with it.

import { call, forget, record, remember } from "./api.js";
import { convertButton } from "./convert.js";
import { button, el, replace, say, tame } from "./dom.js";
import { covered, download, flagged, passport, problemBox } from "./passport.js";
import { sendButtons } from "./send.js";

function stars(found, changed) {
  const set = el("fieldset", { class: "stars" }, el("legend", {}, "Rating"));
  for (const value of [1, 2, 3, 4, 5]) {
    const lit = value <= found.rating ? " lit" : "";
    const label = `${value} of 5${value === found.rating ? ", chosen; press to take it away" : ""}`;
    set.append(
      button(lit ? "★" : "☆", async () => {
        const rating = value === found.rating ? 0 : value;
        const after = remember(await call(`/records/${found.id}`, { method: "PATCH", json: { rating } }));
        changed();
        const fresh = stars(after, changed);
        set.replaceWith(fresh);
        fresh.querySelectorAll("button")[value - 1].focus();
        say(rating ? `${rating} of 5 stars` : "No rating");
      }, { class: "star" + lit, "aria-label": label }),
    );
  }
  return set;
}

function deletion(found, dialog, changed) {
  const place = el("span", { class: "deletion" });
  const ask = button("Delete", () => {
    const sure = button("Delete for good", async () => {
      try {
        await call(`/records/${found.id}`, { method: "DELETE" });
        forget(found.id);
        dialog.close();
        changed();
        say("Deleted");
      } catch (error) {
        replace(place, problemBox(error.problem));
      }
    }, { class: "danger" });
    replace(place, sure, button("Keep it", () => replace(place, ask)));
    sure.focus();
  });
  place.append(ask);
  return place;
}

/** The pictures of the history that show what this one shows. What a covered one shows is nothing to search by. */
function likeButton(found, dialog) {
  if (flagged(found)) return null;
  return button("More like this", () => {
    dialog.close();
    document.dispatchEvent(new CustomEvent("signet:like", { detail: found }));
  }, { class: "quiet by-meaning" });
}

export async function openPicture(id, changed = () => {}) {
  const dialog = el("dialog", { class: "picture-dialog", "aria-label": "Picture" });
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  const close = button("Close", () => dialog.close(), { class: "quiet close" });
  // Outside of Gradio's page, so that no style of a tab hides it.
  document.body.append(dialog);
  dialog.append(close);
  dialog.showModal();
  let found;
  try {
    found = await record(id);
  } catch (error) {
    dialog.append(problemBox(error.problem));
    return;
  }
  const { passport: facts } = found;
  const image = el("img", { alt: `Picture for: ${tame(facts.request.prompt)}`, width: facts.width, height: facts.height });
  const send = sendButtons(found, () => dialog.close(), { class: "accent" });
  const converting = convertButton(found, (fresh) => {
    dialog.close();
    changed();
    openPicture(fresh, changed);
  });
  dialog.append(
    el(
      "div",
      { class: "opened" },
      covered(found, image),
      el(
        "div",
        { class: "opened-words" },
        el("p", { class: "opened-prompt", dir: "auto" }, tame(facts.request.prompt)),
        el("div", { class: "row-actions" }, send, download(found), converting, likeButton(found, dialog), deletion(found, dialog, changed)),
        stars(found, changed),
        passport(found, true),
      ),
    ),
  );
}
