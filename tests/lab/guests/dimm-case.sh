# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# What the cases about DIMMs share; on top of the machine's lib.sh.
DIMM_CMDLINE='console=ttyS0 panic=-1 mitigations=off memhp_default_state=online_movable'

# dimm_guest FULL_EVERY [MODULE...]: the guest of guests/dimm.sh.
dimm_guest() {
	sed "s/FULL_EVERY/$1/" /lab/guests/dimm.sh | guest_script
	shift
	add_to_initrd /lab/bin/fill bin/fill
	for module; do
		add_to_initrd "$MODULES/$module.ko" "$module.ko"
	done
}

resident() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"
}

# plug_and_check MIB ID COUNT [OPTION...]: for the COUNT-th time the guest gets more memory.
plug_and_check() {
	mib=$1 id=$2 count=$3
	shift 3
	ctl plug "${mib}M" --id "$id" --timeout "$PATIENCE_S" "$@"
	expect_line "^$id: .* more, and the guest has it" "$CASE/ctl"
	# The kernel's page array for 1 GiB is 16 MiB of it.
	wait_line "^guest: now [0-9]+ MiB, $mib more than at first" "$count"
	wait_line '^guest: filled [0-9]+ MiB: 0 pages wrong' "$count"
}

# unplug_and_check ID COUNT: for the COUNT-th time it is back to what it had.
unplug_and_check() {
	ctl unplug "$1" --timeout "$PATIENCE_S"
	expect_line "^$1: .* back on the host" "$CASE/ctl"
	wait_line '^guest: now [0-9]+ MiB, 0 more than at first' "$2"
}
