# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
# The guest reboots, and boots again; from outside it is ended after its second boot.
guest_script <<'SCRIPT'
echo "guest: booted"
reboot -f
SCRIPT
boot_background --qmp "unix:$SOCKET"
wait_line '^guest: booted' 2
ctl quit
wait_guest
expect_status 0
[ "$(count_lines 'Linux version 6\.12\.')" -ge 2 ] || fail "the kernel did not start twice"
[ ! -e "$SOCKET" ] || fail "the control socket is still there"
