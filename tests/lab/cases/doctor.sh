# SPDX-License-Identifier: GPL-2.0-or-later
# The doctor takes real KVM for what it is, by running a guest.
"$SAMARA" doctor || fail "samara doctor: status $?"
"$SAMARA" doctor --json >out/doctor.json || fail "samara doctor --json: status $?"
cat out/doctor.json
