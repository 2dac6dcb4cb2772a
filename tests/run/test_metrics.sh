#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# samara run --metrics and samara ctl stats --watch, against a VM that runs. SAMARA names the program.

set -u
. "$(dirname "$0")/report.sh"
cd "$(dirname "$0")/../.." || exit 1
SAMARA=${SAMARA:-build/region/samara}
DIR=$(mktemp -d) || exit 1
SOCKET=$DIR/qmp
vm=
children=()

cleanup() {
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null
	[ ${#children[@]} -eq 0 ] || kill -KILL "${children[@]}" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

# refused NAME PATTERN VALUE: as --metrics; status 2, before anything is started
refused() {
	local output status
	output=$("$SAMARA" run -k x --metrics "$3" 2>&1)
	status=$?
	[ $status -eq 2 ] && grep -Eq -- "$2" <<<"$output"
	report $? "$1" "status $status: $output"
}

ctl() { "$SAMARA" ctl "$SOCKET" "$@"; }
get() { curl --silent --show-error --max-time 100 --unix-socket "$DIR/metrics" "$@"; }

refused "--metrics: neither unix nor tcp" "'http://x' is not unix:PATH" http://x
refused "--metrics: a port that is none" '1 to 65535' tcp:70000
refused "--metrics: port 0" '1 to 65535' tcp:127.0.0.1:0
refused "--metrics: a name instead of an address" 'numeric' tcp:localhost:9090
refused "--metrics: IPv6 without brackets" 'brackets' tcp:::1:9090
refused "--metrics: an empty path" 'unix:PATH' unix:

if ! [ -w /dev/kvm ]; then
	report_skipped "the rest" "no /dev/kvm that may be opened"
	report_end
fi

${CC:-gcc} -c -DLOOP -o "$DIR/guest.o" tests/run/tiny.S &&
	objcopy -O binary -j .text "$DIR/guest.o" "$DIR/guest"
"$SAMARA" run -k "$DIR/guest" --memory 64M,max=1G --serial null --name 'a "name"\' \
	--qmp "unix:$SOCKET" --metrics "unix:$DIR/metrics" >"$DIR/log" 2>&1 &
vm=$!
until_true 'get -o "$DIR/text" http://x/metrics 2>/dev/null && ctl status >/dev/null 2>&1'
report $? "a VM with a metrics endpoint starts" "$(cat "$DIR/log")"

gives "the socket is its owner's" '^600$' stat -c %a "$DIR/metrics"
gives "the format is named" '^text/plain; version=0.0.4; charset=utf-8$' \
	get -o "$DIR/text" -w '%{content_type}\n' http://x/metrics
gives "memory at start" '^samara_plugged_bytes 67108864$' cat "$DIR/text"
gives "labels are escaped" '^samara_info\{name="a \\"name\\"\\\\",version="[0-9.]+",lock="[a-z-]+"\} 1$' cat "$DIR/text"

# Each line is a comment or a sample; each metric has its HELP and TYPE, once, before it.
output=$(awk '
	/^# HELP samara_[a-z_]+ .+$/ { help[$3]++; next }
	/^# TYPE samara_[a-z_]+ (counter|gauge)$/ { type[$3]++; kind[$3] = $4; next }
	/^samara_[a-z_]+(\{[^}]*\})? [0-9]+(\.[0-9]+)?$/ {
		name = $1; sub(/[{].*/, "", name)
		if (help[name] != 1 || type[name] != 1 || seen[name]++) print "bad: " $0
		if ((kind[name] == "counter") != (name ~ /_total$/)) print "name: " $0
		next
	}
	{ print "neither: " $0 }
	END { for (n in type) if (!seen[n]) print "no sample: " n; if (length(seen) < 20) print "too few" }
' "$DIR/text")
[ -z "$output" ]
report $? "every line follows the text format" "$output"
ctl plug 4G 128M && ctl unplug 4G 128M && ctl plug 4G 2M
gives "operations are counted" '^samara_plugs_total 3$' get http://x/metrics
gives "as x-samara-stats counts them" '^plugs +3$' ctl stats
gives "and sizes" '^samara_plugged_bytes 69206016$' get http://x/metrics
gives "time is in seconds" '^samara_lock_wait_seconds_total [0-9]+\.[0-9]{9}$' get http://x/metrics

gives "HEAD" '200 OK' get --head http://x/metrics
gives "another path: 404" '^404$' get -o "$DIR/out" -w '%{http_code}' http://x/other
gives "POST: 405" '^405$' get -o "$DIR/out" -w '%{http_code}' -d x=1 http://x/metrics
head -c 200000 /dev/zero >"$DIR/zeros"
gives "a body that nobody wants: 405" '^405$' \
	get -o "$DIR/out" -w '%{http_code}' -T "$DIR/zeros" http://x/metrics
get -o "$DIR/out" -H "X-Long: $(head -c 60000 /dev/zero | tr '\0' x)" http://x/metrics 2>/dev/null
gives "after a header without end: served" '^samara_plugs_total 3$' get http://x/metrics

# Clients that send garbage, say nothing, or stop half-way: 40 of them, more than are let in.
python3 - "$DIR/metrics" "$DIR/ready" <<'PY' &
import os, socket, sys, time
held = []
for i in range(40):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(5)
    try:
        s.connect(sys.argv[1])
        s.send([b"", b"GET /met", b"\0\xff" * 500, b"GET /metrics HTTP/1.1\r\nHost: x\r\n"][i % 4])
    except OSError:
        pass
    held.append(s)
open(sys.argv[2], "w").close()
time.sleep(600)
PY
children+=($!)
until_true '[ -e "$DIR/ready" ]'
report $? "forty hostile clients connect"
gives "the control socket does not notice" '^running$' timeout 100 "$SAMARA" ctl "$SOCKET" status
gives "operations do not" '^$' timeout 100 "$SAMARA" ctl "$SOCKET" unplug 4G 2M
until_true 'get http://x/metrics 2>/dev/null | grep -q "^samara_unplugs_total 2$"'
report $? "they are dropped after a while, and others are served"
kill "${children[@]}" 2>/dev/null

output=$("$SAMARA" run -k "$DIR/guest" --serial null --metrics "unix:$DIR/metrics" 2>&1)
[ $? -eq 1 ] && [ "$(wc -l <<<"$output")" -eq 1 ] && grep -q 'listens' <<<"$output"
report $? "a second VM at the same place is refused" "$output"

# ---- samara ctl stats --watch ----

# By timeout, since what a shell starts in the background ignores SIGINT; it passes signals on.
timeout --preserve-status 400 "$SAMARA" ctl "$SOCKET" stats --watch 0.2 --json >"$DIR/watch" 2>&1 &
watch=$!
until_true '[ "$(wc -l <"$DIR/watch")" -ge 1 ]'
for ((i = 0; i < 5; i++)); do ctl plug 4G 2M; ctl unplug 4G 2M; done
lines=$(wc -l <"$DIR/watch")
until_true '[ "$(wc -l <"$DIR/watch")" -ge $((lines + 2)) ]'
kill -INT $watch
wait $watch
report $? "stats --watch runs until Ctrl-C, which ends it with status 0" "$(tail -n 3 "$DIR/watch")"
python3 - "$DIR/watch" >"$DIR/out" 2>&1 <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert len(lines) >= 3, len(lines)
assert not lines[0]["rates"], lines[0]
total = 0
for before, now in zip(lines, lines[1:]):
    assert 0.19 < now["seconds"] < 300, now["seconds"]
    assert "regions" not in now["rates"]
    for name, rate in now["rates"].items():
        grown = now["stats"][name] - before["stats"][name]
        assert abs(rate * now["seconds"] - grown) < 0.01, (name, rate, grown)
    total += now["rates"]["plugs"]
assert total > 0
PY
report $? "each line is JSON, and the rates are what the counters grew by" "$(cat "$DIR/out")"
timeout 400 "$SAMARA" ctl "$SOCKET" stats --watch 0.1 >"$DIR/watch" 2>&1 &
watch=$!
until_true '[ "$(grep -c ^COUNTER "$DIR/watch")" -ge 3 ]'
kill -TERM $watch
wait $watch
gives "a table with rates" '^plugs +[0-9]+ +[0-9.]+$' cat "$DIR/watch"
! grep -q $'\033' "$DIR/watch"
report $? "which is plain text when it goes to a file"
for words in '--watch 0' '--watch soon' '--watch 1 2' '--watch --fly'; do
	# shellcheck disable=SC2086 # words
	output=$(ctl stats $words 2>&1)
	[ $? -eq 2 ] && [ "$(wc -l <<<"$output")" -eq 1 ]
	report $? "stats $words: usage" "$output"
done

timeout 400 "$SAMARA" ctl "$SOCKET" stats --watch 0.1 >"$DIR/watch" 2>"$DIR/out" &
watch=$!
until_true '[ -s "$DIR/watch" ]'
ctl quit
wait "$vm"
report $? "quit ends samara with status 0" "$(cat "$DIR/log")"
vm=
[ ! -e "$DIR/metrics" ]
report $? "no socket file is left"
wait $watch
[ $? -eq 1 ] && [ "$(wc -l <"$DIR/out")" -eq 1 ]
report $? "who watches is told, in one line" "$(cat "$DIR/out")"

# ---- TCP ----

port=$((20000 + $$ % 20000))
"$SAMARA" run -k "$DIR/guest" --serial null --metrics tcp:$port >"$DIR/log" 2>&1 &
vm=$!
until_true 'curl -s --max-time 100 -o "$DIR/text" http://127.0.0.1:$port/metrics'
report $? "tcp:PORT serves 127.0.0.1" "$(cat "$DIR/log")"
gives "metrics by TCP" '^samara_vcpus 1$' cat "$DIR/text"
address=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 -F .)
if [ -n "$address" ]; then
	! curl -s -o "$DIR/out" --max-time 2 "http://$address:$port/metrics"
	report $? "no other address"
else
	report 0 "no other address # SKIP this machine has none"
fi
output=$("$SAMARA" run -k "$DIR/guest" --serial null --metrics tcp:127.0.0.1:$port 2>&1)
[ $? -eq 1 ] && [ "$(wc -l <<<"$output")" -eq 1 ] && grep -q "$port.*in use" <<<"$output"
report $? "a port in use: one line, status 1" "$output"
kill -TERM "$vm"
wait "$vm"
[ $? -eq 143 ]
report $? "SIGTERM ends it"
vm=
report_end
