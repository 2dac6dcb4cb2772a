#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make compare, in a few seconds: what it writes and what it refuses, not how fast anything is. Prints TAP.

. "$(dirname "$0")/report.sh"
cd "$(dirname "$0")/../.." || exit 1
if [ "${LOCK:-region}" != region ]; then
	echo "1..0 # SKIP it runs all lock designs, whatever samara was built with"
	exit 0
fi
if ! command -v python3 >/dev/null; then
	echo "1..0 # SKIP python3 is not installed"
	exit 0
fi
scratch=$(mktemp -d) || exit 1
running=
cleanup() {
	[ -z "$running" ] || kill -TERM "$running" 2>/dev/null
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 143' TERM INT
variants=$(for file in mm/lock_*.c; do basename "${file#mm/lock_}" .c; done | sort | tr '\n' ' ')

why_failed() {
	cat "$scratch/log"
}

# compare ARGUMENT...: a tiny comparison of all variants into $scratch/out
compare() {
	timeout 800 python3 tests/bench/compare/compare.py --variants "$variants" --out "$scratch/out" \
		--tiny --rounds 1 --stress-seconds 1 "$@" >"$scratch/log" 2>&1
}

# Right shape, everything measured in each variant (hotplug under load only with KVM), nothing empty.
json_is_right() {
	VARIANTS=$variants STRESS=$1 python3 - "$scratch/out/compare.json" >>"$scratch/log" 2>&1 <<-'END'
		import json, os, statistics, sys
		with open(sys.argv[1]) as file:
		    rows = json.load(file)
		variants = set(os.environ["VARIANTS"].split())
		assert isinstance(rows, list) and rows, "not a list, or empty"
		seen = {}
		for row in rows:
		    assert set(row) == {"workload", "variant", "metric", "unit", "values", "median"}, row
		    assert row["values"] and all(value >= 0 for value in row["values"]), row
		    assert row["median"] == statistics.median(row["values"]), row
		    seen.setdefault((row["workload"], row["metric"]), set()).add(row["variant"])
		workloads = {workload.split(".")[0] for workload, _ in seen}
		expected = {"locks", "timeline", "ops", "loads"} | ({"stress"} if os.environ["STRESS"] else set())
		assert workloads == expected, workloads
		# A second may be too short for each kind of operation.
		for (workload, metric), names in seen.items():
		    optional = workload == "stress.hotplug" and metric.split()[0] in ("plug", "unplug", "remap")
		    assert names == variants or optional, f"{workload} {metric}: only {names}"
		for (workload, metric, variant), row in {(r["workload"], r["metric"], r["variant"]): r for r in rows}.items():
		    if metric == "throughput":
		        assert row["median"] > 0, row
	END
}

plots_are_there() {
	local plot
	for plot in distribution threads timeline regions; do
		grep -q '</svg>' "$scratch/out/$plot.svg" || return 1
		[ "$(head -c 4 "$scratch/out/$plot.png" | tail -c 3)" = PNG ] || return 1
	done
}

table_names_all() {
	local variant
	for variant in $variants; do
		grep -q -w -e "$variant" "$scratch/out/compare.txt" || return 1
	done
}

echo "1..7"
if ! make -s compare-build BENCH_LOCKS="$variants" >"$scratch/log" 2>&1; then
	report 1 "each variant is built"
	exit 1
fi
report 0 "each variant is built"

stress=
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
	stress=1
fi
if command -v gnuplot >/dev/null; then
	compare
	report $? "a tiny comparison runs"
	plots_are_there
	report $? "plots as SVG and PNG"
else
	compare --no-plots
	report $? "a tiny comparison runs"
	report_skipped "plots as SVG and PNG" "gnuplot is not installed"
fi
json_is_right "$stress"
report $? "compare.json: its shape, every variant in every workload"
table_names_all
report $? "the table names every variant"

# A PATH with what it needs, but without gnuplot.
mkdir "$scratch/bin"
ln -s "$(python3 -c 'import sys; print(sys.executable)')" "$scratch/bin/python3"
PATH=$scratch/bin python3 tests/bench/compare/compare.py --variants region --out "$scratch/none" >"$scratch/log" 2>&1
[ $? = 1 ] && grep -q 'gnuplot is not installed' "$scratch/log" && [ ! -e "$scratch/none" ]
report $? "without gnuplot it says so at once"

# Ctrl-C: the last result stays whole, nothing else is left, no contestant goes on.
before=$(cksum <"$scratch/out/compare.json")
rm -f "$scratch/log"
python3 tests/bench/compare/compare.py --variants "$variants" --out "$scratch/out" --tiny --no-plots \
	--rounds 1000 --stress-seconds 1 >"$scratch/log" 2>&1 &
running=$!
for _ in $(seq 1000); do
	! grep -q 'round 1 done' "$scratch/log" || break
	sleep 0.2
done
contestants=$(pgrep -P "$running" | tr '\n' ' ')
# SIGTERM, since a shell's background jobs ignore SIGINT; compare takes both alike.
kill -TERM "$running"
wait "$running"
status=$?
running=
left=
for pid in $contestants; do
	! kill -0 "$pid" 2>/dev/null || left+=" $pid"
done
echo "exit status $status; contestants:${contestants:- none}; left:${left:- none}" >>"$scratch/log"
[ "$status" = 130 ] && [ -n "$contestants" ] && [ -z "$left" ] &&
	[ "$before" = "$(cksum <"$scratch/out/compare.json")" ] && [ -z "$(find "$scratch/out" -name '.new-*')" ]
report $? "interrupted, it leaves the last result whole and nothing running"
exit "$failed"
