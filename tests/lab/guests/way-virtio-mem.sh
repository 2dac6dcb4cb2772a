# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# How cases/hotplug-matrix.sh gives and takes memory by a virtio-mem device.
WAY_OPTIONS="--memory ${LESS_MIB}M --virtio-mem id=mem0,size=4G,block=2M"

way_drivers() {
	must_ask drivers virtio_ring virtio virtio_mmio virtio_mem
}

# With nothing plugged.
way_measure() {
	must_ask meminfo MemTotal
	base_kib=$(cat "$CASE/answer")
	must_ask online
	base_online=$(cat "$CASE/answer")
}

way_more() {
	ctl resize "${MORE_MIB}M" --timeout "$PATIENCE_S"
}

way_guest_has_more() {
	must_ask until_true more_than MemTotal $((base_kib + STEP_KIB))
	must_ask until_true online_is $((base_online + STEP_MIB))
}

way_less() {
	ctl resize "${LESS_MIB}M" --timeout "$PATIENCE_S"
}

# The guest tries again by itself only after 50 s and more (Linux drivers/virtio/virtio_mem.c).
way_try_less() {
	try_ctl resize "${LESS_MIB}M" --timeout 60
}

way_guest_has_less() {
	must_ask until_true online_is "$base_online"
	must_ask until_true less_than MemTotal $((base_kib + 1000))
	ctl regions
	expect_no_line '0x100000000' "$CASE/ctl"
	[ "$(virtio mem0 refused)" -eq 0 ] && [ "$(virtio mem0 needed-resets)" -eq 0 ] ||
		fail "the driver broke rules"
}

# No block is plugged after it (virtio 1.2, 5.15.5.2), until the driver asks anew.
way_reboot() {
	reboot_guest
	[ "$(property mem0 size)" -eq 0 ] || fail "blocks are plugged before there is a driver"
	host_has_it_back
	way_drivers
	way_guest_has_more
	must_ask 'fill 200'
}

way_last() {
	:
}
