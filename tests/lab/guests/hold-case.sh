# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# How long faults take beside memory that comes and goes: what tests/lab/cases/hold.sh is made of, on
# top of guests/dimm-case.sh.
. /lab/guests/dimm-case.sh
FIELD=0x180000000 # where the faults are
FIELD_MIB=512

# The script of a guest that fills what is plugged, with what it runs before.
filler_script() {
	{
		cat
		cat <<'SCRIPT'
insmod /modules/virtio_mmio.ko
insmod /modules/virtio_mem.ko
# By what the shell can do itself: a process is dear here, and would be in the figures.
total() {
	while read -r key value unit; do
		[ "$key" != MemTotal: ] || total_mib=$((value / 1024))
	done </proc/meminfo
}
total
first=$total_mib last=$total_mib
echo "guest: start $first MiB"
while :; do
	sleep 0.5
	total
	now=$total_mib
	[ $now -ne $last ] || continue
	echo "guest: now $now MiB, $((now - first)) more than at first"
	if [ $now -ge $((first + 120)) ]; then
		echo "guest: $(taskset 2 fill 100)"
	fi
	last=$now
done
SCRIPT
	} | guest_script
	add_to_initrd /lab/bin/fill bin/fill
	add_to_initrd /lab/bin/hold bin/hold
	guest_modules virtio_mmio virtio_mem
}

# hold_guest PAUSE_US: boots a guest of two vCPUs. One of them times its stage-2 faults, with that pause
# between two; the other one fills what is plugged, and is idle for the rest.
hold_guest() {
	filler_script <<-SCRIPT
		stty -F /dev/console -echo
		taskset 1 hold $FIELD $FIELD_MIB $1 &
	SCRIPT
	# Without huge pages there is a fault in each 64 KiB.
	boot_dialogue --memory 384M,max=6G,slots=4,thp=off --cpus 2 --qmp "unix:$SOCKET" \
		--virtio-mem id=mem0,size=1G --cmdline "$DIMM_CMDLINE"
	wait_line '^guest: start'
	rounds=0 cycles=0
}

# hold_neighbour: boots another guest, which fills what is plugged as the first one does: what the same
# cycles cost who only shares the CPU with them.
hold_neighbour() {
	filler_script </dev/null
	swap
	boot_background --memory 384M,max=6G,slots=4,thp=off --cpus 2 --qmp "unix:$SOCKET" \
		--virtio-mem id=mem0,size=1G --cmdline "$DIMM_CMDLINE"
	wait_line '^guest: start'
	swap
}

# Which of the two the commands are for.
other_socket=$CASE/neighbour.qmp other_console=$CASE/out/neighbour other_pid='' other_cycles=0
swap() {
	kept=$SOCKET SOCKET=$other_socket other_socket=$kept
	kept=$CONSOLE CONSOLE=$other_console other_console=$kept
	kept=$pid pid=$other_pid other_pid=$kept
	kept=$cycles cycles=$other_cycles other_cycles=$kept
}

# elsewhere COMMAND...: in the neighbour
elsewhere() {
	swap
	"$@"
	swap
}

counter() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n "s/^$1 *//p"
}

# One cycle of 128 MiB that the guest has a part in: most of it is filled and checked in between.
cycle_dimm() {
	cycles=$((cycles + 1))
	plug_and_check 128 dimm0 "$cycles"
	unplug_and_check dimm0 "$cycles"
}

cycle_virtio() {
	cycles=$((cycles + 1))
	set_property mem0 requested-size $((128 * 1048576))
	wait_line '^guest: filled [0-9]+ MiB: 0 pages wrong' "$cycles"
	set_property mem0 requested-size 0
	wait_line '^guest: now [0-9]+ MiB, 0 more than at first' "$cycles"
}

# hold_round NAME COMMAND...: the guest's faults are timed while the command runs.
hold_round() {
	name=$1
	shift
	ctl plug $FIELD ${FIELD_MIB}M
	deferred=$(counter faults-deferred) waited=$(counter lock-wait-ns)
	rounds=$((rounds + 1))
	echo begin >&5
	wait_line "^guest: round $rounds: begins"
	"$@"
	echo end >&5
	wait_line "^guest: round $rounds: touched"
	deferred=$(($(counter faults-deferred) - deferred)) waited=$(($(counter lock-wait-ns) - waited))
	expect_line "^guest: round $rounds: touched [0-9]+ wrong 0 "
	# What the guest says of itself, as lines of figures.
	sed "s/^.*touched \([0-9]*\) wrong 0 p50 \([0-9]*\) p99 \([0-9]*\) p999 \([0-9]*\) max \([0-9]*\) .*/\
hold.$LOCK.$name.p50 \2 us\n\
hold.$LOCK.$name.p99 \3 us\n\
hold.$LOCK.$name.p999 \4 us\n\
hold.$LOCK.$name.max \5 us\n\
hold.$LOCK.$name.faults \1\n\
hold.$LOCK.$name.deferred $deferred\n\
hold.$LOCK.$name.waited $((waited / 1000)) us/" "$CASE/found" | tee -a "$CASE/out/figures"
	# Promise 1. Nobody else touches what is under change: the guest has let go of it, or doesn't know it yet.
	if [ "$LOCK" = region ] && [ $deferred -ne 0 ]; then
		fail "$deferred faults met an operation elsewhere"
	fi
	ctl unplug $FIELD ${FIELD_MIB}M
}

# repeat COUNT COMMAND...; sets seconds.
repeat() {
	count=$1 begun=$(date +%s) done=0
	shift
	while [ $done -lt "$count" ]; do
		"$@"
		done=$((done + 1))
	done
	seconds=$(($(date +%s) - begun))
}
