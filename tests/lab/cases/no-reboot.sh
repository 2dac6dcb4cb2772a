# SPDX-License-Identifier: GPL-2.0-or-later
# With --no-reboot a guest's reset is the end.
guest_script <<'SCRIPT'
echo "guest: booted"
reboot -f
SCRIPT
boot --no-reboot
expect_status 0
[ "$(count_lines '^guest: booted')" -eq 1 ] || fail "the guest booted more than once"
