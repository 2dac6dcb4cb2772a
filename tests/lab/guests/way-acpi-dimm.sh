# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# How cases/hotplug-matrix.sh gives and takes memory by a DIMM.
WAY_OPTIONS="--memory ${LESS_MIB}M,max=2G,slots=2"

way_drivers() {
	:
}

# With nothing plugged.
way_measure() {
	must_ask meminfo MemTotal
	base_kib=$(cat "$CASE/answer")
	must_ask online
	base_online=$(cat "$CASE/answer")
}

way_more() {
	ctl plug "${STEP_MIB}M" --id dimm0 --timeout "$PATIENCE_S"
}

way_guest_has_more() {
	must_ask until_true more_than MemTotal $((base_kib + STEP_KIB))
	must_ask until_true online_is $((base_online + STEP_MIB))
}

# It may be gone already: what was asked for under load stands.
way_less() {
	try_ctl unplug dimm0 --timeout "$PATIENCE_S" || expect_line 'no such memory device|not found' "$CASE/ctl"
}

way_try_less() {
	try_ctl unplug dimm0 --timeout 60
}

way_guest_has_less() {
	must_ask until_true online_is "$base_online"
	must_ask until_true less_than MemTotal $((base_kib + 1000))
	ctl regions
	expect_no_line '0x100000000' "$CASE/ctl"
}

# It is in its slot: the guest finds it when it boots.
way_reboot() {
	reboot_guest
	way_guest_has_more
	must_ask 'fill 200'
}

way_last() {
	:
}
