# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 300
# A virtio-mem device is plugged into a stock kernel that runs: it finds it, plugs and unplugs blocks; the
# device goes when the guest has unbound its driver, and not before. One in its place later is found, too.
MIB=1048576
guest_script <<'SCRIPT'
insmod /modules/virtio_mmio.ko
insmod /modules/virtio_mem.ko
devices() {
	ls /sys/bus/virtio/devices | wc -l
}
echo "guest: ready"
last=0
while :; do
	now=$(devices)
	if [ "$now" != "$last" ]; then
		echo "guest: $now virtio devices"
		last=$now
	fi
	# Pressed once: let the first one go.
	if [ $last -gt 0 ] && [ "$(awk '/ 10-edge / { n += $2 + $3 } END { print n + 0 }' /proc/interrupts)" -gt 0 ] &&
		[ -e /sys/bus/platform/drivers/virtio-mmio/LNRO0005:00 ]; then
		echo LNRO0005:00 >/sys/bus/platform/drivers/virtio-mmio/unbind
	fi
	usleep 100000
done
SCRIPT
guest_modules virtio_mmio virtio_mem

# wait_size ID BYTES
wait_size() {
	until [ "$(property "$1" size)" -eq "$2" ]; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before $2 bytes were plugged"
		usleep 100000
	done
}

boot_background --memory 256M,max=4G --qmp "unix:$SOCKET" \
	--cmdline 'console=ttyS0 panic=-1 mitigations=off memhp_default_state=online_movable'
wait_line '^guest: ready'
"$SAMARA" ctl "$SOCKET" events >"$CASE/out/events" &
listener=$!
execute object-add '{"qom-type":"memory-backend-ram","id":"m0","size":"1G"}'
execute device_add '{"driver":"virtio-mem-device","id":"vm0","memdev":"m0","requested-size":"128M"}'
wait_line '^guest: 1 virtio devices'
wait_size vm0 $((128 * MIB))
ctl devices
expect_line '^vm0 +virtio-mem .* 128 MiB +1 GiB' "$CASE/ctl"
ctl_refuses 'still plugged' raw '{"execute":"device_del","arguments":{"id":"vm0"}}'
set_property vm0 requested-size 0
wait_size vm0 0
ctl_refuses "the guest's driver uses it" raw '{"execute":"device_del","arguments":{"id":"vm0"}}'
ctl powerdown
wait_line '^guest: 0 virtio devices'
tries=0
until "$SAMARA" ctl "$SOCKET" unplug vm0 >"$CASE/ctl" 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 600 ] || fail "it does not go: $(cat "$CASE/ctl")"
	usleep 100000
done
expect_line '^vm0: .* back on the host' "$CASE/ctl"
execute object-del '{"id":"m0"}'
ctl devices
expect_no_line '^vm0' "$CASE/ctl"
execute object-add '{"qom-type":"memory-backend-ram","id":"m0","size":"512M"}'
execute device_add '{"driver":"virtio-mem-device","id":"vm1","memdev":"m0"}'
wait_line '^guest: 1 virtio devices' 2
set_property vm1 requested-size $((128 * MIB))
wait_size vm1 $((128 * MIB))
expect_healthy
ctl quit
wait_guest
expect_status 0
wait "$listener"
expect_line 'DEVICE_DELETED.*"device": ?"vm0"' "$CASE/out/events"
