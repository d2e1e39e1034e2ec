# The packet table: each frame through the loaded program (BPF_PROG_TEST_RUN) and through user space's build of the same
# code, which must agree with the table and with each other. What else is in that file takes an emulated processor minutes.

. /tests/lib/kernel.sh

if ! is_new_enough; then
    fact packets "not run"
    exit
fi

# What is printed goes to a file of its own: libtest writes into the middle of its lines.
packets --nocapture --exact the_kernel_treats_every_packet_as_the_table_says 2>/run/packets || { cat /run/packets; exit 1; }
frames=$(sed -n 's/^\([0-9]*\) packets as the table says$/\1/p' /run/packets | head -n 1)
fact packets "${frames:?the test did not run} frames"
