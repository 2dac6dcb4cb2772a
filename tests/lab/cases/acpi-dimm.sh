# SPDX-License-Identifier: GPL-2.0-or-later
# lock: region single
# limit: 400
# A DIMM of 1 GiB comes and goes ten times with a stock guest, by ACPI: /proc/meminfo, the blocks in
# sysfs and a program that fills and checks most of the memory that is free say so each time.
. /lab/guests/dimm-case.sh
dimm_guest 85
boot_background --memory 384M,max=4G,slots=8 --cpus 2 --qmp "unix:$SOCKET" --cmdline "$DIMM_CMDLINE"
wait_line '^guest: start'

cycle=1
while [ $cycle -le 10 ]; do
	plug_and_check 1024 dimm0 $cycle
	before=$(resident)
	unplug_and_check dimm0 $cycle
	# What was filled is back on the host: nearly all of it was there (the program took 85 % of
	# what was free), and what is left is what the guest had at first.
	after=$(resident)
	echo "cycle $cycle: samara's memory: $before, then $after KiB"
	[ $((before - after)) -gt 800000 ] || fail "cycle $cycle: only $((before - after)) KiB came back"
	cycle=$((cycle + 1))
done
ctl devices
ctl stats
expect_line '^unplugs +10$' "$CASE/ctl"
expect_healthy
ctl quit
wait_guest
expect_status 0
