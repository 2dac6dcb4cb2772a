# SPDX-License-Identifier: GPL-2.0-or-later
# The doctor takes real KVM for what it is, by running a guest.
"$SAMARA" doctor || fail "samara doctor: status $?"
"$SAMARA" doctor --json >out/doctor.json || fail "samara doctor --json: status $?"
cat out/doctor.json
for verdict in '"virtualization": "hardware"' '"stock_kernel": "direct"' '"stress": "direct"'; do
	grep -q "$verdict" out/doctor.json || fail "samara doctor does not say $verdict"
done
