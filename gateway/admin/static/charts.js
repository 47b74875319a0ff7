// Charts: an element with data-chart='{"at": [unix seconds], "series": [{"label", "tone": 1..6, "values", "kind"}],
// "form", "stacked", "sync", "span", "smooth"}' is drawn by uPlot below a key that tells the values under the cursor, else the
// last ones. `element.chart.push(at, values)` appends points and forgets the oldest, so that hours cost no memory.
"use strict";
{
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const two = (value) => String(value).padStart(2, "0");
  const clock = (ts, whole) => {
    const date = new Date(ts * 1000);
    return two(date.getUTCHours()) + ":" + two(date.getUTCMinutes()) + (whole ? ":" + two(date.getUTCSeconds()) : "");
  };
  const day = (ts) => new Date(ts * 1000).toISOString().slice(5, 10);
  const short = (form, value) => {
    const tidy = (each) => String(Number(each.toPrecision(3)));
    if (form === "ms") return value >= 1000 ? tidy(value / 1000) + " s" : tidy(value) + " ms";
    const text = value >= 1e5 ? format.count(value) : value >= 1000 ? tidy(value / 1000) + "k" : tidy(value);
    return form === "money" ? "$" + text : text;
  };

  class Chart {
    constructor(element, spec) {
      this.element = element;
      this.form = spec.form || "count";
      this.most = spec.at.length;
      this.spec = spec;
      this.at = [...spec.at];
      this.values = spec.series.map((each) => [...each.values]);
      this.byDay = spec.span === "day";
      this.barred = spec.series.some((each) => each.kind === "bars");
      this.key = document.createElement("div");
      this.key.className = "chart-key";
      this.told = spec.series.map((each) => {
        const item = document.createElement("span"), mark = document.createElement("i"), value = document.createElement("b");
        mark.className = "c" + (each.tone || 1);
        item.append(mark, document.createTextNode(each.label + " "), value);
        this.key.append(item);
        return value;
      });
      this.when = document.createElement("span");
      this.when.className = "when";
      this.key.append(this.when);
      this.box = document.createElement("div");
      this.box.className = "chart-box";
      element.replaceChildren(this.key, this.box);
      this.plot = new uPlot(this.options(spec), this.drawn(), this.box);
      this.observer = new ResizeObserver(() => {
        const width = this.box.clientWidth, height = this.box.clientHeight;
        if (width && height && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({ width, height });
      });
      this.observer.observe(this.box);
      this.tell(null);
    }

    options(spec) {
      const line = () => css("--text-3"), grid = () => css("--chart-grid");
      const font = "11px " + getComputedStyle(document.body).fontFamily;
      const few = (plot, series) => plot.data[series].filter((each) => each != null).length < 20;  // no line to be seen
      const order = spec.stacked ? [...spec.series].reverse() : spec.series;
      return {
        width: this.box.clientWidth || 300,
        height: this.box.clientHeight || 120,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false, setScale: false }, points: { show: !spec.stacked, size: 6 },
          ...(spec.sync ? { sync: { key: spec.sync, setSeries: false } } : {}) },
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? null)] },
        scales: { x: { time: true, range: (_plot, from, to) => this.barred ? [from - this.width() / 2, to + this.width() / 2] : [from, to] },
          y: { range: (_plot, _from, to) => [0, to > 0 ? to * 1.08 : 1] } },
        axes: [
          { stroke: line, font, grid: { show: false }, ticks: { show: false }, size: 22, gap: 4, space: 34,
            values: (_plot, splits) => splits.map((each) => this.byDay || each % 86400 === 0 ? day(each) : clock(each, false)),
            incrs: [60, 300, 600, 1800, 3600, 10800, 21600, 43200, ...[1, 2, 7, 14, 30, 91, 365].map((days) => days * 86400)],
            ...(this.byDay ? { splits: () => this.days() } : {}) },
          { stroke: line, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 52, gap: 6, space: 36,
            values: (_plot, splits) => splits.map((each) => short(this.form, each)) },
        ],
        series: [{}, ...order.map((each) => {
          const colour = () => css("--chart-" + (each.tone || 1));
          const bars = each.kind === "bars";
          return { label: each.label, stroke: colour, width: bars ? 0 : 1.5, points: { show: !bars && few, size: 4, fill: colour }, spanGaps: !bars,
            ...(bars ? { fill: colour, paths: uPlot.paths.bars({ size: [0.72, 48], radius: spec.stacked ? 0 : 0.12 }) }
              : each.kind === "area" ? { fill: () => colour() + "22" } : {}) };
        })],
      };
    }

    width() { return this.at.length > 1 ? this.at[1] - this.at[0] : 86400; }

    days() {
      const step = Math.max(1, Math.ceil(this.at.length / Math.max(2, Math.floor(this.box.clientWidth / 64))));
      return this.at.filter((_each, index) => index % step === 0);
    }

    // What uPlot draws: in a stacked chart the sums, the highest first so that the lower ones cover it.
    drawn() {
      this.shown = this.spec.smooth > 1 ? this.values.map((list) => this.smooth(list)) : this.values;
      if (!this.spec.stacked) return [this.at, ...this.shown];
      const sums = [];
      for (const each of this.values) {
        const below = sums.at(-1);
        sums.push(each.map((value, index) => (value ?? 0) + (below ? below[index] : 0)));
      }
      return [this.at, ...sums.reverse()];
    }

    // The mean of so many points before each: what happens once in a while is seen as a rate, not as a spike.
    smooth(list) {
      const most = this.spec.smooth;
      let sum = 0;
      const means = list.map((value, index) => {
        sum += (value ?? 0) - (index >= most ? list[index - most] ?? 0 : 0);
        return Math.max(0, sum / most);
      });
      return means.fill(means[most - 1] ?? 0, 0, most - 1);  // too few before them to be a mean
    }

    tell(index) {
      const at = index ?? this.at.length - 1;
      this.told.forEach((value, each) => {
        const list = this.shown[each];
        let shown = list[at];
        if (index === null) for (let back = at; shown == null && back >= 0; back -= 1) shown = list[back];
        value.textContent = format[this.form](shown ?? null);
      });
      this.when.textContent = index === null || this.at[at] === undefined ? ""
        : this.byDay ? day(this.at[at]) : clock(this.at[at], true) + " UTC";
    }

    push(at, values) {
      const last = this.at.at(-1) ?? 0;
      at.forEach((ts, index) => {
        if (ts <= last) {
          const known = this.at.lastIndexOf(ts);  // a second that was told before it was over
          if (known >= 0) values.forEach((each, series) => { this.values[series][known] = each[index]; });
          return;
        }
        this.at.push(ts);
        values.forEach((each, series) => this.values[series].push(each[index]));
      });
      const over = this.at.length - this.most;
      if (over > 0) for (const each of [this.at, ...this.values]) each.splice(0, over);
      this.plot.setData(this.drawn());
      if (this.plot.cursor.idx == null) this.tell(null);
    }

    reset(at, values) {
      this.at = [...at];
      this.values = values.map((each) => [...each]);
      this.most = at.length;
      this.plot.setData(this.drawn());
      this.tell(null);
    }

    end() {
      this.observer.disconnect();
      this.plot.destroy();
    }
  }

  const charts = new Set();
  window.plot = (element, spec) => {
    element.chart?.end();
    charts.delete(element.chart);
    element.chart = new Chart(element, spec);
    charts.add(element.chart);
    return element.chart;
  };
  const begin = (root) => {
    for (const chart of charts) {
      if (!chart.element.isConnected) { chart.end(); charts.delete(chart); }
    }
    for (const each of root.querySelectorAll("[data-chart]")) if (!each.chart) window.plot(each, JSON.parse(each.dataset.chart));
  };
  begin(document);
  document.addEventListener("htmx:afterSettle", () => begin(document));
  document.addEventListener("themechange", () => { for (const each of charts) each.plot.redraw(); });
}
