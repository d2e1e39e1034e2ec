// What a status means: who is active, whether the pair can fail over, and if not, why.

const SERVING = ["MASTER", "SINGLE"];
/** For how long what a node said of itself counts, in ms. */
const FRESH = 1000;
const MOVING = ["promised", "claiming", "taking", "offering", "granting", "releasing", "granted"];

/** Both nodes as they are shown: this one, and the other as far as it is known. */
export function nodes(status) {
  const own = {
    name: status.node, isThis: true, role: status.role, version: status.version, maintenance: status.maintenance,
    age: null, uptime: status.uptime_s, since: ago(status, status.uptime_s), interfaces: interfaces(status), phase: status.pair?.phase ?? null,
    reasons: status.reasons.filter((reason) => !isRemote(reason)),
  };
  const told = status.peer;
  // What it was before it fell silent, or before this node took over, it may be no longer.
  const isFresh = Boolean(told) && told.age_ms < Math.min(FRESH, served(status)) && status.pair?.verdict !== "dead";
  const other = {
    name: told?.node ?? status.peer_link?.peer?.name ?? null, isThis: false, role: isFresh ? told.role : carpRole(status),
    uptime: isFresh ? told.uptime_s : null, since: isFresh ? ago(status, told.uptime_s + told.age_ms / 1000) : null,
    version: told?.version ?? null, maintenance: told?.maintenance ?? false, age: told?.age_ms ?? null,
    interfaces: told ? Object.entries(told.interfaces) : [], phase: status.pair?.peer ?? null,
    reasons: status.reasons.filter(isRemote), heard: heard(status), told: isFresh,
  };
  // On both pages the same one is on the left.
  return status.pair?.side === "b" ? [other, own] : [own, other];
}

/** The headline: a level, a sentence, and what stands in the way. */
export function verdict(status) {
  const [left, right] = nodes(status);
  const [own, other] = left.isThis ? [left, right] : [right, left];
  const active = [own, other].filter((node) => SERVING.includes(node.role));
  const blocks = status.reasons.filter((reason) => reason.blocks.length > 0);
  const worst = (level) => (status.reasons.some((reason) => reason.severity === "critical") ? "bad" : level);
  const say = (level, sentence, reasons = []) => ({ level, sentence, reasons });

  if (active.length === 2) return say("bad", "Both nodes are active.", status.reasons);
  if (MOVING.includes(status.pair?.phase) || [own, other].some((node) => node.role === "IMPORTING")) {
    return say("moving", moving(status, own, other), blocks);
  }
  if (own.role === "ERROR" && active.length === 0) return say("bad", `${own.name} can't serve.`, status.reasons);
  if (active.length === 0) {
    const sentence = own.role === "ELECTING" ? "No node is active: it is being decided." : "No node is known to be active.";
    return say(own.role === "ELECTING" && blocks.length === 0 ? "warn" : "bad", sentence, status.reasons);
  }
  const [server] = active;
  const standby = server === own ? other : own;
  if (server === own && own.role === "SINGLE") {
    return say(worst("warn"), `${own.name} is active, alone: no other node is known.`, status.reasons);
  }
  const ways = server === own ? ["switchover_away"] : ["automatic_failover", "switchover_here"];
  const inTheWay = status.reasons.filter((reason) => reason.blocks.some((action) => ways.includes(action)));
  const isAbsent = !standby.isThis && !standby.told && !standby.heard && Boolean(status.peer_link);
  if (inTheWay.length || standby.role === "ERROR" || isAbsent) {
    return say(worst("warn"), `${title(server)} is active, but ${title(standby)} can’t take over.`, inTheWay.length ? inTheWay : status.reasons);
  }
  if (!standby.isThis && !standby.told) {
    return say(worst("good"), `${title(server)} is active. Whether another node is ready is not known here.`, status.reasons);
  }
  return say(worst("good"), `${title(server)} is active, ${title(standby)} is ready to take over.`, []);
}

/** How a node is called. */
export function title(node) {
  return node.name ?? "the other node";
}

/** The sentence of a reason in its parts. */
export function parts(reason) {
  const text = reason.sentence.startsWith(`${reason.name}: `) ? reason.sentence.slice(reason.name.length + 2) : reason.sentence;
  const at = text.lastIndexOf("; ");
  return at < 0 ? { cause: capital(text), remedy: null } : { cause: capital(text.slice(0, at)), remedy: capital(text.slice(at + 2)) };
}

/** How a role looks, and what it says. */
export function role(node) {
  const known = {
    MASTER: ["good", "Active"], SINGLE: ["good", "Active, alone"], BACKUP: ["off", "Standing by"],
    ELECTING: ["wait", "Deciding"], IMPORTING: ["moving", "Taking over"], ERROR: ["bad", "Can’t serve"],
    UNKNOWN: ["wait", "Not known"],
  };
  return known[node.role] ?? ["wait", node.role ?? "Not known"];
}

/** The peer's name, to fail over to, and from whom. */
export function direction(status) {
  const own = status.node;
  const other = status.peer?.node ?? status.peer_link?.peer?.name ?? "the other node";
  return status.pair?.serving ? { from: own, to: other } : { from: other, to: own };
}

/** All changes of all virtual hosts, the newest first. Those that came together are one. */
export function changes(status) {
  const all = status.vhosts.flatMap((vhost) => vhost.history.map((change) => ({ ...change, vhosts: [vhost.name] })));
  all.sort((a, b) => b.at_ns - a.at_ns);
  const together = [];
  for (const change of all) {
    const before = together.at(-1);
    const isSame = before && before.to === change.to && before.cause === change.cause && before.at_ns - change.at_ns < 1e8;
    if (isSame) before.vhosts.push(...change.vhosts);
    else together.push(change);
  }
  return together;
}

/** The moment so many seconds ago. */
function ago(status, seconds) {
  return new Date(new Date(status.as_of) - seconds * 1000).toISOString();
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function moving(status, own, other) {
  const phase = status.pair?.phase;
  if (["promised", "claiming", "taking"].includes(phase)) return `${own.name} is taking over from ${title(other)}.`;
  if (["offering", "granting", "releasing", "granted"].includes(phase)) return `${own.name} is handing over to ${title(other)}.`;
  const taker = own.role === "IMPORTING" ? own : other;
  return `${title(taker)} is taking over.`;
}

/** For how long this node has served at least, in ms; for ever if it does not. */
function served(status) {
  const masters = status.vhosts.filter((vhost) => vhost.state === "MASTER").map((vhost) => vhost.since_s * 1000);
  return Math.min(Infinity, ...masters);
}

function isRemote(reason) {
  return reason.name.startsWith("REM_");
}

function interfaces(status) {
  const all = {};
  for (const vhost of status.vhosts) all[vhost.interface] = (all[vhost.interface] ?? false) || vhost.state !== "INIT";
  return Object.entries(all);
}

/** Whom a virtual host heard last. */
function heard(status) {
  const peers = status.vhosts.map((vhost) => vhost.peer).filter(Boolean);
  return peers.sort((a, b) => a.age_ms - b.age_ms)[0] ?? null;
}

/** What its advertisements say of a node that can't be asked. */
function carpRole(status) {
  const isHeard = status.vhosts.some((vhost) => vhost.state === "BACKUP" && vhost.peer && vhost.peer.age_ms <= vhost.master_down_ms);
  return isHeard ? "MASTER" : null;
}
