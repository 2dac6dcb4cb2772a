# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# How the scripts here report, as TAP: sourced by each of them.

number=0 failed=0

# What there is to be seen when a test failed; a script has its own.
why_failed() {
	:
}

# report STATUS NAME [WHY]: passed if STATUS is 0; if not, WHY is printed, or what why_failed says.
report() {
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
		{ [ -z "${3:-}" ] && why_failed || echo "$3"; } 2>&1 | tail -n 20 | sed 's/^/# /'
		failed=1
	fi
}

# report_skipped NAME REASON
report_skipped() {
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

# gives NAME PATTERN COMMAND...: it succeeds and prints PATTERN
gives() {
	local name=$1 pattern=$2 output
	shift 2
	output=$("$@" 2>&1) && grep -Eq -- "$pattern" <<<"$output"
	report $? "$name" "$output"
}

# until_true COMMAND: at most 100 seconds
until_true() {
	local i
	for ((i = 0; i < 1000; i++)); do
		eval "$1" && return 0
		sleep 0.1
	done
	return 1
}

# report_end: the plan, and the end of the script
report_end() {
	echo "1..$number"
	exit "$failed"
}
