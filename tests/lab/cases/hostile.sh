# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 400
# A guest that touches what was unplugged, inflates with wild page numbers, asks virtio-mem for blocks
# outside, and acknowledges nothing. Its other vCPU and another VM do their checked work all the while;
# samara answers, counts each event, and tells each kind once.
NOTHING=0x140000000
# The other VM.
guest_script <<'SCRIPT'
while :; do
	echo "guest: other: $(fill 16)"
	sleep 0.2
done
SCRIPT
add_to_initrd /lab/bin/fill bin/fill
cp "$CASE/initrd" "$CASE/initrd-other"
boot_background --initrd "$CASE/initrd-other" --cpus 1 --memory 128M --qmp "unix:$CASE/qmp-other" \
	--serial "file:$CASE/out/console-other"
other_pid=$pid

guest_script <<'SCRIPT'
# Nobody hears of memory devices any more.
for event in /sys/bus/platform/drivers/acpi-ged/ACPI*; do
	basename "$event" >/sys/bus/platform/drivers/acpi-ged/unbind
done
(while taskset 2 fill 16; do sleep 0.2; done | sed 's/^/guest: neighbour: /') &
echo "guest: ready with $(ls -d /sys/bus/platform/drivers/acpi-ged/ACPI* 2>/dev/null | wc -l) event devices"
taskset 1 hostile touch 0x140000000 4 2
taskset 1 hostile touch 0x140000000 4 20
taskset 1 hostile balloon
taskset 1 hostile mem
echo "guest: has done its worst"
while :; do
	sleep 1
done
SCRIPT
add_to_initrd /lab/bin/fill bin/fill
add_to_initrd /lab/bin/hostile bin/hostile

# neighbour_works: its check ends well three times more.
neighbour_works() {
	works=$(count_lines '^guest: neighbour: filled 16 MiB: 0 pages wrong')
	wait_line '^guest: neighbour: filled 16 MiB: 0 pages wrong' $((works + 3))
}

# counted NAME: what the guest says that it did.
counted() {
	tr -d '\r' <"$CONSOLE" | sed -n "s/^guest: $1 \([0-9]*\) .*/\1/p"
}

counter() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n "s/^$1 *//p"
}

# told PATTERN: by exactly one line.
told() {
	expect_line "$1" "$CASE/out/messages"
	[ "$(count_lines "$1" "$CASE/out/messages")" -eq 1 ] || fail "told more than once: $1"
}

boot_background --memory 256M,max=4G,slots=4 --cpus 2 --qmp "unix:$SOCKET" \
	--virtio-mem id=mem0,size=1G --balloon 2>"$CASE/out/messages"
wait_line '^guest: ready with 0 event devices'

wait_line '^guest: touched 2048 pages, 0 with'
[ "$(counter faults-nothing)" -ge 1024 ] || fail "accesses to nothing are not counted"
# It goes on touching what comes and goes.
for round in 1 2 3; do
	ctl plug $NOTHING 4M
	usleep 300000
	ctl unplug $NOTHING 4M
done
wait_line '^guest: has done its worst'
neighbour_works
expect_line '^guest: touched 20480 pages, 0 with'
ctl regions
expect_no_line "$NOTHING" "$CASE/ctl"
told 'the guest accesses 0x14[0-9a-f]*, where no memory is plugged \(told once'

execute qom-get '{"path":"/machine/peripheral/balloon0","property":"x-samara-counters"}'
[ "$(virtio balloon0 wild-pages)" -eq "$(counted named)" ] || fail "wild pages are not counted"
told 'balloon: the driver names pages where there is no memory, .*\(told once'
[ "$(virtio mem0 refused)" -eq "$(counted 'asked for')" ] || fail "wrong blocks are not counted"
expect_line '^guest: asked for [0-9]+ wrong blocks, 0 not refused'
expect_line '^guest: a right question: answered'
told 'mem0: the driver wants to .* blocks at .*\(told once'

# No driver is left: whatever it is asked for, it says nothing.
ctl_refuses 'the guest has not answered within 2 s' resize 512M --timeout 2
ctl_refuses 'the guest has not answered within 2 s' balloon 128M --timeout 2
ctl_refuses 'the guest has not answered within 2 s' plug 128M --id dimm0 --timeout 2
ctl_refuses 'the guest has not answered within 2 s' unplug dimm0 --timeout 2
until [ "$(counter memory-reminders)" -ge 12 ]; do
	kill -0 "$pid" 2>/dev/null || fail "samara ended while its guest was silent"
	usleep 500000
done
told 'memory slots: the guest does not ask what there is to tell'
ctl devices
expect_line '^dimm0 ' "$CASE/ctl"

neighbour_works
expect_no_line '^guest: neighbour: filled .* [1-9][0-9]* pages wrong'
other=$(count_lines '^guest: other: filled 16 MiB: 0 pages wrong' "$CASE/out/console-other")
until [ "$(count_lines '^guest: other: filled 16 MiB: 0 pages wrong' "$CASE/out/console-other")" -ge $((other + 3)) ]; do
	kill -0 "$other_pid" 2>/dev/null || fail "the other VM ended"
	usleep 100000
done
expect_no_line '^guest: other: filled .* [1-9][0-9]* pages wrong' "$CASE/out/console-other"
expect_no_line 'BUG:|Oops|Kernel panic' "$CASE/out/console-other"
"$SAMARA" ctl "$CASE/qmp-other" quit
[ "$(wc -l <"$CASE/out/messages")" -eq 4 ] || fail "samara told of more: $(cat "$CASE/out/messages")"
ctl status
expect_line '^running$' "$CASE/ctl"
expect_healthy
ctl quit
wait_guest
expect_status 0
