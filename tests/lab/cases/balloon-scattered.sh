# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 300
# A real guest's memory in a balloon by single pages, every other one: each is back on the host, and its
# neighbours keep what is in them. (tests/unit/test_virtio_balloon_pages.c has a quarter of a million.)
. /lab/guests/host-memory.sh
FIELD=0x140000000

# scatter BACKING MIB: half of these pages go, every other one.
scatter() {
	backing=$1 half=$(($2 * 128))
	rm -f "$CONSOLE"
	sed "s/MIB/$2/" <<'SCRIPT' | guest_script
# What is written where nothing is plugged is soon forgotten.
wait_plugged() {
	until devmem $1 32 0x5a5a5a5a && usleep 50000 && [ "$(devmem $1 32)" = 0x5A5A5A5A ]; do
		:
	done
}
echo "guest: ready"
for step in fill scatter check; do
	case $step in
	fill) wait_plugged 0x1f0000000 ;;
	scatter) wait_plugged 0x1f0010000 ;;
	check) wait_plugged 0x1f0020000 ;;
	esac
	hostile $step 0x140000000 MIB
done
while :; do
	sleep 1
done
SCRIPT
	add_to_initrd /lab/bin/hostile bin/hostile
	boot_background --memory "128M,max=6G,slots=1,backing=$backing" --cpus 1 --qmp "unix:$SOCKET" --balloon \
		--cmdline 'console=ttyS0 panic=-1 mitigations=off nowatchdog'
	wait_line '^guest: ready'
	ctl plug $FIELD "${2}M"
	ctl plug 0x1f0000000 4K
	wait_line "^guest: filled $((2 * half)) pages"
	weigh "$backing, full"
	before=$pages discarded_before=$discarded faulted_before=$faulted
	"$SAMARA" ctl "$SOCKET" cont
	ctl plug 0x1f0010000 4K
	wait_line "^guest: gave $half single pages"
	weigh "$backing, every other page"
	echo "$backing: $before pages, then $pages; $((discarded - discarded_before)) discarded," \
		"$((faulted - faulted_before)) came; $(virtio balloon0 work-ns) ns of samara's"
	[ "$(virtio balloon0 inflated-pages)" -eq "$half" ] || fail "other pages were given"
	[ $((discarded - discarded_before)) -eq "$half" ] || fail "not all of $half pages were discarded"
	[ "$pages" -eq $((before - half + faulted - faulted_before)) ] || fail "$pages pages are left"
	"$SAMARA" ctl "$SOCKET" cont
	ctl plug 0x1f0020000 4K
	wait_line "^guest: checked $((2 * half)) pages, 0 wrong"
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
}

scatter anon 128
scatter memfd 64
