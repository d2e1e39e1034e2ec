// The planned failover: asked for once more, then told step by step.

import { h, ms, prose, show, sign } from "./dom.js";
import { capital, direction } from "./story.js";
import { reasons } from "./panels.js";

const dialog = document.getElementById("dialog");
let running = false;
// What is shown last: elements outlive it, and so do their listeners.
let status = null;
let to = null;

/** The button, where it may be pressed. */
export function button(now, session) {
  status = now;
  if (!session.may_act || !status.pair) return null;
  const kind = blockers().length ? "button" : "button.primary";
  return h(kind, { type: "button", onclick: ask, "aria-haspopup": "dialog" }, `Fail over to ${direction(status).to}…`);
}

function ask() {
  if (running) return dialog.showModal();
  const { from, to: target } = direction(status);
  to = target;
  const inTheWay = blockers();
  const storage = status.charge ? ` ${from} first lets go of pools, mounts and services, and ${to} takes them; if that fails, they go back.` : "";
  show(dialog, h("form.ask", { method: "dialog", "data-key": "ask" },
    h("h2", { id: "dialog-title" }, `Move the active role to ${to}?`),
    h("p", {}, `${from} hands over in order, and clients notice a short pause.${storage}`),
    inTheWay.length ? [h("p.alarm", {}, "It will be refused as long as this is so:"), reasons(inTheWay)] : null,
    h("div.buttons", {},
      h("button", { value: "cancel", autofocus: true }, "Leave it"),
      h("button.primary", { type: "button", id: "confirm", onclick: go }, `Fail over to ${to}`))));
  dialog.showModal();
}

function blockers() {
  const action = status.pair.serving ? "switchover_away" : "switchover_here";
  return status.reasons.filter((reason) => reason.blocks.includes(action));
}

async function go() {
  running = true;
  const steps = new Map();
  const draw = (end) => show(dialog, progress([...steps.values()], end));
  draw(null);
  try {
    const response = await fetch("/api/failover", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ to }) });
    if (!response.ok) throw new Error(await cause(response));
    let end = null;
    for await (const reply of lines(response.body)) {
      if (reply.progress) steps.set(reply.progress.step, reply.progress);
      if (reply.error) throw new Error(reply.error);
      end = reply.ended ?? end;
      draw(end);
    }
    if (!end) throw new Error("the agent said no more; look at the headline for how it stands");
  } catch (error) {
    draw({ error: error.message });
  } finally {
    running = false;
    // The button that had the focus is gone.
    dialog.querySelector("button")?.focus();
  }
}

function progress(steps, end) {
  const levels = { running: "moving", done: "good", failed: "bad" };
  const item = (step) => h("li", { "data-key": step.step, "data-level": levels[step.standing] },
    sign(levels[step.standing], 20), h("span", {}, capital(step.sentence)), h("b", {}, step.standing === "running" ? "…" : ms(step.after_ms)));
  return h("div.ask", { "data-key": "progress" },
    h("h2", { id: "dialog-title" }, `Failing over to ${to}`),
    h("ol.progress", { "aria-live": "polite" },
      steps.map(item),
      steps.length || end ? null : h("li", { "data-key": "none" }, sign("moving", 20), h("span", {}, "Ordered"))),
    end ? result(end) : null,
    h("div.buttons", {}, end ? h("button.primary", { type: "button", "data-key": "close", onclick: () => dialog.close() }, "Close") : null));
}

function result(end) {
  const said = (level, words) => h("p.result", { role: "alert", "data-level": level }, sign(level, 22), h("span", {}, prose(words)));
  if (end.error) return said("bad", capital(end.error));
  return said(end.end === "moved" ? "good" : "warn", `${capital(end.sentence)}, after ${ms(end.after_ms)}.`);
}

async function cause(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the agent answered ${response.status}`;
  }
}

/** The replies, one a line, as they come. */
async function* lines(body) {
  const decoder = new TextDecoder();
  let text = "";
  const reader = body.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    text += decoder.decode(value ?? new Uint8Array(), { stream: !done });
    const whole = text.split("\n");
    text = whole.pop();
    for (const line of whole.filter(Boolean)) yield JSON.parse(line);
    if (done) return;
  }
}
