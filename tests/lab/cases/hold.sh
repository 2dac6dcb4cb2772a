# SPDX-License-Identifier: GPL-2.0-or-later
# every: single
# limit: 300
# While memory comes and goes, the guest's faults in other memory go on, and lose nothing. How long they
# take is printed, with that, with the same in another VM on the same CPU, and without. EVERY=1 makes that
# long enough to compare (docs/hotplug.md).
. /lab/guests/hold-case.sh
if [ -n "${EVERY:-}" ]; then
	hold_guest 500
	ways='dimm virtio' count=16 parts='cycles neighbour quiet'
	hold_neighbour
else
	hold_guest 500
	ways=dimm count=2 parts='cycles quiet'
fi
for way in $ways; do
	for part in $parts; do
		case $part in
		cycles) hold_round "$way.cycles" repeat $count "cycle_$way" ;;
		neighbour) hold_round "$way.neighbour" elsewhere repeat $count "cycle_$way" ;;
		quiet) hold_round "$way.quiet" sleep "$seconds" ;;
		esac
		expect_line "^hold\.$LOCK\.$way\.$part\.p999 [0-9]+ us" "$CASE/out/figures"
	done
done
expect_healthy
ctl quit
wait_guest
expect_status 0
if [ -n "${EVERY:-}" ]; then
	swap
	expect_healthy
	ctl quit
	wait_guest
	expect_status 0
fi
