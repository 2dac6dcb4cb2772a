#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The static probes of mm/trace.h: in the program with their names and arguments, what they say when
# a VM's memory is changed, and whether docs/tracing.md is still right. SAMARA names the program.

set -u
. "$(dirname "$0")/report.sh"
cd "$(dirname "$0")/../.." || exit 1
SAMARA=$(realpath "${SAMARA:-build/region/samara}")
DIR=$(mktemp -d) || exit 1
vm=
tracer=

cleanup() {
	[ -z "$tracer" ] || kill -KILL "$tracer" 2>/dev/null
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

# ---- Without them ----

for source in mm/*.c; do
	case $source in mm/maple_walk_neon.c) continue ;; esac
	${CC:-gcc} -std=gnu11 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -DSAMARA_TRACE=0 -Iinclude -I. \
		-c -o "$DIR/object.o" "$source" 2>>"$DIR/errors" || echo "$source" >>"$DIR/errors"
	! readelf -n "$DIR/object.o" | grep -q stapsdt || echo "$source has probes" >>"$DIR/errors"
done
[ ! -s "$DIR/errors" ]
report $? "with SAMARA_TRACE=0 it compiles and has no probes" "$(head -5 "$DIR/errors")"

# ---- Names and numbers of arguments ----

if ! echo '#include <sys/sdt.h>' | ${CC:-gcc} -E - >/dev/null 2>&1; then
	report_skipped "the rest" "there is no <sys/sdt.h>: samara is built without probes"
	report_end
fi
# As documented in the header: "name N".
sed -n '/^ \*   [a-z_]*(/p' mm/trace.h | grep -oE '[a-z_]+\([a-z_, ]*\)' |
	awk -F '[(]' '{ print $1, gsub(",", ",", $2) + 1 }' | sort >"$DIR/documented"
# probes FILE: what its ELF notes have, in the same form
probes() {
	readelf -n "$1" | awk '
		/Provider:/ { provider = $2 }
		/Name:/ { name = $2 }
		/Arguments:/ && provider == "samara" { print name, NF - 1 }' | sort -u
}
probes "${SAMARA%/*}/libsamara-mm.so" >"$DIR/built"
[ "$(wc -l <"$DIR/documented")" -ge 14 ] && diff "$DIR/documented" "$DIR/built" >"$DIR/diff"
report $? "the library's ELF notes have each probe of mm/trace.h, with its arguments" "$(cat "$DIR/diff")"
# The program has what it uses of the library: all but reback, unless it learns that too.
probes "$SAMARA" | grep -v '^reback ' >"$DIR/program"
grep -v '^reback ' "$DIR/documented" | diff - "$DIR/program" >"$DIR/diff"
report $? "and so have the program's" "$(cat "$DIR/diff")"
sed -nE 's/^\| `samara:([a-z_]+)` \| ([^|]*) \|.*/\1,\2/p' docs/tracing.md | awk -F , '{ print $1, NF - 1 }' |
	sort | diff "$DIR/built" - >"$DIR/diff"
report $? "docs/tracing.md has them all" "$(cat "$DIR/diff")"

# ---- bpftrace ----

if ! command -v bpftrace >/dev/null; then
	report_skipped "bpftrace" "bpftrace is not installed"
	report_end
elif [ "$(id -u)" -ne 0 ]; then
	report_skipped "bpftrace" "it needs root"
	report_end
fi
awk -v folder="$DIR" '/^```bpftrace/ { file = folder "/" ++n ".bt"; next } /^```/ { file = "" } file { print >file }' docs/tracing.md
[ -e "$DIR/4.bt" ]
report $? "docs/tracing.md has examples"
for example in "$DIR"/*.bt; do
	sed -i "s|/usr/local/bin/samara|$SAMARA|" "$example"
	bpftrace -d "$example" >"$DIR/out" 2>&1
	report $? "bpftrace understands: $(head -n 1 "$example" | cut -d : -f 4)" "$(tail -n 5 "$DIR/out")"
done

if ! [ -w /dev/kvm ]; then
	report_skipped "what the probes say" "no /dev/kvm that may be opened"
	report_end
fi
${CC:-gcc} -c -DLOOP -o "$DIR/guest.o" tests/run/tiny.S &&
	objcopy -O binary -j .text "$DIR/guest.o" "$DIR/guest"
"$SAMARA" run -k "$DIR/guest" --memory 64M,max=8G --serial null --qmp "unix:$DIR/qmp" --paused \
	>"$DIR/log" 2>&1 &
vm=$!
ctl() { "$SAMARA" ctl "$DIR/qmp" "$@"; }
until_true 'ctl status >/dev/null 2>&1'
report $? "a VM starts" "$(cat "$DIR/log")"

{
	for probe in plug:3 unplug:2 remap:3 protect:3 discard:2 lock_try:3 drain_begin:1 drain_end:1; do
		name=${probe%:*} arguments=
		for ((i = 0; i < ${probe#*:}; i++)); do arguments+=", arg$i"; done
		[ "$name" != lock_try ] || echo "usdt:$SAMARA:samara:lock_try /arg1 >= 0x100000000/"
		[ "$name" = lock_try ] || echo "usdt:$SAMARA:samara:$name"
		format=${arguments//, arg?/ %lx}
		echo "{ printf(\"$name$format\\n\"$arguments); }"
	done
	echo "usdt:$SAMARA:samara:operation_end { printf(\"operation_end %d\\n\", (int32)arg0); }"
	echo 'BEGIN { printf("attached\n"); }'
} >"$DIR/all.bt"
if ! timeout 200 bpftrace -p $vm -e "usdt:$SAMARA:samara:plug { @n = count(); } BEGIN { exit(); }" \
	>"$DIR/out" 2>&1; then
	report_skipped "what the probes say" "bpftrace cannot attach here: $(tail -n 1 "$DIR/out")"
	report_end
fi
stdbuf -oL bpftrace -p $vm "$DIR/all.bt" >"$DIR/trace" 2>"$DIR/errors" &
tracer=$!
until_true 'grep -q "^attached" "$DIR/trace" || ! kill -0 $tracer 2>/dev/null'
grep -q "^attached" "$DIR/trace"
report $? "bpftrace attaches to all of them" "$(cat "$DIR/errors")"
ctl plug 4G 2M && ctl protect 4G 1M ro && ctl protect 4G 1M rw && ctl populate 0x100100000 64K &&
	ctl remap 0x100100000 64K 6G && ctl unplug 6G 64K && ! ctl unplug 6G 64K 2>/dev/null
report $? "its memory is changed"
until_true 'grep -q "^operation_end -2" "$DIR/trace"'

# says NAME LINE...: these lines, in this order, others between them
says() {
	local name=$1 line at=0
	shift
	for line; do
		at=$(awk -v after="$at" -v line="$line" 'NR > after && $0 == line { print NR; exit }' "$DIR/trace")
		[ -n "$at" ] || break
	done
	[ -n "$at" ]
	report $? "$name" "no '$line' in its place: $(tr '\n' ';' <"$DIR/trace")"
}
says "plug: gpa, size, protection, result" "plug 100000000 200000 3" "operation_end 0"
says "protect: gpa, size, protection" "protect 100000000 100000 1" "operation_end 0" \
	"protect 100000000 100000 3" "operation_end 0"
says "remap: gpa, size, new gpa" "remap 100100000 10000 180000000" "operation_end 0"
says "unplug, discard: gpa, size" "unplug 180000000 10000" "discard 180000000 10000" \
	"operation_end 0" "unplug 180000000 10000" "operation_end -2"
says "lock_try: the range that populate held" "plug 100000000 200000 3" \
	"$(grep -m 1 -E '^lock_try [0-9a-f]+ 100100000 10010ffff$' "$DIR/trace" || echo lock_try)" \
	"remap 100100000 10000 180000000"
tree=$(awk '/^lock_try / { print $2; exit }' "$DIR/trace")
says "drain: of guest memory's tree, within the operation" "unplug 180000000 10000" \
	"drain_begin $tree" "drain_end $tree" "discard 180000000 10000"
ctl quit
wait "$vm"
report $? "quit ends samara with status 0, traced as it is" "$(cat "$DIR/log")"
vm=
report_end
