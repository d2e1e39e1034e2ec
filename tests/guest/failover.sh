# Two agents on a cable, the plainest case: that the guest is fit for the others.

. /tests/lib/pair.sh

nodes a b
wire a eth0 b eth0
ip -n a address add 10.77.0.1/24 dev eth0
ip -n b address add 10.77.0.2/24 dev eth0
configure a eth0 0 10.77.0.100/24
configure b eth0 10 10.77.0.100/24

[ -e /sys/kernel/btf/vmlinux ] || fail "the kernel has no BTF"
check a || fail "check should find nothing"
failover eth0 10.77.0.100/24
