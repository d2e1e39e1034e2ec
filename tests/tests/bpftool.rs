//! What `bpftool` shows of a running agent: program and maps by readable names, with typed fields.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use ha_common::reason::Reason;
use lab::{AgentConfig, Node, Pair};
use serde_json::{Value, json};

#[test]
fn bpftool_shows_program_and_maps_by_name_with_typed_fields() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let pair = Pair::new("bpftool")?;
    let standby = AgentConfig { advskew: 100, ..AgentConfig::default() };
    let (_master, agent) = pair.start(&AgentConfig::default(), &standby)?;

    // Other agents may run on this machine: ours is the one that the interface names.
    let attached = attached(&pair.b)?;
    let [attached] = attached.as_slice() else { bail!("attached: {attached:?}") };
    ensure!(attached["devname"] == "eth0" && attached["mode"] == "driver", "{attached}");

    let program = bpftool(&pair.b, &format!("prog show id {}", attached["id"]))?;
    ensure!(program["name"] == "ha_carp" && program["type"] == "xdp", "{program}");
    ensure!(program["gpl_compatible"] == true && program["btf_id"].is_u64(), "{program}");
    let named = bpftool(&pair.b, "prog show name ha_carp")?;
    let named = named.as_array().map_or(std::slice::from_ref(&named), Vec::as_slice);
    ensure!(named.contains(&program), "not found by its name: {named:?}");

    let maps = program["map_ids"].as_array().context("no maps")?;
    let maps = maps.iter().map(|id| bpftool(&pair.b, &format!("map show id {id}")));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let watches = map(&maps, "HA_WATCH", "hash")?;
    let counters = map(&maps, "HA_COUNTERS", "percpu_array")?;
    map(&maps, "HA_EVENTS", "ringbuf")?;

    let dump = bpftool(&pair.b, &format!("map dump id {watches}"))?;
    let slot = dump.pointer("/0/formatted/value/slot").and_then(Value::as_u64).context("no slot")?;
    let watch = json!([{
        "key": {
            "ifindex": attached["ifindex"],
            "outer_vlan": 0,
            "vlan": 0,
            "vhid": 10,
            "family": 4,
            "reserved": [0, 0],
        },
        "value": {
            "slot": slot,
            "host": 1,
            "keys": 0,
            "flags": 0,
            "tolerance_ms": 2000,
            "reserved": 0,
            "group": { "__0": [224, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] },
        },
    }]);
    ensure!(formatted(&dump) == watch, "{dump}");

    let before = counted(&pair.b, counters, slot)?;
    let fields: BTreeSet<_> = before.keys().map(String::as_str).collect();
    let labels = Reason::ALL.iter().map(|reason| reason.label());
    ensure!(fields == labels.chain(["received", "accepted"]).collect(), "{before:?}");
    pair.next_advertisements(20)?;
    let after = counted(&pair.b, counters, slot)?;
    for (name, count) in &after {
        let grows = ["received", "accepted"].contains(&name.as_str());
        ensure!((*count > before[name]) == grows, "{name}: {before:?}, then {after:?}");
    }

    // The agent shows the same without it.
    let shown = Command::new(lab::agent_binary()?).args(["bpf", "show"]).output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let line = format!(
        "{}: xdp  name ha_carp  tag {}  gpl",
        attached["id"],
        program["tag"].as_str().unwrap_or_default()
    );
    ensure!(
        shown.contains(&line) && shown.contains("raw_tracepoint  name ha_exit"),
        "no {line:?} in {shown}"
    );
    for map in &maps {
        let line = format!("{}: ", map["id"]);
        let shown = shown.lines().find(|shown| shown.starts_with(&line)).with_context(|| shown.clone())?;
        ensure!(
            shown.contains(&format!("name {}", map["name"].as_str().unwrap_or_default())),
            "{shown}: {map}"
        );
    }

    agent.leave()?;
    let left = self::attached(&pair.b)?;
    ensure!(left.is_empty(), "still attached: {left:?}");
    Ok(())
}

#[test]
fn the_verifier_takes_every_program() -> Result<()> {
    if !lab::available() {
        return Ok(());
    }
    let verified = Command::new(lab::agent_binary()?).args(["bpf", "verify"]).output()?;
    ensure!(verified.status.success(), "{verified:?}");
    let verified = String::from_utf8(verified.stdout)?;
    let lines: BTreeMap<_, _> = verified.lines().filter_map(|line| line.split_once(": ")).collect();
    ensure!(
        lines.keys().eq(&["ha_carp", "ha_carp_tc", "ha_echo_out", "ha_empty", "ha_exit", "ha_return"]),
        "{verified}"
    );
    ensure!(lines.values().all(|line| line.starts_with("verified_insns ")), "{verified}");
    Ok(())
}

/// The XDP programs on a node's interfaces.
fn attached(node: &Node) -> Result<Vec<Value>> {
    let net = bpftool(node, "net")?;
    net.pointer("/0/xdp").and_then(Value::as_array).cloned().with_context(|| format!("no XDP: {net}"))
}

/// The number of the map of that name and kind.
fn map(maps: &[Value], name: &str, kind: &str) -> Result<u64> {
    let map = maps.iter().find(|map| map["name"] == name);
    let map = map.with_context(|| format!("no {name} among {maps:?}"))?;
    ensure!(map["type"] == kind, "{map}");
    map["id"].as_u64().context("no number")
}

/// What is counted in a slot, by field, of all processors.
fn counted(node: &Node, map: u64, slot: u64) -> Result<BTreeMap<String, u64>> {
    let dump = formatted(&bpftool(node, &format!("map dump id {map}"))?);
    let slots = dump.as_array().context("no slots")?;
    let slot = slots.iter().find(|entry| entry["key"] == slot).context("not this slot")?;
    let processors = slot["values"].as_array().context("no processors")?;
    let mut sums = BTreeMap::new();
    for (name, count) in processors.iter().filter_map(|processor| processor["value"].as_object()).flatten() {
        let count = count.as_u64().with_context(|| format!("{name} is {count}"))?;
        *sums.entry(name.clone()).or_default() += count;
    }
    Ok(sums)
}

/// The typed half of a dump; the other half is bytes.
fn formatted(dump: &Value) -> Value {
    dump.as_array().into_iter().flatten().map(|element| element["formatted"].clone()).collect()
}

/// What `bpftool` prints in a node's namespace; `arguments` are split at spaces.
fn bpftool(node: &Node, arguments: &str) -> Result<Value> {
    let mut command = Command::new("bpftool");
    command.arg("--json").args(arguments.split_whitespace());
    let output = node.netns.run(move || command.output())?.context("is the package bpftool installed?")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "bpftool {arguments}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).with_context(|| format!("bpftool {arguments}: {text}"))
}
