// The overview, kept true by GET /api/live: figures in their places, rows of targets, requests in flight, charts.
// One connection while the page is seen; what it says is "live", "paused" or "lost".
"use strict";
{
  const state = document.querySelector("[data-live-state]");
  const toggle = document.querySelector("[data-live-toggle]");
  const tones = { live: "ok", paused: "", lost: "bad" };
  let source = null, paused = false, gap = false, asked = 0;

  const say = (text) => {
    if (state.textContent === text) return;
    state.textContent = text;
    state.className = "badge " + tones[text];
  };
  const put = (element, text) => { if (element && element.textContent !== text) element.textContent = text; };
  const badge = (element, text, tone) => { put(element, text); element.className = "badge " + tone; };
  const look = (facts, path) => path.split(".").reduce((at, name) => (at == null ? at : at[name]), facts);

  const figures = (root, facts) => {
    for (const each of root.querySelectorAll("[data-v]")) {
      const value = look(facts, each.dataset.v);
      if (value !== undefined) put(each, format[each.dataset.f](value));  // undefined: not in every event
    }
  };

  const breakers = { closed: ["closed", "ok"], half_open: ["half open", "warn"], open: ["open", "bad"] };
  const targets = (list) => {
    const rows = new Map([...document.querySelectorAll("#targets tr[data-target]")].map((row) => [row.dataset.target, row]));
    if (list.length !== rows.size || list.some((each) => !rows.has(each.target))) return fresh();
    for (const each of list) {
      const row = rows.get(each.target);
      for (const cell of row.querySelectorAll("[data-t]")) put(cell, format[cell.dataset.f](each.attempts || cell.dataset.t !== "error_share" ? each[cell.dataset.t] : null));
      badge(row.querySelector("[data-breaker]"), ...(each.enabled ? breakers[each.breaker] : ["disabled", ""]));
      const operator = row.querySelector("[data-operator]");
      operator.hidden = !each.operator;
      if (each.operator) badge(operator, each.operator === "resting" ? "rests " + format.seconds(Math.ceil(each.rests_s)) : each.operator, "warn");
      const waits = each.breaker === "open" && each.probe_in_s != null;
      put(row.querySelector("[data-probe]"), waits ? "probe in " + format.seconds(Math.ceil(each.probe_in_s)) : "");
      put(row.querySelector("[data-why]"), each.breaker === "closed" ? "" : each.why || "");
      const bar = row.querySelector(".share");
      bar.querySelector("rect").setAttribute("width", (100 * (each.share_actual ?? 0)).toFixed(1) + "%");
      for (const drain of row.querySelectorAll("[data-drain]")) drain.hidden = (drain.dataset.drain === "drained") !== (each.operator === "drained");
    }
  };
  // Targets came or went: the table is asked for anew, not while a menu of it is open.
  const fresh = () => {
    if (Date.now() - asked < 5000 || document.querySelector("#targets details[open]")) return;
    asked = Date.now();
    htmx.ajax("GET", "/", { target: "#targets", select: "#targets", swap: "outerHTML" });
  };

  const live = (list, total) => {
    const body = document.querySelector("#live tbody"), template = document.getElementById("live-row");
    while (body.rows.length > list.length) body.deleteRow(-1);
    while (body.rows.length < list.length) body.append(template.content.cloneNode(true));
    list.forEach((each, index) => {
      const row = body.rows[index];
      for (const cell of row.querySelectorAll("[data-c]")) put(cell, format[cell.dataset.f](each[cell.dataset.c]));
      badge(row.querySelector("[data-phase]"), each.phase, each.phase === "streaming" ? "accent" : "");
    });
    document.getElementById("live-none").hidden = list.length > 0;
    document.querySelector("#live .scroll").hidden = list.length === 0;
    put(document.getElementById("live-more"), total > list.length ? total - list.length + " more" : "");
  };

  const charts = (series, whole) => {
    for (const each of document.querySelectorAll("[data-series]")) {
      const values = each.dataset.series.split(" ").map((name) => series[name]);
      if (!each.chart || values.some((list) => !list)) continue;
      if (whole) each.chart.reset(series.at, values);
      else each.chart.push(series.at, values);
    }
  };

  const show = async (facts) => {
    figures(document, facts);
    if (facts.targets) targets(facts.targets);
    if (facts.live) live(facts.live, facts.live_total);
    if (!facts.series) return;
    if (gap) {  // seconds were missed: the last five minutes are asked for whole
      gap = false;
      try {
        const answer = await fetch("/api/overview");
        if (answer.ok) charts((await answer.json()).series, true);
      } catch { gap = true; }
    } else {
      charts(facts.series, false);
    }
  };

  const close = () => { source?.close(); source = null; gap = true; };
  const open = () => {
    if (source || paused) return;
    source = new EventSource("/api/live");
    source.addEventListener("overview", (event) => { say("live"); show(JSON.parse(event.data)); });
    source.addEventListener("error", () => {
      say("lost");
      gap = true;
      if (source?.readyState === EventSource.CLOSED) {  // refused: the browser does not try again by itself
        close();
        setTimeout(open, 3000);
      }
    });
  };
  toggle.addEventListener("click", () => {
    paused = !paused;
    toggle.setAttribute("aria-pressed", String(paused));
    put(toggle.querySelector("span"), paused ? "Resume" : "Pause");
    if (paused) { close(); say("paused"); } else open();
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
}
