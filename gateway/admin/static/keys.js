// The keyboard: / searches, j and k walk the rows, Enter opens, g and a letter goes to a page, ? tells.
"use strict";
{
  const pages = { o: "/", r: "/requests", u: "/usage", t: "/routes", k: "/keys", s: "/sessions", p: "/playground", c: "/configuration" };
  let went = -Infinity;  // when g was pressed

  const links = () => [...document.querySelectorAll("table[data-rows] tbody tr a[data-open]")];
  const step = (by) => {
    const all = links();
    if (!all.length) return false;
    const row = document.activeElement?.closest("tr");
    const at = all.findIndex((link) => link.closest("tr") === row);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))];
    next.focus();
    next.closest("tr").scrollIntoView({ block: "nearest" });
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing) {
      if (event.key === "Escape") typing.blur();
      return;
    }
    const inRows = event.target.closest("table[data-rows]");
    if (event.key === "/") {
      const box = document.querySelector("[data-search]");
      if (!box) return;
      box.focus();
      box.select();
    } else if (event.key === "?") {
      document.getElementById("help").showModal();
    } else if (event.key === "j" || (event.key === "ArrowDown" && inRows)) {
      if (!step(1)) return;
    } else if ((event.key === "k" && event.timeStamp - went > 1000) || (event.key === "ArrowUp" && inRows)) {
      if (!step(-1)) return;
    } else if (event.key === "g") {
      went = event.timeStamp;
      return;
    } else if (event.key in pages && event.timeStamp - went < 1000) {
      location.assign(pages[event.key]);
    } else {
      return;
    }
    event.preventDefault();
  });

  // A click anywhere in a row opens it; links, buttons and selected text in it stay what they are.
  document.addEventListener("click", (event) => {
    const row = event.target.closest("table[data-rows] tbody tr");
    if (!row || event.target.closest("a, button, summary, input, label, form") || String(getSelection())) return;
    row.querySelector("a[data-open]")?.click();
  });
}
