// The line at the top, which is always true: queue, policy, engine, sharing, theme.

import { call } from "./api.js";
import { button, el, plural, replace, stored } from "./dom.js";

const theme = stored("theme", null);
const ENGINE = {
  ready: ["good", "engine ready"],
  starting: ["busy", "engine starting"],
  restarting: ["warn", "engine restarting"],
  failed: ["bad", "engine failed"],
  stopped: ["bad", "engine stopped"],
};
const LOW_DISK = 512 * 2 ** 20;

export function applyTheme() {
  const chosen = theme.get();
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  return dark;
}

function themeButton() {
  const words = () => (document.body.classList.contains("dark") ? "Light theme" : "Dark theme");
  const toggle = button(words(), () => {
    theme.set(document.body.classList.contains("dark") ? "light" : "dark");
    applyTheme();
    toggle.textContent = words();
  }, { id: "theme-toggle" });
  return toggle;
}

export function mountState(root) {
  applyTheme();
  const queue = el("span", { class: "fact" }, "queue …");
  const policy = el("span", { class: "fact" });
  const dot = el("span", { class: "dot busy", "aria-hidden": "true" });
  const engine = el("span", {}, "engine …");
  const share = el("span", { class: "fact" }, "share: off");
  const disk = el("span", { class: "fact warn" });
  replace(
    root,
    el("h1", { class: "brand" }, "Signet"),
    el("div", { class: "facts-line", role: "group", "aria-label": "State of the studio" }, el("span", { class: "fact engine" }, dot, engine), queue, policy, share, disk),
    themeButton(),
  );

  const show = (tone, words, title = "") => {
    dot.className = "dot " + tone;
    engine.textContent = words;
    engine.parentNode.title = title;
  };

  async function refresh() {
    try {
      const now = await call("/health");
      const [tone, words] = ENGINE[now.engine] ?? ["warn", "engine " + now.engine];
      show(tone, now.engine === "ready" && now.device ? `${words} · ${now.device}` : words, now.detail);
      queue.textContent = now.running + now.waiting ? `queue ${now.waiting}, running ${now.running}` : "queue 0";
      policy.textContent = `policy: ${now.policy}`;
      share.textContent = now.share ? "share: on" : "share: off";
      disk.textContent = now.free_bytes < LOW_DISK ? `disk nearly full: ${plural(Math.round(now.free_bytes / 2 ** 20), "MiB", "MiB")} left` : "";
      document.body.dataset.blurPreviews = String(now.blur_previews);
      document.body.dataset.byMeaning = String(now.by_meaning);
    } catch {
      show("bad", "the studio does not answer");
    }
    clearTimeout(timer);
    timer = setTimeout(refresh, document.hidden ? 15000 : 2500);
  }

  let timer;
  document.addEventListener("signet:busy", () => setTimeout(refresh, 150));

  refresh();
}
