# SPDX-License-Identifier: GPL-2.0-or-later
# lock: region single
# limit: 240
# Memory is plugged, moved, protected and unplugged by samara ctl while the guest uses it.
# The guest reaches it by its physical address, as no driver of its own manages it.
X=0x1122334455667788
O=0x0000000000000000
guest_script <<'SCRIPT'
# Prints the first word of two places whenever one changes. While both are zero it writes to one:
# what is written where nothing is plugged is forgotten after 10 ms, and reads as zero.
last=
while :; do
	now="$(devmem 0x140000000 64) $(devmem 0x150000000 64)"
	if [ "$now" != "$last" ]; then
		echo "guest: $now"
		last=$now
	fi
	if [ "$now" = "0x0000000000000000 0x0000000000000000" ]; then
		devmem 0x140000000 64 0x1122334455667788
		usleep 50000
	fi
done
SCRIPT

# guest_sees A B: once more than it has up to now, after COMMAND.
guest_sees() {
	line="^guest: $1 $2"
	seen=$(count_lines "$line")
	shift 2
	[ $# -eq 0 ] || ctl "$@"
	wait_line "$line" $((seen + 1))
}

boot_background --memory 512M,max=4G --qmp "unix:$SOCKET"
guest_sees $O $O
ctl regions

guest_sees $X $O plug 0x140000000 128M
ctl regions
expect_line '0x140000000 +0x147ffffff +128 MiB +rw' "$CASE/ctl"

# It keeps its bytes on the move.
guest_sees $O $X remap 0x140000000 128M 0x150000000

ctl protect 0x150000000 64M ro
ctl regions
expect_line '0x150000000 +0x153ffffff +64 MiB +ro' "$CASE/ctl"
expect_line '0x154000000 +0x157ffffff +64 MiB +rw' "$CASE/ctl"

ctl_refuses '.' plug 0x157fff000 8K
ctl_refuses '.' plug 0x140000001 4K
ctl_refuses '.' unplug 0x140000000 0
ctl_refuses '.' unplug 0xfffffffffffff000 8K

guest_sees $O $O unplug 0x150000000 128M
ctl stats
expect_line '^faults-nothing +[1-9]' "$CASE/ctl"
expect_line '^last-nothing-gpa +0x1[45]0000000' "$CASE/ctl"
ctl status
expect_line '^running$' "$CASE/ctl"

# Where nothing is, the guest goes on trying; a stopped one does not, but for what its two vCPUs had
# begun.
nothing() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n 's/^faults-nothing *//p'
}
ctl stop
before=$(nothing)
usleep 1000000
[ "$(nothing)" -le $((before + 2)) ] || fail "a stopped guest went on"
ctl cont
until [ "$(nothing)" -gt $((before + 2)) ]; do
	kill -0 "$pid" 2>/dev/null || fail "samara ended before the guest went on"
	usleep 100000
done
ctl quit
wait_guest
expect_status 0
