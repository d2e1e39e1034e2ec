# Virtual hosts on VLAN interfaces: 802.1Q, and 802.1Q in 802.1ad (QinQ).
#
# A sender whose driver takes the tag separately (tx-vlan-offload; the default, also of veth) hands it to a veth peer
# beside the frame, as a network card with rx-vlan-offload does that takes it off: XDP on the parent then sees a
# frame without it. XDP on the VLAN interface itself is generic, and right in both cases.

. /tests/lib/pair.sh

# offload on|off: whether tags travel beside the frames. What a node receives depends on the other's tx side.
offload() {
    local node
    for node in a b; do
        in_node "$node" ethtool -K eth0 txvlan "$1" tx-vlan-stag-hw-insert "$1" rxvlan "$1" rx-vlan-stag-hw-parse "$1"
    done
}

# on IFACE NET: both nodes are configured for it.
on() {
    configure a "$1" 0 "$2.100/24"
    configure b "$1" 10 "$2.100/24"
}

nodes a b
wire a eth0 b eth0
for node in a b; do
    ip -n $node link add link eth0 name eth0.5 type vlan id 5
    ip -n $node link add link eth0 name eth0.100 type vlan protocol 802.1ad id 100
    ip -n $node link add link eth0.100 name eth0.100.7 type vlan id 7
    for iface in eth0.5 eth0.100 eth0.100.7; do ip -n $node link set $iface up; done
done
ip -n a address add 10.5.0.1/24 dev eth0.5
ip -n b address add 10.5.0.2/24 dev eth0.5
ip -n a address add 10.7.0.1/24 dev eth0.100.7
ip -n b address add 10.7.0.2/24 dev eth0.100.7

for vlan in "eth0.5 10.5.0" "eth0.100.7 10.7.0"; do
    read -r iface net <<<"$vlan"
    on "$iface" "$net"

    say "$iface, tags in the frames"
    offload off
    check b || fail "check should find nothing"
    failover "$iface" "$net.100/24"

    say "$iface, tags beside the frames"
    offload on
    if (failover "$iface" "$net.100/24"); then
        say "works all the same"
    else
        { check b 2>&1 || true; } | grep -i offload || fail "check should warn of the offload"
        for node in a b; do stop $node 2>/dev/null || true; done
    fi
done

# Last, because it is a matter of speed, not of function.
offload off
for vlan in "eth0.5 10.5.0" "eth0.100.7 10.7.0"; do
    on $vlan
    start b
    becomes b MASTER
    [ "$(attached b)" = "eth0 driver" ] || fail "it should attach to the parent's driver, not to $(attached b)"
    check a | grep -E '\<eth0($|[^.0-9])' || fail "check should say that it attaches to eth0"
    stop b TERM
done
