# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# How cases/hotplug-matrix.sh gives and takes memory by a balloon: less is with the balloon full.
WAY_OPTIONS="--memory ${MORE_MIB}M --balloon"

way_drivers() {
	must_ask drivers virtio_ring virtio virtio_mmio virtio_balloon
}

# With the balloon full. A balloon that deflates when memory runs out is in MemTotal.
way_measure() {
	must_ask available
	base_kib=$(cat "$CASE/answer")
}

way_more() {
	ctl balloon "${MORE_MIB}M" --timeout "$PATIENCE_S"
}

way_guest_has_more() {
	must_ask until_true available_is -gt $((base_kib + STEP_KIB))
}

way_less() {
	ctl balloon "${LESS_MIB}M" --timeout "$PATIENCE_S"
}

way_try_less() {
	try_ctl balloon "${LESS_MIB}M" --timeout 60
}

way_guest_has_less() {
	[ "$(virtio balloon0 actual-bytes)" -eq $((STEP_MIB << 20)) ] || fail "the balloon is not full"
	must_ask until_true available_is -lt $((base_kib + 50000))
	[ "$(virtio balloon0 wild-pages)" -eq 0 ] && [ "$(virtio balloon0 needed-resets)" -eq 0 ] ||
		fail "the driver broke rules"
}

# Full before it, empty after it, until the driver fills it anew as it was asked to.
way_reboot() {
	way_less
	reboot_guest
	[ "$(virtio balloon0 actual-bytes)" -eq 0 ] || fail "the balloon is full before there is a driver"
	must_ask 'fill 200'
	way_drivers
	wait_virtio balloon0 actual-bytes -eq $((STEP_MIB << 20))
}

# What the guest can't do without it takes back; and gives again when asked.
way_last() {
	must_ask fill $((base_kib / 1024 + STEP_MIB * 6 / 10))
	[ "$(virtio balloon0 actual-bytes)" -lt $((STEP_MIB << 20)) ] || fail "the guest took nothing back"
	echo "out of memory, the guest took back $(((STEP_MIB << 20) - $(virtio balloon0 actual-bytes))) bytes"
	way_less
	check_less
}
