# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
# A stock kernel fills a balloon and takes its pages back, tells of its memory, and reports what is
# free; what it gives is back on the host. In both formats of virtqueues.
MIB=1048576
guest_script <<'SCRIPT'
insmod /modules/virtio_mmio.ko
insmod /modules/virtio_balloon.ko
echo "guest: ready"
# Use much memory once, and give it back.
i=0
while [ $i -lt 60 ]; do
	cp /bin/busybox /tmp/copy.$i
	i=$((i + 1))
done
rm /tmp/copy.*
echo "guest: memory was used"
while :; do
	sleep 1
done
SCRIPT
guest_modules virtio_mmio virtio_balloon

populated() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n 's/^populated-bytes *//p'
}

for packed in on off; do
	rm -f "$CONSOLE"
	boot_background --memory 512M --qmp "unix:$SOCKET" --balloon="packed=$packed"
	wait_line '^guest: memory was used'
	wait_virtio reported-pages -gt 10000
	execute x-samara-balloon-stats '{"interval":1}'
	wait_virtio stats-updated -gt 0
	cat "$CASE/virtio"
	before=$(populated)
	execute x-samara-balloon "{\"size\":$((128 * MIB))}"
	wait_virtio actual -eq $((128 * MIB))
	echo "populated: $before, then $(populated)"
	[ "$(virtio inflated-pages)" -ge 32768 ] || fail "pages are missing"
	[ "$(virtio wild-pages)" -eq 0 ] && [ "$(virtio needed-resets)" -eq 0 ] || fail "the driver broke rules"
	execute x-samara-balloon '{"size":0}'
	wait_virtio actual -eq 0
	echo "samara's share of all this: $(virtio work-ns) ns"
	[ "$(virtio deflated-pages)" -ge 32768 ] || fail "pages did not come back"
	cat "$CASE/virtio"
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
done
