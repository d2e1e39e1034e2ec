# What the guest's tests share: two nodes on a wire, and an agent on each. To be sourced by bash.

. /tests/lib/kernel.sh

# The key, and where each node has its files.
readonly PASSPHRASE=secret
readonly FILES=/run/nodes
# Where what outlives each agent is pinned, if that is wanted: not below /sys, of which every node has its own.
pins=

say() { printf '  %s\n' "$*"; }

fail() {
    say "FAILED: $*"
    for log in "$FILES"/*/log; do
        [ -e "$log" ] || continue
        say "$log:"
        tail -n 30 "$log" | sed 's/^/    /'
    done
    exit 1
}

# Makes the nodes named: a network namespace each, its loopback interface up.
nodes() {
    local node
    for node; do
        ip netns add "$node"
        ip -n "$node" link set lo up
        mkdir -p "$FILES/$node"
    done
    trap clean EXIT
}

# Ends what runs, and deletes the nodes: the next test begins anew.
clean() {
    local node
    for node in $(ip netns list | cut -d' ' -f1); do
        ip netns pids "$node" | xargs -r kill -9
        ip netns delete "$node"
    done
    rm -rf "$FILES" ${pins:+"$pins"/*}
}

# in_node NODE COMMAND...
in_node() { ip netns exec "$@"; }

# wire A IFACE B IFACE: a cable, up.
wire() {
    ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
    ip -n "$1" link set "$2" up
    ip -n "$3" link set "$4" up
}

# configure NODE IFACE ADVSKEW ADDRESS [LINE...]: writes the agent's configuration; each LINE goes into the [[vhost]].
configure() {
    local node=$1 iface=$2 advskew=$3 address=$4
    shift 4
    printf '%s\n' "$PASSPHRASE" >"$FILES/$node/carp.key"
    chmod 600 "$FILES/$node/carp.key"
    {
        printf 'node = "%s"\n[auth]\npassphrase_file = "carp.key"\n' "$node"
        printf '[[vhost]]\nname = "data"\ninterface = "%s"\nvhid = 10\n' "$iface"
        printf 'addresses = ["%s"]\nadvbase = 1\nadvskew = %s\n' "$address" "$advskew"
        printf 'interval = "100ms"\ndetect = 5\n'
        [ $# -eq 0 ] || printf '%s\n' "$@"
    } >"$FILES/$node/ha-agent.toml"
}

# check NODE, status NODE [OPTION...]: `ha-agent` with that command on the node. What check only warns of is not wrong.
check() { in_node "$1" ha-agent check --config "$FILES/$1/ha-agent.toml" --no-listen || [ $? -eq 3 ]; }
status() { in_node "$1" ha-agent status --control "$FILES/$1/control.sock" "${@:2}"; }

# agent NODE: runs its agent.
agent() {
    # In its place: $! of start is the agent then.
    exec ip netns exec "$1" ha-agent run --config "$FILES/$1/ha-agent.toml" --control "$FILES/$1/control.sock" \
        ${pins:+--pins "$pins/$1"}
}

# start NODE: starts its agent.
start() {
    agent "$1" 2>>"$FILES/$1/log" &
    echo $! >"$FILES/$1/pid"
    # The shell says nothing when it is killed.
    disown
}

# stop NODE [SIGNAL]: ends its agent, by default without a farewell.
stop() {
    local pid
    pid=$(cat "$FILES/$1/pid")
    kill -s "${2:-KILL}" "$pid"
    within 10 is_gone "$pid" || fail "the agent of $1 should have ended"
}
is_gone() { ! kill -0 "$1" 2>/dev/null; }

# within SECONDS COMMAND...: repeats the command until it succeeds. The limit is generous: the guest is slow.
within() {
    local limit=$1 start=$SECONDS
    shift
    until "$@"; do
        [ $((SECONDS - start)) -lt "$limit" ] || return 1
        sleep 0.1
    done
}

# Not `grep -q`, here and below: it ends early, and what writes into the pipe fails.
is_in_state() { status "$1" --all 2>/dev/null | grep "^  state *$2," >/dev/null; }

# becomes NODE STATE
becomes() {
    within 30 is_in_state "$1" "$2" || fail "$1 should become $2: $(status "$1" --all 2>&1 || true)"
    say "$1 is $2: $(status "$1" --all | sed -n 's/^  because *//p')"
}

# attached NODE: where its agent receives, by bpftool: the interface, and `driver` (native) or `generic`.
attached() { in_node "$1" bpftool net | sed -n '/^xdp:/,/^$/s/^\([^(]*\)([0-9]*) \([a-z]*\) id.*/\1 \2/p'; }

# accepted NODE: how many advertisements it accepted.
accepted() { status "$1" --all | sed -n 's/^  receive *.*, \([0-9]*\) accepted.*/\1/p'; }

# pinned NODE: what of its agent outlives it, by name.
pinned() { find "$pins/$1" -type f 2>/dev/null -exec basename {} \; | sort | tr '\n' ' '; }

# takeover NODE: its last one after a silence, in ms from the last advertisement that it heard to its patience's end,
# and from there to its own first one. By the guest's clock.
takeover() {
    local json heard deadline advertised
    json=$(status "$1" --json || true)
    heard=$(last_ns last_heard "$json") deadline=$(last_ns deadline "$json") advertised=$(last_ns advertised "$json")
    printf '%s + %s\n' "$(ms $((deadline - heard)))" "$(ms $((advertised - deadline)))"
}
last_ns() { tr ',{}' '\n\n\n' <<<"$2" | sed -n "s/^ *\"$1_ns\": *\([0-9]*\)$/\1/p" | tail -n 1; }
ms() { printf '%d.%02d' $(($1 / 1000000)) $(($1 / 10000 % 100)); }

# hears NODE: it goes on to accept advertisements.
hears() {
    local before
    before=$(accepted "$1")
    within 15 has_accepted_more "$1" $((before + 5)) || fail "$1 should hear advertisements: $(status "$1" --all)"
}
has_accepted_more() { [ "$(accepted "$1")" -ge "$2" ]; }

# gets_address NODE IFACE ADDRESS
gets_address() { within 10 has_address "$@" || fail "$1 should have $3 on $2: $(ip -n "$1" -br address)"; }
has_address() { ip -n "$1" -o address show dev "$2" | grep -F " $3 " >/dev/null; }

# failover IFACE ADDRESS: with configurations on it, a becomes master and b its backup; a is killed, b takes over;
# a comes back as backup, and takes over when b leaves in order. Sets `noticed`: see takeover.
failover() {
    start a
    becomes a MASTER
    gets_address a "$1" "$2"
    start b
    becomes b BACKUP
    hears b
    say "b receives at: $(attached b)"
    [ -z "$pins" ] || [[ $(pinned b) == *ha_exit*link-* ]] || fail "it should outlive b's agent: $(pinned b)"
    stop a
    becomes b MASTER
    gets_address b "$1" "$2"
    noticed=$(takeover b)
    say "b took over after $noticed ms"
    start a
    becomes a BACKUP
    hears a
    stop b TERM
    becomes a MASTER
    stop a TERM
}
