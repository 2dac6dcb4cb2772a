# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 400
# A stock kernel's memory is changed while an agent in it uses and checks memory: what it does not
# notice (other memory behind it, pages populated, protected), and what its drivers take part in (balloon,
# virtio-mem, DIMMs). Each operation is done, however long that takes here, and not a word is wrong.
# Without the kernel's own watchdog, which would take a slow host for a lockup.
APPEND='mitigations=off nowatchdog'
"$SAMARA" stress --guest linux --kernel "$VMLINUX" --modules /lab/modules --append "$APPEND" --cpus 2 \
	--guest-memory 384M --device-memory 128M --slots 8 --slot-size 512K --rate 10 --seed 6 \
	--seconds "${STRESS_SECONDS:-5}" --each 1 --console "$CONSOLE" --csv out/stress.csv --json out/stress.json ||
	fail "samara stress: status $?"
for operation in protect populate reback refused balloon virtio-mem dimm; do
	expect_line "\"$operation\": *[1-9]" out/stress.json
done
for key in integrity_errors operation_errors stuck_cpus; do
	expect_line "\"$key\": *0[^0-9]" out/stress.json
done
expect_line '"release": *"6\.' out/stress.json
expect_no_line '"(faults|checked_by_guest_bytes|written_bytes|released_bytes)": *0[^0-9]' out/stress.json
expect_line '^seconds,.*,checked_bytes,guest_bytes,guest_faults' out/stress.csv
expect_line '^[0-9.]+,.*,[1-9][0-9]*,[1-9][0-9]*,[1-9][0-9]*$' out/stress.csv
expect_healthy

# Nor of calls that fail under its operators, handlers and devices, which it has to live with.
"$SAMARA" stress --guest linux --kernel "$VMLINUX" --modules /lab/modules --append "$APPEND" --cpus 2 \
	--guest-memory 384M --device-memory 128M --slots 8 --slot-size 512K --rate 10 --seed 6 --inject all:20 \
	--seconds "${STRESS_SECONDS:-5}" --console "$CONSOLE" --json out/injected.json >messages 2>&1 ||
	fail "samara stress --inject: $(cat messages)"
expect_line '^injected: .*uffd-copy [1-9]' messages
for key in integrity_errors operation_errors stuck_cpus; do
	expect_line "\"$key\": *0[^0-9]" out/injected.json
done
expect_healthy

# A guest that ends early is named: a kernel that panics for want of an init.
"$SAMARA" stress --guest linux --kernel "$VMLINUX" --append "$APPEND rdinit=/none init=/none" --cpus 1 \
	--guest-memory 128M --device-memory 0 --slots 1 --seconds 1 >messages 2>&1 && fail "a panic passes"
cat messages
expect_line '^ended early: the guest reset itself, as it does after a panic; its console says: .*panic' messages
