// Drawings. Each says in words what it shows.

import { count, h, ms, plural, s } from "./dom.js";

/** A takeover by its phases. What came before the deadline is much longer than all the rest: it has a scale of its own. */
export function takeover(change) {
  const since = (moment) => (moment === null ? null : (moment - change.at_ns) / 1e6);
  const start = change.deadline_ns ?? change.at_ns;
  const silence = change.last_heard_ns && change.deadline_ns ? (change.deadline_ns - change.last_heard_ns) / 1e6 : null;
  const phases = [];
  let from = since(start);
  const add = (key, name, moment) => {
    if (moment === null) return;
    const until = Math.max(from, since(moment));
    phases.push({ key, name, from: from - since(start), took: until - from });
    from = until;
  };
  if (change.deadline_ns) add("noticed", "noticed", change.at_ns);
  // An address may be up before the first advertisement has left.
  const rest = [
    ["advertised", "advertised", change.advertised_ns],
    ["address", "address up", change.address_up_ns],
    ["announced", "announced", change.announced_ns],
  ].filter(([, , moment]) => moment !== null);
  for (const [key, name, moment] of rest.sort((a, b) => a[2] - b[2])) add(key, name, moment);
  const total = phases.reduce((sum, phase) => sum + phase.took, 0);
  const words = [silence && `silent for ${ms(silence)}`, ...phases.map((phase) => `${phase.name} after ${ms(phase.took)}`)].filter(Boolean);
  return h("div.takeover", {},
    bars(silence, phases, total, words.join(", ")),
    h("ul.legend", {},
      silence ? h("li", { "data-phase": "silence" }, h("span.key"), "silence ", h("b", {}, ms(silence))) : null,
      phases.map((phase) => h("li", { "data-phase": phase.key }, h("span.key"), `${phase.name} `, h("b", {}, `+${ms(phase.took)}`))),
      h("li.total", {}, "in all ", h("b", {}, ms((silence ?? 0) + total)))));
}

function bars(silence, phases, total, words) {
  const width = 1000;
  const before = silence ? 300 : 0;
  const scale = (width - before - (silence ? 12 : 0)) / Math.max(total, 0.001);
  const left = before + (silence ? 12 : 0);
  const rects = phases.map(({ key, from, took }) =>
    s("rect", { "data-phase": key, y: 0, height: 20, ...span(left + from * scale, Math.max(took * scale, 2)) }));
  const cut = silence ? s("path.cut", { d: `M${before + 3} -2l6 8l-6 8l6 8` }) : null;
  return s("svg.bars", { viewBox: `0 0 ${width} 20`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    silence ? s("rect", { "data-phase": "silence", x: 0, y: 0, width: before, height: 20 }) : null, cut, ...rects);
}

/** The steps of a takeover of storage, one below the other. */
export function steps(list) {
  const end = Math.max(...list.map((step) => step.began_ms + step.took_ms), 0.001);
  const words = (step) => `began after ${ms(step.began_ms)}, took ${ms(step.took_ms)}`;
  const row = (step) => h("li", { "data-key": step.name },
    h("span.step-name", {}, step.name, h("span.dim", {}, step.phase.replaceAll("_", " "))),
    s("svg.bars", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", role: "img", "aria-label": words(step) },
      s("rect.track", { x: 0, y: 9, width: 1000, height: 2 }),
      s("rect", {
        "data-phase": step.well ? "announced" : "failed", y: 2, height: 16,
        ...span((step.began_ms / end) * 1000, Math.max((step.took_ms / end) * 1000, 3)),
      })),
    h("b", {}, ms(step.took_ms), step.well ? null : " failed"));
  return h("ol.steps", {}, list.map(row));
}

/** How long after one advertisement the next one came. What is left until the deadline is the margin: the same bars, read from the right. */
export function arrivals({ name, interface: on, arrivals_ms: gaps, interval_ms: interval, master_down_ms: deadline, least_margin_ms: least }) {
  const [width, height, columns] = [400, 110, 20];
  const counts = Array(columns).fill(0);
  for (const gap of gaps) counts[Math.min(columns - 1, Math.floor((gap / deadline) * columns))] += 1;
  const tall = heights(counts, height);
  const at = (gap) => (width * Math.min(gap, deadline)) / deadline;
  const edge = (column) => (deadline * column) / columns;
  const bar = (number, column) => s("g", {},
    s("title", {}, `${ms(edge(column))} to ${column === columns - 1 ? "more" : ms(edge(column + 1))}: ${number}`),
    s(used(edge(column) / deadline), { x: at(edge(column)) + 1.5, y: (height - tall(number)).toFixed(1), width: width / columns - 3, height: tall(number).toFixed(1), rx: 2 }));
  const label = (share, y, words) =>
    s("text", { x: width * share, y, "data-end": share === 0 ? "left" : share === 1 ? "right" : null }, words);
  const sorted = [...gaps].sort((a, b) => a - b);
  const [half, longest] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)];
  const words = `${name} on ${on}: of the last ${gaps.length} advertisements, half came within ${ms(half)} after the one before, all within `
    + `${ms(longest)}; takeover after ${ms(deadline)}, least margin ${ms(least)}`;
  return h("figure.chart", { "data-key": name },
    h("figcaption", {}, h("h3", {}, name), h("p.dim", {}, `on ${on}, the last ${plural(gaps.length, "advertisement")}`)),
    s("svg", { viewBox: `0 -14 ${width} ${height + 50}`, role: "img", "aria-label": words },
      s("line.floor", { x1: 0, y1: height, x2: width, y2: height }),
      s("line.limit", { x1: at(interval), y1: 0, x2: at(interval), y2: height }),
      s("text.limit-name", { x: at(interval), y: -3 }, "interval"),
      s("line.deadline", { x1: width - 1, y1: 0, x2: width - 1, y2: height }),
      s("text.limit-name", { x: width, y: -3, "data-end": "right" }, "takeover"),
      ...counts.map(bar),
      ...[0, 0.25, 0.5, 0.75, 1].map((share) => label(share, height + 15, share ? ms(deadline * share) : "0")),
      ...[0, 0.5, 1].map((share) => label(share, height + 32, share < 1 ? `${ms(deadline * (1 - share))} left` : "none left"))),
    numbers([["median", ms(half)], ["longest", ms(longest)], ["least margin", ms(least)], ["takeover after", ms(deadline)]]));
}

/** By how much of the patience a gap has used up. */
function used(share) {
  if (share >= 0.8) return "rect.close";
  return share >= 0.5 ? "rect.late" : "rect";
}

/** How many durations lay in which range. */
export function histogram(name, about, { count: total, buckets, p50_ms, p99_ms, p999_ms, max_ms }, range, limit, verdict) {
  const shown = buckets.slice(0, range);
  const [width, height] = [40 * shown.length, 120];
  const tall = heights(shown.map((bucket) => bucket.count), height);
  const edge = shown.findIndex((bucket) => bucket.le_ms === null || bucket.le_ms > limit);
  const bar = (bucket, at) => {
    const tallness = tall(bucket.count);
    const isLate = bucket.le_ms === null || bucket.le_ms > limit;
    return s("g", {}, s("title", {}, `up to ${bucket.le_ms === null ? "anything" : ms(bucket.le_ms)}: ${count(bucket.count)}`),
      s(isLate ? "rect.late" : "rect", { x: at * 40 + 3, y: (height - tallness).toFixed(1), width: 34, height: tallness.toFixed(1), rx: 2 }));
  };
  const label = (bucket, at) => at % 2 === 0 && s("text", { x: at * 40 + 20, y: height + 16 }, bucket.le_ms === null ? "more" : axis(bucket.le_ms));
  const words = `${name}: half within ${ms(p50_ms)}, 99 % within ${ms(p99_ms)}, at most ${ms(max_ms)}; ${verdict}`;
  return h("figure.chart", { "data-key": name },
    h("figcaption", {}, h("h3", {}, name), h("p.dim", {}, about)),
    s("svg", { viewBox: `0 0 ${width} ${height + 22}`, role: "img", "aria-label": words },
      s("line.floor", { x1: 0, y1: height, x2: width, y2: height }),
      edge > 0 && s("line.limit", { x1: edge * 40, y1: 0, x2: edge * 40, y2: height }),
      edge > 0 && s("text.limit-name", { x: edge * 40 - 4, y: 9 }, "interval"),
      ...shown.map(bar), ...shown.map(label)),
    numbers([["median", p50_ms], ["99 %", p99_ms], ["99.9 %", p999_ms], ["worst", max_ms]].map(([word, value]) =>
      [word, total ? ms(value) : "–"])),
    h("p.dim", {}, `${count(total)} in all, ${verdict}. The heights are logarithmic.`));
}

/** How high the bar for a number is: by its number of digits, so that one among millions is seen. */
function heights(counts, height) {
  const top = Math.log10(Math.max(...counts, 9) + 1);
  return (number) => (number ? Math.max((Math.log10(number + 1) / top) * (height - 14), 3) : 0);
}

function numbers(rows) {
  return h("dl.numbers", {}, rows.map(([word, value]) => h("div", {}, h("dt", {}, word), h("dd", {}, value))));
}

function span(x, width) {
  return { x: x.toFixed(1), width: width.toFixed(1) };
}

function axis(value) {
  if (value < 1) return `${Math.round(value * 1000)} µs`;
  return value < 1000 ? `${value} ms` : `${value / 1000} s`;
}
