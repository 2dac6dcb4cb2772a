# SPDX-License-Identifier: GPL-2.0-or-later
# lock: region single
# limit: 240
# The stress guest with nested paging: no byte and no atomic increment is lost.
"$SAMARA" stress --seconds "${STRESS_SECONDS:-5}" --json out/stress.json || fail "samara stress: status $?"
expect_line '"lock": *"'"$LOCK"'"' out/stress.json
for key in integrity_errors lost_increments; do
	expect_line "\"$key\": *0[^0-9]" out/stress.json
done
expect_no_line '"(operations|faults|checked_bytes|balloon|virtio-mem|dimm)": *0[^0-9]' out/stress.json
