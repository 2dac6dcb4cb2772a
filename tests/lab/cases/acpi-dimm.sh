# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 300
# A DIMM of 1 GiB comes and goes ten times with a stock guest of two vCPUs, by ACPI: /proc/meminfo, the
# blocks in sysfs and a program that fills and checks memory say so each time, and the host that it
# has it back.
. /lab/guests/dimm-case.sh
dimm_guest 9
boot_background --memory 384M,max=4G,slots=8 --cpus 2 --qmp "unix:$SOCKET" --cmdline "$DIMM_CMDLINE"
wait_line '^guest: start'

cycle=1
while [ $cycle -le 10 ]; do
	plug_and_check 1024 dimm0 $cycle
	before=$(resident)
	unplug_and_check dimm0 $cycle
	after=$(resident)
	echo "cycle $cycle: samara's memory: $before, then $after KiB"
	# What was filled, and the kernel's array of its pages; full in the first and the last cycle.
	least=200000
	[ $((cycle % 9)) -ne 1 ] || least=800000
	[ $((before - after)) -gt $least ] || fail "cycle $cycle: only $((before - after)) KiB came back"
	cycle=$((cycle + 1))
done
ctl devices
ctl stats
expect_line '^unplugs +10$' "$CASE/ctl"
expect_healthy
ctl quit
wait_guest
expect_status 0
