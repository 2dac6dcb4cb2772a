# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 300
# A stock kernel on huge pages that the host has reserved: they are taken when memory is plugged, with a
# clear error when there are too few, and are the host's again when it is unplugged.
. /lab/guests/dimm-case.sh
POOL=/sys/kernel/mm/hugepages/hugepages-2048kB
free_pages() {
	cat $POOL/free_hugepages
}
dimm_guest 100
boot --memory 256M,backing=hugetlb --qmp "unix:$SOCKET" 2>"$CASE/error"
expect_status 1
expect_line 'no free huge pages of 2 MiB; reserve some in /proc/sys/vm/nr_hugepages' "$CASE/error"

# 384 MiB at start, 256 MiB more later.
echo 320 >$POOL/nr_hugepages
[ "$(free_pages)" -eq 320 ] || skip "the machine has no 640 MiB of huge pages"
boot_background --memory 384M,max=2G,backing=hugetlb,host-nodes=0,policy=bind --qmp "unix:$SOCKET" \
	--cmdline "$DIMM_CMDLINE"
wait_line '^guest: start'
[ "$(free_pages)" -eq 128 ] || fail "$(free_pages) huge pages are free, not 128"
ctl regions
expect_line 'hugetlb' "$CASE/ctl"
ctl_refuses 'Cannot allocate memory|No space left' plug 512M
plug_and_check 256 dimm0 1
[ "$(free_pages)" -eq 0 ] || fail "$(free_pages) huge pages are free after the plug"
unplug_and_check dimm0 1
[ "$(free_pages)" -eq 128 ] || fail "$(free_pages) huge pages are free after the unplug"
expect_healthy
ctl quit
wait_guest
expect_status 0
[ "$(free_pages)" -eq 320 ] || fail "$(free_pages) huge pages are free at the end"
echo 0 >$POOL/nr_hugepages
