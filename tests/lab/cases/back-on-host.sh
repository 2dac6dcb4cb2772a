# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 400
# What a guest gives back is back on the host, to the page: the kernel's account of samara's mappings,
# the file system's of its memfds and samara's own agree before and after a DIMM, blocks of virtio-mem
# and pages of a balloon went, full of what the guest wrote.
. /lab/guests/host-memory.sh
. /lab/guests/dimm-case.sh
MIB=1048576
DIMM=0x100000000 # the first place for one

# go_on: from where the last weigh() left it.
go_on() {
	last=$pages last_discarded=$discarded last_faulted=$faulted
	"$SAMARA" ctl "$SOCKET" cont >/dev/null || fail "the VM does not go on"
}

# fallen NAME PAGES: from the last weigh() to now so many pages went with their range, and as many are
# missing, but for those that were discarded or came by faults meanwhile. (A guest that lets blocks go may
# touch them once more: those came, and went with the range.)
fallen() {
	gone=$((discarded - last_discarded)) came=$((faulted - last_faulted))
	echo "$1: $last pages, then $pages: $2 went with their range, $gone were discarded, $came came"
	[ "$pages" -ge $((last - $2 - gone)) ] && [ "$pages" -le $((last - $2 - gone + came)) ] ||
		fail "$1: $pages pages are left, not $((last - $2 - gone)) and up to $came more"
}

for backing in anon memfd; do
	rm -f "$CONSOLE"
	{
		for module in virtio_mmio virtio_mem virtio_balloon; do
			echo "insmod /modules/$module.ko"
		done
		sed 's/FULL_EVERY/1000000000/; s/fills=0/fills=1/; s/mib=200/mib=220/' /lab/guests/dimm.sh
	} | guest_script
	add_to_initrd /lab/bin/fill bin/fill
	guest_modules virtio_mmio virtio_mem virtio_balloon
	boot_background --memory "256M,max=4G,slots=4,backing=$backing" --cpus 1 --qmp "unix:$SOCKET" \
		--virtio-mem id=mem0,size=1G --balloon=free-page-reporting=off --cmdline "$DIMM_CMDLINE nowatchdog"
	wait_line '^guest: start'

	plug_and_check 256 dimm0 1
	weigh "$backing, a DIMM"
	inside=$(region_pages $DIMM $((DIMM + 256 * MIB - 1)))
	[ "$inside" -gt 40000 ] || fail "only $inside pages of the DIMM were used"
	go_on
	unplug_and_check dimm0 1
	weigh "$backing, no DIMM"
	[ "$(region_pages $DIMM $((DIMM + 256 * MIB - 1)))" -eq 0 ] || fail "the DIMM has pages still"
	fallen "$backing, a DIMM" "$inside"
	go_on

	blocks_gpa=$(property mem0 memaddr)
	set_property mem0 requested-size $((256 * MIB))
	wait_line '^guest: filled [0-9]+ MiB: 0 pages wrong' 2
	weigh "$backing, blocks of virtio-mem"
	inside=$(region_pages "$blocks_gpa" 0x7fffffffffffffff)
	[ "$inside" -gt 40000 ] || fail "only $inside pages of the blocks were used"
	go_on
	set_property mem0 requested-size 0
	until [ "$(property mem0 size)" -eq 0 ]; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before its blocks were unplugged"
		usleep 100000
	done
	weigh "$backing, no blocks"
	[ "$(region_pages "$blocks_gpa" 0x7fffffffffffffff)" -eq 0 ] || fail "the blocks have pages still"
	fallen "$backing, blocks of virtio-mem" "$inside"
	go_on

	weigh "$backing, a balloon without air"
	go_on
	ctl balloon 160M --timeout 200
	weigh "$backing, a balloon of 96 MiB"
	[ "$(virtio balloon0 inflated-pages)" -eq 24576 ] || fail "other pages were given than asked for"
	fallen "$backing, a balloon" 0
	go_on
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
done
