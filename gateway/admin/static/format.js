// Writes live figures as gateway/admin/figures.py writes them on the page.
"use strict";
const format = (() => {
  const dash = "–";
  const grouped = (value, digits) =>
    value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const count = (value) => {
    if (value == null) return dash;
    for (const [size, unit, letter] of [[1e9, 1e9, "B"], [1e6, 1e6, "M"], [1e5, 1e3, "k"]]) {
      if (Math.abs(value) >= size) {
        const small = value / unit;
        return (small < 1000 ? String(Number(small.toPrecision(3))) : grouped(small, 0)) + letter;
      }
    }
    return grouped(value, 0);
  };
  const rate = (value) => {
    if (value == null) return dash;
    return value >= 100 ? count(value) : value >= 10 ? value.toFixed(1) : value ? value.toFixed(2) : "0";
  };
  const share = (value) => {
    if (value == null) return dash;
    const percent = value * 100;
    if (percent >= 99.95 || percent === 0) return percent.toFixed(0) + "%";
    return percent < 0.1 ? "<0.1%" : percent.toFixed(1) + "%";
  };
  const seconds = (value) => {
    if (value == null) return dash;
    if (value < 59.95) return (value % 1 >= 0.05 ? value.toFixed(1) : value.toFixed(0)) + " s";
    const whole = Math.round(value);
    for (const [size, unit, inner, lesser] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (whole >= size) {
        const rest = Math.floor((whole % size) / inner);
        return Math.floor(whole / size) + " " + unit + (rest ? " " + rest + " " + lesser : "");
      }
    }
    return whole + " s";
  };
  const age = (value) => (value == null ? dash : value < 59.95 ? value.toFixed(1) + " s" : seconds(value));
  const ms = (value) => {
    if (value == null) return dash;
    if (value < 999.5) return value.toFixed(value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2) + " ms";
    return value < 9995 ? (value / 1000).toFixed(2) + " s" : seconds(value / 1000);
  };
  const money = (value) => {
    if (value == null) return "unknown";
    const amount = Number(value), size = Math.abs(amount), sign = amount < 0 ? "-" : "";
    if (size >= 1 || size === 0) return sign + "$" + grouped(size, 2);
    if (size >= 0.01) return sign + "$" + size.toFixed(4);
    return sign + "$" + size.toFixed(Math.min(12, 1 - Math.floor(Math.log10(size))));
  };
  const ago = (ts, now) => {
    const past = now - ts, span = Math.abs(past);
    if (span < 1) return "now";
    const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"]].find(([each]) => span >= each) || [1, "s"];
    const told = (size === 1 ? Math.min(59, Math.round(span)) : Math.floor(span / size)) + " " + unit;
    return past > 0 ? told + " ago" : "in " + told;
  };
  const text = (value) => (value == null || value === "" ? dash : String(value));
  return { count, rate, share, seconds, age, ms, money, ago, text };
})();
