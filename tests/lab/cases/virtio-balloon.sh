# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 400
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
	wait_virtio balloon0 reported-pages -gt 10000
	set_property balloon0 guest-stats-polling-interval 1
	until property balloon0 guest-stats | grep -q '"last-update": [1-9]'; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before the guest told of its memory"
		usleep 100000
	done
	cat "$CASE/property"
	expect_line '"stat-total-memory": [1-9]' "$CASE/property"
	expect_line '"stat-free-memory": [1-9]' "$CASE/property"
	"$SAMARA" ctl "$SOCKET" events >"$CASE/out/events-$packed" &
	listener=$!
	before=$(populated)
	ctl balloon 384M --timeout "$PATIENCE_S"
	expect_line '^the guest has 384 MiB left' "$CASE/ctl"
	ctl raw '{"execute":"query-balloon"}'
	expect_line "\"actual\": $((384 * MIB))\$" "$CASE/ctl"
	echo "populated: $before, then $(populated)"
	[ "$(virtio balloon0 inflated-pages)" -ge 32768 ] || fail "pages are missing"
	[ "$(virtio balloon0 wild-pages)" -eq 0 ] && [ "$(virtio balloon0 needed-resets)" -eq 0 ] || fail "the driver broke rules"
	execute balloon "{\"value\":$((512 * MIB))}"
	wait_virtio balloon0 actual-bytes -eq 0
	echo "samara's share of all this: $(virtio balloon0 work-ns) ns"
	[ "$(virtio balloon0 deflated-pages)" -ge 32768 ] || fail "pages did not come back"
	property balloon0 x-samara-counters
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
	wait "$listener"
	expect_line "BALLOON_CHANGE.*\"actual\":$((384 * MIB))[,}]" "$CASE/out/events-$packed"
	expect_line "BALLOON_CHANGE.*\"actual\":$((512 * MIB))[,}]" "$CASE/out/events-$packed"
done
