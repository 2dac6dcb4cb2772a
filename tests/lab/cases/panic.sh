# SPDX-License-Identifier: GPL-2.0-or-later
# A guest's kernel that panics says so by pvpanic, and then resets the machine, as it was told to.
guest_script <<'SCRIPT'
insmod /pvpanic.ko
insmod /pvpanic-mmio.ko || echo "guest: no pvpanic"
echo "guest: ready"
sleep 3
echo c >/proc/sysrq-trigger
SCRIPT
add_to_initrd "$MODULES/pvpanic.ko" pvpanic.ko
add_to_initrd "$MODULES/pvpanic-mmio.ko" pvpanic-mmio.ko
boot_background --cpus 1 --no-reboot --qmp "unix:$SOCKET"
until "$SAMARA" ctl "$SOCKET" status >"$CASE/status" 2>&1; do
	kill -0 "$pid" 2>/dev/null || fail "samara ended before its socket answered"
	usleep 100000
done
"$SAMARA" ctl "$SOCKET" events >"$CASE/out/events"
wait_guest
expect_status 0
expect_no_line 'no pvpanic'
expect_line 'Kernel panic - not syncing: sysrq triggered crash'
expect_line '"event": ?"GUEST_PANICKED","data":\{"action":"run"\}' "$CASE/out/events"
[ "$(grep -c GUEST_PANICKED "$CASE/out/events")" -eq 1 ] || fail "more than one panic"
expect_line '"event": ?"SHUTDOWN"' "$CASE/out/events"
