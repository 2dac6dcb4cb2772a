# SPDX-License-Identifier: GPL-2.0-or-later
# lock: region single
# limit: 120
# Memory is plugged, moved, protected and unplugged by samara ctl while the guest uses it.
# The guest reaches it by its physical address, as no driver of its own manages it.
guest_script <<'SCRIPT'
# Prints the first word of each place whenever it changes, and adds one to a plugged one's second word.
last=
while :; do
	now="$(devmem 0x140000000 64) $(devmem 0x150000000 64)"
	if [ "$now" != "$last" ]; then
		echo "guest: $now"
		last=$now
	fi
	[ "$now" = "0x0000000000000000 0xFFFFFFFFFFFFFFFF" ] && devmem 0x140000000 64 0x1122334455667788
done
SCRIPT
boot_background --memory 512M,max=4G --qmp "unix:$SOCKET"
wait_line '^guest: 0xFFFFFFFFFFFFFFFF 0xFFFFFFFFFFFFFFFF'
ctl regions

ctl plug 0x140000000 128M
wait_line '^guest: 0x1122334455667788 0xFFFFFFFFFFFFFFFF'
ctl regions
expect_line '0x140000000 +0x147ffffff +128 MiB +rw' "$CASE/ctl"

# It keeps its bytes on the move.
ctl remap 0x140000000 128M 0x150000000
wait_line '^guest: 0xFFFFFFFFFFFFFFFF 0x1122334455667788'

ctl protect 0x150000000 64M ro
ctl regions
expect_line '0x150000000 +0x153ffffff +64 MiB +ro' "$CASE/ctl"
expect_line '0x154000000 +0x157ffffff +64 MiB +rw' "$CASE/ctl"

ctl_refuses '.' plug 0x157fff000 8K
ctl_refuses '.' plug 0x140000001 4K
ctl_refuses '.' unplug 0x140000000 0
ctl_refuses '.' unplug 0xfffffffffffff000 8K

ctl unplug 0x150000000 128M
wait_line '^guest: 0xFFFFFFFFFFFFFFFF 0xFFFFFFFFFFFFFFFF' 2
ctl stats
grep -E '^(mmio-nowhere|faults-nothing) ' "$CASE/ctl" | grep -q -v ' 0$' ||
	fail "no access to nothing was counted"
ctl status
expect_line '^running$' "$CASE/ctl"

ctl stop
before=$(wc -c <"$CONSOLE")
usleep 300000
[ "$(wc -c <"$CONSOLE")" -eq "$before" ] || fail "a stopped guest printed"
ctl cont
ctl quit
wait_guest
expect_status 0
