// Which tab is open, and which way of making pictures the form stands for.

export const MODES = ["txt2img", "img2img", "inpaint", "upscale"];
const CREATE = new Set([...MODES, "control"]);

let open = "";
let making = "txt2img";

/** The mode of the next picture: the tab of the group Create that was open last. ControlNet guides any of them. */
export const mode = () => making;
export const currentTab = () => open;

export function showTab(name) {
  document.querySelector(`#tabs [role=tab][data-tab-id="${CSS.escape(name)}"]`)?.click();
}

/** What is open now; Gradio says so by an attribute. */
export function lookAtTabs() {
  const tab = document.querySelector("#tabs [role=tab][aria-selected=true]");
  const name = tab?.dataset.tabId;
  if (!name || name === open) return;
  open = name;
  // On a narrow screen the row of tabs scrolls sideways.
  tab.parentNode.scrollTo({ left: tab.offsetLeft - tab.parentNode.clientWidth / 3 });
  if (MODES.includes(name)) making = name;
  document.body.dataset.tab = name;
  document.body.dataset.mode = making;
  document.body.classList.toggle("creating", CREATE.has(name));
  document.dispatchEvent(new CustomEvent("signet:tab", { detail: name }));
}

new MutationObserver(lookAtTabs).observe(document.documentElement, { attributes: true, subtree: true, attributeFilter: ["aria-selected"] });
