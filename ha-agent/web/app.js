// The page: takes each snapshot of the agent's as it comes, and says when none does.

import { h, seconds, show, sign, unbroken } from "./dom.js";
import { panels, reasons } from "./panels.js";
import { nodes, verdict } from "./story.js";
import { button } from "./failover.js";

const element = (id) => document.getElementById(id);
/** After so many ms without a snapshot, what is shown counts as old. */
const STALE = 2000;

let session = { may_act: false };
let status = null;
let arrived = 0;
let wasStale = null;

start();

async function start() {
  try {
    session = await (await fetch("/api/session")).json();
  } catch {
    // Without it, nothing can be ordered; the stream tells the rest.
  }
  element("logout").hidden = !session.logged_in;
  listen();
  setInterval(age, 250);
}

function listen() {
  const events = new EventSource("/api/events");
  events.onmessage = (event) => {
    status = JSON.parse(event.data);
    arrived = performance.now();
    draw();
  };
  events.onerror = () => {
    // The browser tries again by itself, unless it was told off: then it may be the login that has ended.
    if (events.readyState !== EventSource.CLOSED) return;
    setTimeout(again, 2000);
  };
}

async function again() {
  try {
    const now = await (await fetch("/api/session")).json();
    if (!now.may_look && now.login) location.assign("/login");
  } catch {
    // Not there yet.
  }
  listen();
}

function draw() {
  age();
  show(element("panels"), panels(status, verdict(status).reasons));
  element("node").textContent = status.node;
  element("about").textContent = `ha-agent ${status.version} on ${status.node}${session.name ? `, shown to ${session.name}` : ""}`;
}

/** How old the data is; and the headline, which is of no use when it is old. */
function age() {
  const old = status ? performance.now() - arrived : 0;
  const isStale = status === null ? null : old > STALE;
  const words = status === null ? "connecting…" : isStale ? `stale: ${seconds(old / 1000)} old` : `live, ${seconds(old / 1000)} old`;
  if (element("age").textContent !== words) element("age").textContent = words;
  element("fresh").dataset.state = isStale === null ? "waiting" : isStale ? "stale" : "live";
  document.body.classList.toggle("stale", isStale === true);
  if (status && (!isStale || wasStale !== isStale)) headline(isStale);
  wasStale = isStale;
}

function headline(isStale) {
  const { level, sentence, reasons: why } = isStale ? stale() : verdict(status);
  if (element("sentence").textContent !== sentence) show(element("sentence"), unbroken(sentence, nodes(status).map((node) => node.name)));
  element("verdict").dataset.level = level;
  show(element("sign"), sign(level, 56));
  show(element("why"), typeof why === "string" ? h("p", {}, why) : reasons(why));
  show(element("act"), isStale ? null : button(status, session));
  document.title = `${isStale ? "stale" : sentence.replace(/\.$/, "")} – ha-agent`;
}

function stale() {
  const before = verdict(status).sentence;
  return {
    level: "wait",
    sentence: `No news from ${status.node}.`,
    reasons: `What is shown here is old. Before: ${before} The agent, its machine or the way there may be gone; `
      + "this page tries again by itself.",
  };
}
