# Two agents on a cable, the plainest case: that the guest is fit for the others, and how soon the backup notices.

. /tests/lib/pair.sh

pins=/run/bpf
nodes a b
wire a eth0 b eth0
ip -n a address add 10.77.0.1/24 dev eth0
ip -n b address add 10.77.0.2/24 dev eth0
configure a eth0 0 10.77.0.100/24
configure b eth0 10 10.77.0.100/24

[ -e /sys/kernel/btf/vmlinux ] || fail "the kernel has no BTF"
if ! is_new_enough && says_too_old check a; then
    says_too_old agent a || fail "the agent should not run"
    fact failover "refused: needs Linux 5.15"
    exit
fi
check a || fail "check should find nothing"
failover eth0 10.77.0.100/24
[ "$(pinned b)" ] && fail "an agent that leaves in order should leave nothing pinned"
fact failover "$noticed"
