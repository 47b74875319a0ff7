// Runs before the first paint: the theme that was chosen here before, else the system's.
"use strict";
{
  const kept = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
}
