# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# How cases/hotplug-matrix.sh gives and takes 1 GiB by a DIMM.
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
	ctl plug 1024M --id dimm0 --timeout "$PATIENCE_S"
}

# The kernel's array of pages, 16 MiB of 1 GiB, is in ordinary memory.
way_guest_has_more() {
	must_ask until_true more_than MemTotal $((base_kib + 1000000))
	must_ask until_true online_is $((base_online + 1024))
}

way_less() {
	"$SAMARA" ctl "$SOCKET" devices | grep -q '^dimm0' || return 0
	ctl unplug dimm0 --timeout "$PATIENCE_S"
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
