# SPDX-License-Identifier: GPL-2.0-or-later
# every: single
# limit: 300
# While memory comes and goes, the guest's faults in other memory go on, and lose nothing. How long they
# take with and without is printed; EVERY=1 makes that long enough to compare (docs/hotplug.md).
. /lab/guests/hold-case.sh
if [ -n "${EVERY:-}" ]; then
	hold_guest 3000
	ways='dimm virtio' count=16
else
	hold_guest 500
	ways=dimm count=2
fi
for way in $ways; do
	hold_round "$way.cycles" repeat $count "cycle_$way"
	hold_round "$way.quiet" sleep "$seconds"
done
for way in $ways; do
	for part in cycles quiet; do
		expect_line "^hold\.$LOCK\.$way\.$part\.p999 [0-9]+ us" "$CASE/out/figures"
	done
done
expect_healthy
ctl quit
wait_guest
expect_status 0
