# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# Runs after the one that took the machine down, and sees nothing of the others.
! ps | grep -v grep | grep -q 'sleep 12345' || fail "a process of another case is still there"
[ "$(ls)" = "$(printf 'out\ntmp')" ] || fail "files of another case are still there: $(ls)"
