// What every page has: theme, menu, copying, confirming, times that stay true, messages of failed actions.
"use strict";
{
  const $ = (id) => document.getElementById(id);

  const toast = (text) => {
    const box = $("toast");
    box.textContent = text;
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => { box.textContent = ""; }, 6000);
  };
  window.toast = toast;

  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const themed = () => document.dispatchEvent(new CustomEvent("themechange"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {  // no clipboard outside https and loopback: the old way
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "only-read";
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  const textOf = (element) => {
    if ("value" in element) return element.value;
    const clone = element.cloneNode(true);
    for (const number of clone.querySelectorAll("[data-n]")) number.remove();
    return clone.textContent.replace(/\n$/, "");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (button?.matches("[data-theme-toggle]")) {
      const next = isDark() ? "light" : "dark";
      document.documentElement.dataset.theme = next;
      try { localStorage.setItem("theme", next); } catch { /* kept for this page only */ }
      themed();
    } else if (button?.matches("[data-menu]")) {
      const open = $("side").classList.toggle("open");
      button.setAttribute("aria-expanded", String(open));
    } else if (button?.matches("[data-help]")) {
      $("help").showModal();
    } else if (button?.matches("[data-copy]")) {
      const said = button.querySelector("span") || button;
      const before = said.dataset.said || (said.dataset.said = said.textContent);
      said.textContent = (await copy(textOf($(button.dataset.copy)))) ? "Copied" : "Not copied";
      setTimeout(() => { said.textContent = before; }, 2000);
    }
    // One menu at a time, and none after a click elsewhere.
    for (const menu of document.querySelectorAll("details[data-menu-sheet][open]")) {
      if (!menu.contains(event.target) || event.target.closest(".sheet button, .sheet a")) menu.open = false;
    }
  });
  // A sheet is fixed beside its button, so that a table that scrolls does not cut it.
  document.addEventListener("toggle", (event) => {
    const menu = event.target;
    if (!menu.open || !menu.matches("details[data-menu-sheet]")) return;
    const sheet = menu.querySelector(".sheet"), at = menu.getBoundingClientRect();
    const below = at.bottom + 4 + sheet.offsetHeight <= innerHeight;
    sheet.style.left = Math.max(8, at.right - sheet.offsetWidth) + "px";
    sheet.style.top = Math.max(8, below ? at.bottom + 4 : at.top - 4 - sheet.offsetHeight) + "px";
  }, true);
  addEventListener("scroll", () => {
    for (const menu of document.querySelectorAll("details[data-menu-sheet][open]")) menu.open = false;
  }, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details[data-menu-sheet][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // hx-confirm asks in the page's own words, not in the browser's dialog.
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    const dialog = $("ask"), from = event.detail.elt;
    $("ask-text").textContent = event.detail.question;
    $("ask-yes").textContent = from.dataset.yes || "Do it";
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "yes") event.detail.issueRequest(true);
      from.querySelector?.("button, summary")?.focus();
    }, { once: true });
    dialog.showModal();
  });

  document.addEventListener("htmx:responseError", (event) => {
    let said = "";
    try { said = JSON.parse(event.detail.xhr.responseText).error.message; } catch { /* not ours */ }
    toast(said || "That failed: status " + event.detail.xhr.status);
  });
  document.addEventListener("htmx:sendError", () => toast("The gateway cannot be reached."));
  document.addEventListener("said", (event) => toast(String(event.detail?.value ?? event.detail ?? "")));  // HX-Trigger

  const tick = () => {
    if (document.hidden) return;
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const told = format.ago(Date.parse(each.dateTime) / 1000, Date.now() / 1000);
      if (each.textContent !== told) each.textContent = told;
    }
  };
  setInterval(tick, 1000);
}
