#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The simulation of tests/bench/sim: its invariants.

cd "$(dirname "$0")/../.." || exit 1
if [ "${LOCK:-region}" != region ]; then
	echo "1..0 # SKIP it models all lock designs, whatever samara was built with"
	exit 0
fi
if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP python3 is not installed"
	exit 0
fi
exec python3 tests/bench/sim/test_sim.py
