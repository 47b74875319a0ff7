// The live tail of the list of requests: off until asked for, the newest page only, and only while the page is seen.
"use strict";
{
  const button = document.querySelector("[data-tail]");
  let timer = 0;

  const busy = () => document.hidden || document.querySelector("#rows tr:focus-within") || String(getSelection());
  const ask = () => {
    if (busy()) return;
    htmx.ajax("GET", location.pathname + location.search, { target: "#rows", select: "#rows", swap: "outerHTML" });
  };
  const turn = (on) => {
    button.setAttribute("aria-pressed", String(on));
    clearInterval(timer);
    timer = on ? setInterval(ask, 2000) : 0;
    if (on) ask();
    history.replaceState(null, "", location.pathname + location.search + (on ? "#tail" : ""));
  };
  button.addEventListener("click", () => turn(!timer));
  if (new URLSearchParams(location.search).has("cursor")) {
    button.disabled = true;
    button.title = "Older rows do not change: go back to the newest";
  } else if (location.hash === "#tail") {
    turn(true);
  }

  // Fields that are empty stay out of the address, so that it can be read and shared.
  document.querySelector("[data-filters]").addEventListener("submit", (event) => {
    const fields = event.target.querySelectorAll("input[name], select[name]");
    for (const each of fields) each.disabled = each.value.trim() === "";
    setTimeout(() => { for (const each of fields) each.disabled = false; });
  });
}
