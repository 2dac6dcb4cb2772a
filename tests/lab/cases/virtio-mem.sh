# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
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
usleep 50000
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

for packed in on off; do
	rm -f "$CONSOLE"
	boot_background --memory 256M --qmp "unix:$SOCKET" \
		--virtio-mem "id=mem0,size=128G,block=2M,packed=$packed" \
		--cmdline 'console=ttyS0 panic=-1 mitigations=off memhp_default_state=online_movable'
	wait_line '^guest: ready'
	expect_line '^guest: device virtio0'
	execute x-samara-virtio-mem "{\"index\":0,\"size\":$((256 * MIB))}"
	wait_line '^guest: up by 26[0-9]* kB, 0 bad'
	wait_virtio plugged -eq $((256 * MIB))
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
	execute x-samara-virtio-mem '{"index":0,"size":0}'
	wait_line '^guest: down to'
	wait_virtio plugged -eq 0
	ctl regions
	expect_no_line '0x10000000' "$CASE/ctl"
	expect_line '^guest: unplugged memory reads 0x0*$'
	ctl stats
	expect_line '^last-nothing-gpa +0x1f00000000' "$CASE/ctl"
	echo "samara's share: $(virtio work-ns) ns in $(virtio plugs) plugs and $(virtio unplugs) unplugs"
	[ "$(virtio refused)" -eq 0 ] && [ "$(virtio needed-resets)" -eq 0 ] || fail "the driver broke rules"
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
done
