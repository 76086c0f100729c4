// "Send to txt2img": a hidden field and button of the form; the server fills in the values.

export function sendToForm(what) {
  const field = document.querySelector("#signet-sent textarea, #signet-sent input");
  const button = document.querySelector("#signet-send");
  if (!field || !button) return false;
  field.value = what;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  setTimeout(() => button.click(), 0);
  return true;
}
