// The panels below the headline.

import { count, h, minute, ms, plural, prose, seconds, sign, table, time } from "./dom.js";
import { capital, changes, nodes, parts, role } from "./story.js";
import { arrivals, histogram, steps, takeover } from "./charts.js";

/** So many virtual hosts have a chart: those that were closest to a takeover. */
const CHARTS = 4;

/** All of them. What the headline says of a reason already is not said twice. */
export function panels(status, said) {
  const names = new Set(said.map((reason) => reason.name));
  return [controllers(status, names), vhosts(status), charge(status), history(status), heard(status), timing(status.detector), around(status)];
}

/** Reasons, each with its remedy, if that is not said elsewhere. */
export function reasons(list, said = new Set()) {
  const item = (reason) => {
    const { cause, remedy } = parts(reason);
    const level = { critical: "bad", warning: "warn", note: "off" }[reason.severity];
    return h("li.reason", { "data-key": reason.name },
      sign(level, 18),
      h("div", {},
        h("p.cause", {}, prose(cause), " ", h("code.name", {}, reason.name)),
        remedy && !said.has(reason.name) && h("p.remedy", {}, prose(remedy), ".")));
  };
  return list.length ? h("ul.reasons", {}, list.map(item)) : null;
}

function panel(key, name, ...children) {
  const id = `${key}-title`;
  return h(`section.panel.panel-${key}`, { "aria-labelledby": id, "data-key": key }, h("h2", { id }, name), ...children);
}

function controllers(status, said) {
  const [left, right] = nodes(status);
  return panel("controllers", "Controllers", h("div.nodes", {}, card(left, said), link(status.peer_link), card(right, said)));
}

function card(node, said) {
  const [level, word] = role(node);
  const isNobody = !node.isThis && !node.told && !node.heard && !node.name;
  if (isNobody) {
    return h("article.node.nobody", { "data-level": "off" },
      h("h3", {}, "No other node"), h("p", {}, "None was heard, and none was introduced."));
  }
  const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  const wired = ([name, has]) => {
    const level = has ? "good" : "bad";
    return h("span.link", { "data-level": level }, sign(level, 14), has ? name : `${name} has no link`);
  };
  const links = node.interfaces.map(wired);
  return h("article.node", { "data-level": level, "data-key": node.isThis ? "this" : "other" },
    h("h3", {}, node.name ?? "Another node", node.isThis && h("span.tag", {}, "this node")),
    h("p.role", { "data-level": level }, sign(level, 20), word, node.maintenance && h("span.tag.held", {}, "held by an operator")),
    h("dl.facts", {},
      node.phase && node.phase !== "active" && node.phase !== "standby" ? fact("Phase", node.phase) : null,
      node.version ? fact("Version", node.version) : null,
      node.uptime !== null ? fact("Up", seconds(node.uptime), h("span.dim", {}, "since ", minute(node.since))) : null,
      node.age !== null ? fact("Last word", `${ms(node.age)} ago`) : null,
      node.heard && node.age === null ? fact("Heard", `${ms(node.heard.age_ms)} ago, from ${node.heard.address}`) : null,
      links.length ? fact("Interfaces", ...links) : null),
    reasons(node.reasons, said) ?? (node.isThis || node.told ? h("p.fine", {}, "Nothing stands in its way.") : null));
}

function link(link) {
  if (!link) return h("div.wire", { "data-level": "off" }, h("span.wire-line"), h("p", {}, "no link between the agents"));
  const level = { up: "good", not_answering: "warn", down: "bad", unpaired: "off" }[link.state] ?? "off";
  const words = link.state === "up" ? `link, ${ms(link.round_trip_ms)} there and back` : link.sentence;
  return h("div.wire", { "data-level": level }, h("span.wire-line", {}, sign(level, 18)), h("p", {}, words));
}

function vhosts(status) {
  const states = {
    MASTER: ["good", "Master"], BACKUP: ["off", "Backup"], INIT: ["bad", "No link"],
    STALLED: ["wait", "Listens"], LEAVING: ["moving", "Leaves"],
  };
  const row = (vhost) => {
    const [level, word] = states[vhost.state] ?? ["wait", vhost.state];
    const refused = Object.entries(vhost.refused).filter(([, number]) => number > 0);
    return [vhost.name,
      [vhost.name, h("span.dim", {}, `vhid ${vhost.vhid} on ${vhost.interface}`)],
      [h("span.state", { "data-level": level }, sign(level, 16), word), h("span.dim", {}, `for ${seconds(vhost.since_s)}`)],
      vhost.addresses.map((address) => h("span.address", {}, address)),
      vhost.peer ? [vhost.peer.address, h("span.dim", {}, `heard ${ms(vhost.peer.age_ms)} ago`)] : h("span.dim", {}, "none heard"),
      [`every ${ms(vhost.interval_ms)}`, h("span.dim", {}, `takeover after ${ms(vhost.master_down_ms)}`),
        isHeard(vhost) ? h("span.dim", {}, `least margin ${ms(vhost.least_margin_ms)}`) : null],
      refused.length ? refused.map(([reason, number]) => h("span.line", {}, `${count(number)} ${reason}`)) : h("span.dim", {}, "none"),
      remarks(vhost)];
  };
  const names = ["Virtual host", "State", "Addresses", "Other node", "Pace", "Refused frames", "Remarks"];
  return panel("vhosts", "Virtual hosts", table(names, status.vhosts.map(row)));
}

function remarks(vhost) {
  const said = [
    vhost.fault && h("span.line.alarm", {}, vhost.fault),
    ...vhost.suspicions.map((suspicion) => h("span.line.alarm", {}, suspicion.sentence)),
    vhost.receive && vhost.receive !== "native" && h("span.line", { title: vhost.receive_lost }, `received by ${vhost.receive}`),
    vhost.stalls > 0 && h("span.line", {}, `this node stood still ${plural(vhost.stalls, "time")}`),
    vhost.send_errors > 0 && h("span.line.alarm", {}, `${plural(vhost.send_errors, "advertisement")} could not be sent`),
  ].filter(Boolean);
  return said.length ? said : h("span.dim", {}, "none");
}

function charge(status) {
  if (!status.charge) return null;
  const doing = {
    nothing: "This node has none of it.", taking: "This node takes it.", serving: "This node serves it.",
    releasing: "This node lets it go.", unclear: "What this node has of it is not clear.",
  };
  const levels = { done: "good", running: "moving", waiting: "off", skipped: "off", hung: "bad", failed: "bad" };
  const row = (part) => [part.name,
    [part.name, h("span.dim", {}, part.phase.replaceAll("_", " "))],
    h("span.state", { "data-level": levels[part.step] }, sign(levels[part.step], 16), part.step),
    ms(part.step_ms),
    part.faults.length + part.remarks.length === 0 ? h("span.dim", {}, "none")
      : [part.faults.map((fault) => h("span.line.alarm", {}, fault.sentence)), part.remarks.map((remark) => h("span.line", {}, remark))]];
  return panel("charge", "Storage and services",
    h("p.lead", {}, doing[status.charge.doing] ?? status.charge.doing),
    table(["Part", "Step", "Time", "Remarks"], status.charge.parts.map(row)),
    status.charge.last_takeover.length ? [h("h3", {}, "The last takeover, step by step"), steps(status.charge.last_takeover)] : null);
}

function history(status) {
  const all = changes(status);
  const takeovers = all.filter((change) => change.to === "MASTER" && change.announced_ns).slice(0, 5);
  const item = (change) => h("li", { "data-key": `${change.at_ns}` },
    h("p.when", {}, time(change.at), h("strong", {}, named(change.vhosts)), h("span.dim", {}, change.sentence)),
    takeover(change));
  const row = (change) => [`${change.at_ns}`, time(change.at), named(change.vhosts), `${change.from} → ${change.to}`, capital(change.sentence)];
  return panel("history", "Last failovers",
    status.pair?.last_sentence && h("p.lead", {}, `The last switchover of this node: ${status.pair.last_sentence}.`),
    takeovers.length ? h("ol.takeovers", {}, takeovers.map(item)) : h("p.fine", {}, "This node has not taken over since its agent began."),
    all.length ? h("details", { "data-key": "all" }, h("summary", {}, all.length === 1 ? "1 change of state" : `${all.length} changes of state`),
      table(["When", "Virtual host", "Change", "Cause"], all.slice(0, 50).map(row))) : null);
}

function named(names) {
  return names.length > 2 ? `${names[0]} and ${names.length - 1} more` : names.join(" and ");
}

/** How regularly the master is heard, and how close that came to a takeover. */
function heard(status) {
  const all = status.vhosts.filter(isHeard);
  const share = (vhost) => vhost.least_margin_ms / vhost.master_down_ms;
  const closest = new Set([...all].sort((a, b) => share(a) - share(b)).slice(0, CHARTS));
  const more = all.length - closest.size;
  const nobody = status.vhosts.some((vhost) => vhost.state === "MASTER")
    ? "This node is the master: how regularly it is heard is seen on the other node’s page." : "No master is heard.";
  return panel("heard", "Heard in time",
    all.length ? [
      h("p.lead", {}, "How long after one advertisement the next one came. What was left until the takeover is the margin."),
      h("div.charts", {}, all.filter((vhost) => closest.has(vhost)).map(arrivals)),
      h("p.dim", {}, "The heights are logarithmic.", more ? ` ${more} more had more of their margin left; it stands with each virtual host.` : ""),
    ] : h("p.fine", {}, nobody));
}

function isHeard(vhost) {
  return vhost.state === "BACKUP" && vhost.arrivals_ms.length > 0;
}

function timing(detector) {
  const { lateness, jitter, realtime, lease } = detector;
  const refused = realtime.refused.map((sentence) => h("li.reason", {}, sign("warn", 18), h("div", {}, h("p.cause", {}, sentence))));
  // Both on the same scale, with the interval on it.
  const within = (bucket) => bucket.le_ms !== null && bucket.le_ms <= lateness.interval_ms;
  const used = ({ buckets }) => buckets.findLastIndex((bucket) => bucket.count > 0) + 1;
  const range = 1 + Math.max(lateness.buckets.filter(within).length, used(lateness), used(jitter));
  return panel("timing", "On time",
    h("div.charts", {},
      histogram("How late the detector ran",
        "From the moment at which something was due, or came, to the moment at which it was read.",
        lateness, range, lateness.interval_ms,
        lateness.late ? `${plural(lateness.late, "time")} later than an interval` : "never later than an interval"),
      histogram("How late advertisements left",
        "From the moment at which one was due to the moment at which it had left.",
        jitter, range, lateness.interval_ms,
        jitter.missed ? `${plural(jitter.missed, "advertisement")} missed` : "none missed")),
    h("p.dim", {}, [
      realtime.priority ? `real-time priority ${realtime.priority}` : "no real-time priority",
      realtime.memory_locked ? "memory locked" : "memory not locked",
      lease.lapses ? `quiet ${plural(lease.lapses, "time")}, because the detector did not run` : null,
      detector.cpu_us_per_advertisement ? `${detector.cpu_us_per_advertisement.toFixed(0)} µs of processor time an advertisement` : null,
    ].filter(Boolean).join(" · ")),
    refused.length ? h("ul.reasons", {}, refused) : null);
}

function around(status) {
  const { witness, shared, peer_link: link } = status;
  const row = (name, level, ...words) => h("div.fact", { "data-key": name }, h("dt", {}, sign(level, 16), name), h("dd", {}, ...words));
  const levels = { up: "good", not_answering: "warn", down: "bad", unpaired: "off" };
  const path = (path) => row(`Path ${path.address}`, levels[path.state] ?? "off",
    path.state === "up" ? `${ms(path.round_trip_ms)} there and back` : path.sentence);
  const rows = [
    ...(link?.paths ?? []).map(path),
    witness && row(`Witness (${witness.kind})`, witness.error ? "warn" : "good", witnessed(witness)),
    shared && row("Shared configuration", shared.trouble || shared.waits ? "warn" : "good", agreed(shared)),
  ].filter(Boolean);
  return rows.length ? panel("around", "Between the nodes", h("dl.around", {}, rows)) : null;
}

function witnessed({ error, vouches_ms: vouches, holder }) {
  if (error) return error;
  if (vouches) return `vouches for this node for ${ms(vouches)} more`;
  return holder ? `the lease is ${holder}’s` : "answers";
}

function agreed({ trouble, waits, version, agreed: ofBoth }) {
  return trouble ?? waits ?? `version ${version}, ${ofBoth === version ? "agreed" : `agreed is ${ofBoth}`}`;
}
