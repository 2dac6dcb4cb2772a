# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 400
# A stock kernel plugs and unplugs blocks of a virtio-mem device as it is asked to, uses the memory,
# and finds a device as at first after a reset. In both formats of virtqueues.
MIB=1048576
guest_script <<'SCRIPT'
mem_total() {
	sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
}
base=$(mem_total)
# A block that is not plugged: it reads zeros, and forgets. (The driver will not let us, so before.)
devmem 0x1f00000000 64 0x55
until [ "$(devmem 0x1f00000000 64)" = 0x0000000000000000 ]; do
	usleep 50000
done
echo "guest: unplugged memory reads $(devmem 0x1f00000000 64)"
insmod /modules/virtio_mmio.ko
insmod /modules/virtio_mem.ko
ls /sys/bus/virtio/devices | sed 's/^/guest: device /'
echo "guest: ready with $base kB"
state=down
while :; do
	more=$(($(mem_total) - base))
	if [ $state = down ] && [ $more -gt 261000 ]; then
		state=up
		i=0 bad=0
		while [ $i -lt 12 ]; do
			cp /bin/busybox /tmp/copy.$i
			i=$((i + 1))
		done
		for copy in /tmp/copy.*; do
			cmp -s /bin/busybox $copy || bad=$((bad + 1))
		done
		rm /tmp/copy.*
		echo "guest: up by $more kB, $bad bad"
	elif [ $state = up ] && [ $more -lt 1000 ]; then
		state=down
		echo "guest: down to $more kB"
	fi
	usleep 100000
done
SCRIPT
guest_modules virtio_mmio virtio_mem

# wait_plugged BYTES
wait_plugged() {
	until [ "$(property mem0 size)" -eq "$1" ]; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before $1 bytes were plugged"
		usleep 100000
	done
}

for packed in on off; do
	rm -f "$CONSOLE"
	boot_background --memory 256M --qmp "unix:$SOCKET" \
		--virtio-mem "id=mem0,size=128G,block=2M,packed=$packed" \
		--cmdline 'console=ttyS0 panic=-1 mitigations=off memhp_default_state=online_movable'
	wait_line '^guest: ready'
	expect_line '^guest: device virtio0'
	"$SAMARA" ctl "$SOCKET" events >"$CASE/out/events-$packed" &
	listener=$!
	ctl resize 512M --timeout "$PATIENCE_S"
	expect_line '^512 MiB in all' "$CASE/ctl"
	wait_line '^guest: up by 26[0-9]* kB, 0 bad'
	[ "$(property mem0 size)" -eq $((256 * MIB)) ] || fail "the device has another size"
	ctl devices
	expect_line '^mem0 +virtio-mem +0x100000000 +0x20ffffffff +256 MiB +128 GiB' "$CASE/ctl"
	ctl raw '{"execute":"query-memory-size-summary"}'
	expect_line "\"plugged-memory\": $((256 * MIB))" "$CASE/ctl"
	ctl regions
	expect_line '0x100000000 0x10fffffff +256 MiB rw' "$CASE/ctl"
	if [ $packed = on ]; then
		# A reset with memory plugged: none is, until the guest asks again.
		ctl reset
		wait_line '^guest: ready' 2
		first=$(tr -d '\r' <"$CONSOLE" | awk '/Linux version/ { size = "" }
			/plugged size:/ && size == "" { size = $NF }
			END { print size }')
		[ "$first" = 0x0 ] || fail "after the reset, $first were plugged"
		wait_line '^guest: up by 26[0-9]* kB, 0 bad' 2
	fi
	set_property mem0 requested-size 0
	wait_line '^guest: down to'
	wait_plugged 0
	ctl regions
	expect_no_line '0x10000000' "$CASE/ctl"
	expect_line '^guest: unplugged memory reads 0x0*$'
	ctl stats
	expect_line '^last-nothing-gpa +0x1f00000000' "$CASE/ctl"
	echo "samara's share: $(virtio mem0 work-ns) ns in $(virtio mem0 plugs) plugs and $(virtio mem0 unplugs) unplugs"
	[ "$(virtio mem0 refused)" -eq 0 ] && [ "$(virtio mem0 needed-resets)" -eq 0 ] || fail "the driver broke rules"
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
	wait "$listener"
	expect_line "MEMORY_DEVICE_SIZE_CHANGE.*\"size\":$((256 * MIB))[,}]" "$CASE/out/events-$packed"
	expect_line 'MEMORY_DEVICE_SIZE_CHANGE.*"size":0[,}]' "$CASE/out/events-$packed"
	expect_line '"qom-path":"/machine/peripheral/mem0"' "$CASE/out/events-$packed"
done
