# SPDX-License-Identifier: GPL-2.0-or-later
# lock: region single
# limit: 90
# A stock kernel boots with 2 vCPUs and 512 MiB, uses both, and powers off: status 0.
guest_script </lab/guests/report.sh
boot --cpus 2 --memory 512M
expect_status 0
expect_line '^guest: Linux .* 6\.12\.'
expect_line '^guest: 2 CPUs online of 2:'
expect_line '^guest: checked [0-9]+ MiB in 12 files: 0 bad'
expect_healthy
total=$(sed -n 's/^guest: memory: \([0-9]*\) kB in all.*/\1/p' "$CONSOLE")
# The kernel's own text and data and its page descriptors are not in MemTotal.
[ "$total" -gt $((448 * 1024)) ] && [ "$total" -le $((512 * 1024)) ] || fail "the guest sees $total kB of 512 MiB"
