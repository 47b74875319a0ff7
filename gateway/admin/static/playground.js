// The playground: a prompt to one side or to two at once, each answer as it comes. All text goes in as text.
"use strict";
{
  const $ = (id) => document.getElementById(id);
  const form = $("prompt");
  const sides = [...document.querySelectorAll("[data-side]")].map((box) => ({
    box,
    field: (name) => box.querySelector(`[data-field="${name}"]`),
    part: (name) => box.querySelector(`[data-part="${name}"]`),
    running: null,
  }));
  const compares = () => $("compare").checked;
  const active = () => (compares() ? sides : sides.slice(0, 1));

  const say = (side, state, tone) => {
    const badge = side.part("state");
    badge.textContent = state;
    badge.className = "badge " + (tone || "");
  };
  const row = (side, term, value, title) => {
    const list = side.part("facts");
    let cell = list.querySelector(`[data-term="${term}"]`);
    if (!cell) {
      const name = document.createElement("dt");
      name.textContent = term;
      cell = document.createElement("dd");
      cell.dataset.term = term;
      list.append(name, cell);
    }
    cell.textContent = value;
    if (title) cell.title = title;
    return cell;
  };
  const ms = (value) => (value === null || value === undefined ? "–" : format.ms(value));

  // Which targets the route has that would take this model: asked of the gateway, so that it is the truth.
  const lookUp = async (side) => {
    const select = side.field("target"), before = select.value || select.dataset.wanted || "";
    const route = side.field("route").value.trim(), model = side.field("model").value.trim();
    let found = [];
    try {
      if (route) {
        const told = await (await fetch("/api/routes/" + encodeURIComponent(route))).json();
        found = [...(told.targets || []), ...Object.values(told.fallbacks || {}).flat()];
      } else if (model) {
        found = (await (await fetch("/api/explain?model=" + encodeURIComponent(model))).json()).targets || [];
      }
    } catch { /* the choice stays empty */ }
    const seen = new Set();
    select.replaceChildren(new Option("as the route decides", ""));
    for (const each of found) {
      if (seen.has(each.target)) continue;
      seen.add(each.target);
      select.add(new Option(each.state === "enabled" ? each.target : `${each.target} (${each.state})`, each.target));
    }
    select.value = seen.has(before) ? before : "";
  };

  const lines = async function* (response, signal) {
    const reader = response.body.getReader(), decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || signal.aborted) return;
      rest += decoder.decode(value, { stream: true });
      const whole = rest.split("\n");
      rest = whole.pop();
      for (const line of whole) if (line.trim()) yield JSON.parse(line);
    }
  };

  const show = (side, told, began) => {
    const output = side.part("output");
    if (told.type === "head") {
      const link = row(side, "Request", told.request_id || "–");
      if (told.request_id) {
        const anchor = document.createElement("a");
        anchor.href = "/requests/" + encodeURIComponent(told.request_id);
        anchor.textContent = told.request_id;
        anchor.className = "mono";
        link.replaceChildren(anchor);
      }
      row(side, "Status", String(told.status));
      row(side, "Route", told.route || "–");
      row(side, "Target", told.target || "–");
      row(side, "Attempts", told.attempts || "–");
      if (told.dropped) row(side, "Dropped fields", told.dropped);
      if (told.cache) row(side, "Cache", told.cache);
      if (told.cost_usd) row(side, "Cost", format.money(told.cost_usd));
    } else if (told.type === "text" || told.type === "reasoning") {
      if (!side.first) {
        side.first = performance.now() - began;
        row(side, "First token", ms(side.first));
      }
      const into = told.type === "text" ? output : side.part("reasoning");
      into.hidden = false;
      into.append(document.createTextNode(told.text));
    } else if (told.type === "tool") {
      output.append(document.createTextNode((told.name ? `\n[calls ${told.name}] ` : "") + (told.arguments || "")));
    } else if (told.type === "usage") {
      row(side, "Tokens", `${told.prompt_tokens} in, ${told.completion_tokens} out`);
    } else if (told.type === "error") {
      side.failed = true;
      const box = side.part("error");
      box.hidden = false;
      box.querySelector("strong").textContent = `${told.status} ${told.code}`;
      box.querySelector("p").textContent = told.message + (told.status === 401 ? "\nType a client's key above." : "");
    } else if (told.type === "end") {
      if (told.first_token_ms !== null) row(side, "First token", ms(told.first_token_ms));
      row(side, "Duration", ms(told.duration_ms));
    } else if (told.type === "row") {
      if (told.problem) {
        if (!side.part("facts").querySelector('[data-term="Cost"]')) row(side, "Cost", "not known", told.problem);
        return;
      }
      row(side, "Cost", told.cost_usd === null ? "unknown" : format.money(told.cost_usd));
      row(side, "Attempts", String(told.attempts));
      if (told.target) row(side, "Target", told.target);
      if (told.error_code) row(side, "Error code", told.error_code);
      if (told.principal) row(side, "Principal", told.principal);
      if (told.prompt_tokens !== null) row(side, "Tokens", `${told.prompt_tokens} in, ${told.completion_tokens} out`);
    }
  };

  const run = async (side) => {
    side.running?.abort();
    const abort = (side.running = new AbortController());
    side.first = side.failed = null;
    side.part("facts").replaceChildren();
    for (const name of ["output", "reasoning"]) side.part(name).replaceChildren();
    side.part("reasoning").hidden = side.part("error").hidden = true;
    say(side, "running", "info");
    const number = (name) => { const text = $(name).value.trim(); return text ? Number(text) : undefined; };
    const body = {
      model: side.field("model").value.trim(),
      route: side.field("route").value.trim() || undefined,
      target: side.field("target").value || undefined,
      system: $("system").value || undefined,
      user: $("user").value,
      temperature: number("temperature"),
      max_tokens: number("max_tokens"),
      stream: $("stream").checked,
      key: $("key").value || undefined,
    };
    const began = performance.now();
    try {
      const response = await fetch("/api/playground", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        signal: abort.signal,
      });
      if (!response.ok) {
        let error = {};
        try { error = (await response.json()).error || {}; } catch { /* no word why */ }
        show(side, { type: "error", status: response.status, code: error.code || "", message: error.message || "" }, began);
      } else {
        let ended = false;
        for await (const told of lines(response, abort.signal)) {
          ended = ended || told.type === "end";
          show(side, told, began);
        }
        if (!ended && !abort.signal.aborted) {
          show(side, { type: "error", status: "", code: "cut", message: "The answer broke off." }, began);
        }
      }
      if (!abort.signal.aborted) say(side, side.failed ? "failed" : "completed", side.failed ? "bad" : "ok");
    } catch (error) {
      if (abort.signal.aborted) return;
      show(side, { type: "error", status: "", code: "unreachable", message: "The gateway cannot be reached." }, began);
      say(side, "failed", "bad");
    } finally {
      if (abort.signal.aborted) say(side, "stopped", "warn");
      if (side.running === abort) side.running = null;
      busy();
    }
  };

  const busy = () => {
    const any = sides.some((side) => side.running);
    $("stop").disabled = !any;
    $("run").disabled = any;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    for (const side of active()) run(side);
    busy();
  });
  $("stop").addEventListener("click", () => { for (const side of sides) side.running?.abort(); });
  $("user").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("run").disabled) form.requestSubmit();
  });

  const compare = () => {
    sides[1].box.hidden = !compares();
    sides[1].field("model").required = compares();
    if (compares() && !sides[1].field("model").value) {
      for (const name of ["model", "route"]) sides[1].field(name).value = sides[0].field(name).value;
      lookUp(sides[1]);
    }
    if (!compares()) sides[1].running?.abort();
  };
  $("compare").addEventListener("change", compare);
  for (const side of sides) {
    for (const name of ["model", "route"]) side.field(name).addEventListener("change", () => lookUp(side));
    lookUp(side);
  }
  compare();

  // What a client with this key may ask for: the list of /v1/models, beside the names that routes have.
  const suggest = async () => {
    try {
      const response = await fetch("/api/playground/models", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ key: $("key").value || undefined }),
      });
      if (!response.ok) return;
      const list = $("known-models"), known = new Set([...list.options].map((each) => each.value));
      for (const name of (await response.json()).models.slice(0, 500)) {
        if (!known.has(name)) list.append(new Option(name, name));
      }
    } catch { /* the names that routes have remain */ }
  };
  $("key").addEventListener("change", suggest);
  suggest();
}
