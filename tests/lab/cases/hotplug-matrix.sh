# SPDX-License-Identifier: GPL-2.0-or-later
# vary: WAY acpi-dimm virtio-mem virtio-balloon
# vary: CPUS 1 2 4
# vary: KERNEL 6.12 6.1
# limit: 500
# A stock guest gets more memory and gives it back, again and again, by each way there is; the guest's
# own figures, a program that fills and checks memory, and the host's account say so each time. In the
# middle the guest reboots; after the cycles it does the same with a program in it that holds nearly
# all memory there is. Twice 256 MiB; ten times (CYCLES) 1 GiB with EVERY=1.
cycles=2
STEP_MIB=256
if [ -n "${EVERY:-}" ]; then
	cycles=${CYCLES:-10}
	STEP_MIB=1024
fi
LESS_MIB=448
MORE_MIB=$((LESS_MIB + STEP_MIB))
# What /proc/meminfo must show of it at least: the kernel's array of its pages and more is not there.
STEP_KIB=$((STEP_MIB * 1024 * 95 / 100))
# shellcheck disable=SC1090 # one of three
. "/lab/guests/way-$WAY.sh"

# What samara holds of the host's memory, in KiB, without what it maps of files; and what it counts
# as present of the guest's.
resident() {
	sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}
populated() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n 's/^populated-bytes *//p'
}

# host_has_it_back: no page more than the guest is left with, and not much else in the process.
host_has_it_back() {
	[ "$(populated)" -le $((LESS_MIB << 20)) ] || fail "$(populated) bytes are present of $LESS_MIB MiB"
	[ "$(resident)" -le $(((LESS_MIB + 64) << 10)) ] || fail "samara holds $(resident) KiB"
}

# check_more FULL: the guest has it, and it is memory. FULL: so is nearly all that is free.
check_more() {
	way_guest_has_more
	if [ "$1" = full ]; then
		must_ask 'fill $(($(meminfo MemAvailable) * 85 / 100 / 1024))'
		filled=$(sed -n 's/^filled \([0-9]*\) MiB: 0 pages wrong/\1/p' "$CASE/answer")
		[ "${filled:-0}" -gt "$STEP_MIB" ] || fail "the guest could use ${filled:-0} MiB only"
	else
		must_ask 'fill 200'
	fi
}

check_less() {
	way_guest_has_less
	host_has_it_back
}

reboot_guest() {
	before=$(count_lines '^guest: start')
	tell 'reboot -f'
	wait_line '^guest: start' $((before + 1))
}

guest_script </lab/guests/dialogue.sh
add_to_initrd /lab/bin/fill bin/fill
add_to_initrd /lab/bin/hungry bin/hungry
guest_modules virtio_ring virtio virtio_mmio virtio_mem virtio_balloon
# shellcheck disable=SC2086 # several words
boot_dialogue --cpus "$CPUS" --qmp "unix:$SOCKET" $WAY_OPTIONS \
	--cmdline 'console=ttyS0 loglevel=3 panic=-1 mitigations=off memhp_default_state=online_movable'
wait_line '^guest: start'
must_ask 'uname -r'
expect_line "^$KERNEL\\." "$CASE/answer"
must_ask nproc
expect_line "^$CPUS\$" "$CASE/answer"
way_drivers
way_less
way_measure

cycle=1
while [ "$cycle" -le "$cycles" ]; do
	echo "== cycle $cycle, at $(cut -d ' ' -f 1 /proc/uptime) s"
	way_more
	full=
	[ "$cycle" -ne 1 ] && [ "$cycle" -ne 10 ] || full=full
	check_more $full
	if [ "$cycle" -eq $(((cycles + 1) / 2)) ]; then
		echo "== reboot"
		way_reboot
	fi
	way_less
	check_less
	cycle=$((cycle + 1))
done

echo "== with a memory-hungry program, at $(cut -d ' ' -f 1 /proc/uptime) s"
must_ask hungry_start
must_ask until_true hungry_holds 150
way_more
must_ask until_true hungry_holds $((150 + STEP_MIB * 3 / 4))
must_ask 'cat /tmp/hungry'
# It may give way at once, or keep what it can't do without: then it says so, or takes its time; and
# gives it when it is asked again without the load.
if way_try_less; then
	echo "under load: all came back at once"
else
	echo "under load: $(tail -n 1 "$CASE/ctl")"
fi
must_ask hungry_end
expect_line 'wrong 0$' "$CASE/answer"
way_less
check_less
way_last

ask dmesg >"$CASE/out/dmesg"
expect_healthy "$CASE/out/dmesg"
expect_healthy
ctl quit
wait_guest
expect_status 0
