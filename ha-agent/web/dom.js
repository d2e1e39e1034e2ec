// Building what is shown, and changing only what differs: so focus, selection and a screen reader stay where they are.

const SVG = "http://www.w3.org/2000/svg";

/** An element: h("p.note", { id: "x" }, "text", other). Attributes that are null or false are left out. */
export function h(what, attributes = {}, ...children) {
  return make(document.createElement(what.split(".")[0]), what, attributes, children);
}

/** The same inside a drawing. */
export function s(what, attributes = {}, ...children) {
  return make(document.createElementNS(SVG, what.split(".")[0]), what, attributes, children);
}

function make(element, what, attributes, children) {
  const classes = what.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Makes the children of an element these. */
export function show(element, ...children) {
  const wanted = document.createElement("div");
  wanted.append(...children.flat(Infinity).filter(Boolean));
  match(element, [...wanted.childNodes]);
}

function match(element, wanted) {
  wanted.forEach((next, at) => {
    const current = element.childNodes[at];
    if (!current) element.append(next);
    else if (!alike(current, next)) current.replaceWith(next);
    else if (current.nodeType === Node.TEXT_NODE) {
      if (current.data !== next.data) current.data = next.data;
    } else {
      attributes(current, next);
      match(current, [...next.childNodes]);
    }
  });
  while (element.childNodes.length > wanted.length) element.lastChild.remove();
}

function alike(one, other) {
  return one.nodeName === other.nodeName && (one.dataset?.key ?? "") === (other.dataset?.key ?? "");
}

function attributes(current, next) {
  for (const { name } of [...current.attributes]) {
    // What the reader has opened stays open.
    if (!next.hasAttribute(name) && name !== "open") current.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
}

/** A table: its rows are [key, head, ...cells]. On a phone each is a list; the roles say that it is a table all the same. */
export function table(names, rows) {
  const head = h("tr", { role: "row" }, names.map((name) => h("th", { scope: "col", role: "columnheader" }, name)));
  const row = ([key, first, ...cells]) => h("tr", { role: "row", "data-key": key },
    h("th", { scope: "row", role: "rowheader" }, first),
    cells.map((cell, at) => h("td", { role: "cell", "data-name": names[at + 1] }, h("div", {}, cell))));
  return h("table.table", { role: "table" }, h("thead", { role: "rowgroup" }, head), h("tbody", { role: "rowgroup" }, rows.map(row)));
}

/** A sign that can be told by its shape alone. */
export function sign(level, size = 20) {
  const drawing = SIGNS[level] ?? SIGNS.wait;
  const attributes = { viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true", "data-level": level };
  return s("svg.sign-shape", attributes, ...drawing());
}

const line = (d) => s("path.mark", { d });
const SIGNS = {
  good: () => [s("circle.body", { cx: 12, cy: 12, r: 10 }), line("M7.5 12.5l3 3 6-6.5")],
  moving: () => [s("circle.body", { cx: 12, cy: 12, r: 10 }), line("M7 12h9M12.5 8.5L16 12l-3.5 3.5")],
  warn: () => [s("path.body", { d: "M12 2.5L23 21.5H1z" }), line("M12 9v6M12 18v.6")],
  bad: () => [s("path.body", { d: "M8 1.5h8l6.5 6.5v8L16 22.5H8L1.5 16V8z" }), line("M8.5 8.5l7 7M15.5 8.5l-7 7")],
  off: () => [s("circle.body.hollow", { cx: 12, cy: 12, r: 9 })],
  wait: () => [s("circle.body.dashed", { cx: 12, cy: 12, r: 9 }), line("M12 7v5.5l3 2")],
};

/** A time in ms, with as many digits as one can use. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} µs`;
  if (value < 1000) return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
  return seconds(value / 1000);
}

/** A time in s. */
export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.floor(value)} s`;
  if (value < 7200) return `${Math.floor(value / 60)} min`;
  if (value < 172800) return `${Math.floor(value / 3600)} h`;
  return `${Math.floor(value / 86400)} days`;
}

/** A number with its thousands apart. */
export function count(value) {
  return value.toLocaleString("en", { useGrouping: "always" }).replaceAll(",", "\u202f");
}

/** A moment as the reader's clock has it. */
export function clock(moment) {
  const date = new Date(moment);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = date.toLocaleTimeString("en-GB");
  return isToday ? time : `${date.toLocaleDateString("en-CA")} ${time}`;
}

/** A moment for machines, and for people. */
export function time(moment) {
  return h("time", { datetime: moment, title: moment }, clock(moment));
}

/** The same without seconds. */
export function minute(moment) {
  return h("time", { datetime: moment, title: moment }, clock(moment).slice(0, -3));
}

/** A text in which commands stand between backquotes. */
export function prose(text) {
  return text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
}

/** A text whose names are not broken at their hyphens. */
export function unbroken(text, names) {
  const whole = (piece, name) =>
    (typeof piece === "string" ? between(piece.split(name), () => h("span.name-whole", {}, name)) : [piece]);
  const breakable = names.filter((name) => name?.includes("-"));
  const pieces = breakable.reduce((pieces, name) => pieces.flatMap((piece) => whole(piece, name)), [text]);
  return pieces.filter((piece) => piece !== "");
}

function between(list, separator) {
  return list.flatMap((item, at) => (at ? [separator(), item] : [item]));
}

/** One or many. */
export function plural(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}
