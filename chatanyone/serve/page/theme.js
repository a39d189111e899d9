// Light or dark: the system's wish unless the person says otherwise. Loaded first, so that nothing flashes.

const KEY = "chatanyone.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

function stored() { try { return localStorage.getItem(KEY); } catch { return null; } }

function apply() {
  const theme = stored() ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (button) button.setAttribute("aria-pressed", String(theme === "dark"));
}

apply();
dark.addEventListener("change", apply);
addEventListener("DOMContentLoaded", () => {
  apply();
  document.getElementById("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEY, next); } catch { /* for this page only */ }
    document.documentElement.dataset.theme = next;
    document.getElementById("theme").setAttribute("aria-pressed", String(next === "dark"));
  });
});
