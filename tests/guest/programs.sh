# The verifier takes every program, attached or not; a kernel that is too old is told so. What else the kernel lacks.

. /tests/lib/kernel.sh

# #1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (DATE)
fact package "$(uname -v | sed -n 's/.*Debian \([^ ]*\).*/\1/p')"

# What an old kernel does without, as it is called in the table, and the constant that it is known by.
lacks=
while read -r constant name; do
    knows "$constant" || lacks+="${lacks:+, }$name"
done <<'END'
BPF_PROG_TYPE_RAW_TRACEPOINT raw tracepoints
BPF_LINK_TYPE_XDP XDP links that can be pinned
BPF_FUNC_timer_init timers
BPF_F_TIMER_ABS timers at a given moment
BPF_TCX_INGRESS tcx
BPF_F_TIMER_CPU_PIN timers that stay on their processor
END
fact lacks "${lacks:-nothing}"

if ! is_new_enough; then
    says_too_old ha-agent bpf verify || { echo "it should say that the kernel is too old"; exit 1; }
    fact programs "refused: needs Linux 5.15"
    exit
fi

ha-agent bpf verify >/run/verified || { cat /run/verified; exit 1; }
cat /run/verified
programs=
while read -r name _ instructions _; do
    programs+="${programs:+, }${name%:} $instructions"
done </run/verified
fact programs "$programs"
