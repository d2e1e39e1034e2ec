# What the guest's tests share about its kernel. To be sourced by bash.

set -euo pipefail

# fact NAME VALUE...: goes into the report, and from there into docs/kernels.md.
fact() { printf 'fact %s\n' "$*" >>/run/facts; }

# knows NAME: whether the kernel has a constant of that name in its interface, by its own type information.
knows() { grep -azqFx "$1" /sys/kernel/btf/vmlinux; }

# Whether the kernel has all that the BPF programs are made of; the timer is the youngest of it (Linux 5.15).
is_new_enough() { knows BPF_FUNC_timer_init; }

# says_too_old COMMAND...: it must fail, and name the kernel that is needed.
says_too_old() {
    local said
    ! said=$("$@" 2>&1)
    local failed=$?
    echo "$said"
    [[ $failed = 0 && $said == *"needs 5.15 or later"* ]]
}
