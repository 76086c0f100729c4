// Labels and help of the forms, from webui/texts.py: the page carries them as a hidden word of hexadecimal digits.

let table = null;

/** Data of the page for the script (see webui/parts.py). */
export function hiddenWord(text) {
  const match = /[a-z]+-([0-9a-f]{2,})/.exec(text);
  if (!match) return null;
  const bytes = Uint8Array.from(match[1].match(/../g), (pair) => parseInt(pair, 16));
  return JSON.parse(new TextDecoder().decode(bytes));
}

/** {help, labels}, or null while the page is not complete. */
export function texts() {
  table ??= hiddenWord(document.getElementById("signet-texts")?.textContent ?? "");
  return table;
}

export const labelOf = (name) => texts()?.labels[name] ?? name;
export const helpOf = (name) => texts()?.help[name] ?? "";
