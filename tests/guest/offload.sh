# What becomes of a VLAN's advertisements where a virtual host without VLAN listens on the parent: with the tags in
# the frames they are told apart; without, the kernel shows XDP the same frame for both.

. /tests/lib/pair.sh

# stray SENDER LISTENER: how many of the advertisements of a, on SENDER, does b accept on LISTENER within a second?
stray() {
    local before
    configure a "$1" 0 10.77.0.100/24
    configure b "$2" 10 10.77.0.100/24
    start b
    becomes b MASTER >/dev/null
    start a
    becomes a MASTER >/dev/null
    before=$(accepted b)
    sleep 1
    stray=$(($(accepted b) - before))
    say "$3: b accepts on $2 ($(attached b)) $stray of the advertisements on $1"
    stop a
    stop b
}

nodes a b
wire a eth0 b eth0
for node in a b; do
    ip -n $node link add link eth0 name eth0.5 type vlan id 5
    ip -n $node link set eth0.5 up
done

in_node a ethtool -K eth0 txvlan off
stray eth0.5 eth0 "tags in the frames"
[ "$stray" = 0 ] || fail "frames of a VLAN are not for those without"
in_node a ethtool -K eth0 txvlan on
stray eth0.5 eth0 "tags beside the frames"
