# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 300
# A stock kernel names its free pages when it is asked to: nearly as much as it has free by its own
# account, and afterwards it has them all back. With a kernel that clears what it allocates, as Debian's
# do, and with one that does not.
need_percent() {
	[ $(($2 * 100)) -ge $(($3 * $1)) ] || fail "$4: $2 is less than $1 % of $3"
}

mem_free() {
	must_ask meminfo MemFree
	# The kernel may say something in between.
	free_kib=$(grep -x '[0-9]*' "$CASE/answer")
}

number() {
	sed -n "s/^ *\"$1\": \([0-9]*\).*/\1/p" "$CASE/ctl"
}

# ask_free: what of the guest's free memory it names, and that it keeps none of it. Sets named_kib.
ask_free() {
	mem_free
	before_kib=$free_kib
	ctl free --json --timeout "$PATIENCE_S"
	named_kib=$(($(number free) / 1024))
	[ "$(number populated)" -le "$(number free)" ] || fail "more is present than is free"
	[ "$(number largest)" -le "$(number free)" ] && [ "$(number ranges)" -ge 1 ] || fail "odd ranges"
	must_ask until_true more_than MemFree $((before_kib * 97 / 100))
	mem_free
	echo "$1: MemFree $before_kib KiB, named $named_kib KiB ($((named_kib * 100 / before_kib)) %)" \
		"in $(number ranges) ranges, largest $(($(number largest) / 1024)) KiB," \
		"present $(($(number populated) / 1024)) KiB, grown $(($(number grown) / 1024)) KiB," \
		"MemFree then $free_kib KiB"
	need_percent 80 "$named_kib" "$before_kib" "named"
	[ "$named_kib" -le $((before_kib * 105 / 100)) ] || fail "more is named than is free"
}

# start_guest NAME CMDLINE REPORTING
start_guest() {
	rm -f "$CONSOLE" "$CASE/keys"
	guest_script </lab/guests/dialogue.sh
	guest_modules virtio_ring virtio virtio_mmio virtio_balloon
	boot_dialogue --memory 512M --qmp "unix:$SOCKET" "--balloon=free-page-reporting=$3" \
		--cmdline "console=ttyS0 panic=-1 mitigations=off $2"
	wait_line '^guest: start'
	name=$1
}

end_guest() {
	[ "$(virtio balloon0 wild-pages)" -eq 0 ] && [ "$(virtio balloon0 needed-resets)" -eq 0 ] ||
		fail "the driver broke rules"
	[ "$(virtio balloon0 hinted-pages)" -gt 0 ] || fail "nothing is counted"
	echo "$name: samara's share: $(virtio balloon0 work-ns) ns"
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
	exec 5>&-
}

load_drivers() {
	must_ask drivers virtio_ring virtio virtio_mmio virtio_balloon
}

populated() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n 's/^populated-bytes *//p'
}

for clear in 1 0; do
	if [ $clear = 1 ]; then
		start_guest stock "" off
	else
		start_guest init_on_alloc=0 init_on_alloc=0 off
	fi
	ctl_refuses 'no driver that names its free pages' free
	load_drivers
	ask_free "$name, first"
	if [ $clear = 1 ]; then
		need_percent 99 "$(number populated)" "$(number free)" "present"
		need_percent 50 "$(number grown)" "$(number free)" "grown"
	else
		need_percent 1000 "$(number free)" "$(number grown)" "named, for what it has grown"
	fi
	ask_free "$name, again"
	# What is in use is not free.
	all_kib=$named_kib
	must_ask 'dd if=/dev/zero of=/tmp/used bs=1M count=150 2>/dev/null'
	ask_free "$name, 150 MiB used"
	need_percent 90 $((all_kib - named_kib)) $((150 * 1024)) "no longer named"
	must_ask rm /tmp/used
	ctl free --timeout "$PATIENCE_S"
	expect_line '^the guest names [0-9]+ [KM]iB as free, in [0-9]+ ranges?, the largest of' "$CASE/ctl"
	ctl stop
	ctl_refuses 'guest is stopped' free
	ctl cont
	# It goes on, and so do later rounds.
	ask_free "$name, last"
	end_guest
done

# With reports of free pages, what a kernel touches by naming it is soon back on the host.
start_guest reports "" on
load_drivers
before=$(populated)
ctl free --json --timeout "$PATIENCE_S"
named=$(number free) named_populated=$(populated)
until [ "$(populated)" -lt $((named_populated - named * 8 / 10)) ]; do
	kill -0 "$pid" 2>/dev/null || fail "samara ended before the guest reported its free pages"
	usleep 100000
done
echo "reports: populated $((before >> 20)) MiB, $((named_populated >> 20)) MiB with $((named >> 20)) MiB named, then" \
	"$(($(populated) >> 20)) MiB"
end_guest
