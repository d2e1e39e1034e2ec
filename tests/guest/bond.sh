# A virtual host on a bond (active-backup) of two cables to a switch.
#
# The switch floods advertisements to both cables. A program on the bond in native mode runs in both slaves' drivers:
# it sees the slave's interface number, every frame twice, and the node's own frames on the other cable. In generic
# mode it runs once, after the bond has dropped what came by the inactive slave.

. /tests/lib/pair.sh

active() { ip -n "$1" -d link show bond0 | sed -n 's/.* active_slave \([^ ]*\).*/\1/p'; }
is_active() { [ "$(active "$1")" = "$2" ]; }

nodes a b switch
ip -n switch link add br0 type bridge mcast_snooping 0 forward_delay 0
ip -n switch link set br0 up
for node in a b; do
    ip -n $node link add bond0 type bond mode active-backup miimon 100
    for i in 0 1; do
        ip link add eth$i netns $node type veth peer name $node$i netns switch
        ip -n switch link set $node$i master br0 up
        ip -n $node link set eth$i master bond0
        ip -n $node link set eth$i up
    done
    ip -n $node link set bond0 up
done
ip -n a address add 10.77.0.1/24 dev bond0
ip -n b address add 10.77.0.2/24 dev bond0
configure a bond0 0 10.77.0.100/24
configure b bond0 10 10.77.0.100/24

check a || fail "check should find nothing"
failover bond0 10.77.0.100/24

start a
becomes a MASTER
start b
becomes b BACKUP
for node in a b; do
    for slave in eth1 eth0; do
        ip -n $node link set bond0 type bond active_slave $slave
        within 5 is_active $node $slave || fail "$slave should be active in $node"
        hears b
        is_in_state b BACKUP || fail "b should stay BACKUP"
        say "b hears a by $slave of $node"
    done
done

ip -n switch link set b0 down
within 5 is_active b eth1 || fail "eth1 should become active in b"
hears b
is_in_state b BACKUP || fail "b should stay BACKUP"
say "b hears a after the cable of its active slave was cut"
status b

stop a
becomes b MASTER
gets_address b bond0 10.77.0.100/24
