#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# samara ctl against a VM that runs. The guest is a few instructions: it writes 'A' at 32 MiB, then
# counts at 24 MiB all the time, and prints what it reads at 48 MiB whenever that changes, '0' for a
# zero. SAMARA names the program.

# shellcheck disable=SC2016 # until_true takes its command in single quotes

set -u
. "$(dirname "$0")/report.sh"
SAMARA=${SAMARA:-build/region/samara}
DIR=$(mktemp -d) || exit 1
SOCKET=$DIR/qmp
vm=

cleanup() {
	[ -z "$vm" ] || kill -KILL "$vm" 2>/dev/null
	rm -rf "$DIR"
}
trap cleanup EXIT

ctl() { "$SAMARA" ctl "$SOCKET" "$@"; }

# lacks NAME PATTERN COMMAND...: it succeeds and does not print PATTERN
lacks() {
	local name=$1 pattern=$2 output
	shift 2
	output=$("$@" 2>&1) && ! grep -Eq -- "$pattern" <<<"$output"
	report $? "$name" "$output"
}

# fails STATUS NAME PATTERN COMMAND...: it ends with STATUS and one line with PATTERN
fails() {
	local wanted=$1 name=$2 pattern=$3 output status
	shift 3
	output=$("$@" 2>&1)
	status=$?
	[ "$status" -eq "$wanted" ] && [ "$(wc -l <<<"$output")" -eq 1 ] &&
		grep -Eq -- "$pattern" <<<"$output"
	report $? "$name" "status $status: $output"
}

# start OPTION...: a VM with its socket up
start() {
	"$SAMARA" run --kernel "$DIR/guest.elf" --memory 64M,max=2G --serial "file:$DIR/serial" \
		--qmp "unix:$SOCKET" --cpus 2 "$@" >"$DIR/log" 2>&1 &
	vm=$!
	until_true 'ctl status >/dev/null 2>&1 || ! kill -0 "$vm" 2>/dev/null' && [ -S "$SOCKET" ]
}

cat >"$DIR/guest.S" <<'END'
	.section .note.pvh, "a", @note
	.long 4, 4, 18		/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start
	.text
	.code32
	.globl start
start:	movb $'A', 0x2000000
	mov $0xff, %bl
1:	incl 0x1800000
	mov 0x3000000, %al
	cmp %al, %bl
	je 1b
	mov %al, %bl
	test %al, %al
	jnz 2f
	mov $'0', %al
2:	mov $0x3f8, %dx
	out %al, %dx
	jmp 1b
END
cat >"$DIR/guest.ld" <<'END'
ENTRY(start)
PHDRS { text PT_LOAD FLAGS(5); note PT_NOTE FLAGS(4); }
SECTIONS {
	. = 0x100000;
	.note.pvh : { *(.note.pvh) } :text :note
	.text : { *(.text) } :text
	/DISCARD/ : { *(*) }
}
END
if ! [ -w /dev/kvm ]; then
	echo "1..0 # SKIP no /dev/kvm that may be opened"
	exit 0
fi
${CC:-gcc} -nostdlib -static -no-pie -Wl,-T,"$DIR/guest.ld",--build-id=none \
	-Wl,-z,noexecstack,-z,max-page-size=4096 -o "$DIR/guest.elf" "$DIR/guest.S" 2>"$DIR/log" &&
	start
report $? "a VM with a control socket starts" "$(cat "$DIR/log")"

gives "the socket is its owner's" '^600$' stat -c %a "$SOCKET"
gives "status" '^running$' ctl status
gives "regions" '^ *0x0 +0x3ffffff +64 MiB +rw +anon' ctl regions
gives "regions --json" '"size": 67108864' ctl regions --json
gives "stats" '^plugged-bytes +67108864$' ctl stats
gives "stats --json" '"plugged-bytes": 67108864' ctl stats --json
gives "the socket with unix: before it" '^running$' "$SAMARA" ctl "unix:$SOCKET" status

gives "plug" '^$' ctl plug 4G 128M
gives "it is there" '0x100000000 +0x107ffffff +128 MiB +rw' ctl regions
fails 1 "plug once more is refused, with the range" '0x100000000' ctl plug 4G 4K
gives "protect" '^$' ctl protect 4G 64M ro
gives "half of it is read-only" '0x100000000 +0x103ffffff +64 MiB +ro' ctl regions
gives "populate" '^$' ctl populate 0x106000000 2M
gives "the pages are counted" '0x104000000 +0x107ffffff +64 MiB +rw +anon +2 MiB' ctl regions
gives "protect rw" '^$' ctl protect 4G 64M rw
gives "unplug" '^$' ctl unplug 4G 128M
lacks "it is gone" '0x100000000' ctl regions
fails 1 "unplug of nothing is refused" '0x100000000' ctl unplug 4G 128M
gives "plug --ro" '^$' ctl plug 4G 2M --ro
gives "it is read-only" '0x100000000 +0x1001fffff +2 MiB +ro' ctl regions

until_true '[ "$(cat "$DIR/serial")" = 0 ]'
report $? "the guest reads zero at first" "$(cat "$DIR/serial")"
gives "unplug what the guest reads" '^$' ctl unplug 48M 4K
gives "remap another page there" '^$' ctl remap 32M 4K 48M
until_true '[ "$(cat "$DIR/serial")" = 0A ]'
report $? "the guest reads the page that was moved" "$(cat "$DIR/serial")"
gives "unplug it" '^$' ctl unplug 48M 4K
until_true '[ "$(cat "$DIR/serial")" = 0A0 ]'
report $? "the guest reads zeros where nothing is" "$(cat "$DIR/serial")"
gives "and that is counted" '^faults-nothing +[1-9]' ctl stats

gives "stop" '^$' ctl stop
gives "paused" '^paused$' ctl status
gives "regions of a paused VM" '0x100000000' ctl regions
gives "cont" '^$' ctl cont
gives "running again" '^running$' ctl status
gives "raw" '"thread-id": [1-9]' ctl raw '{"execute":"query-cpus-fast"}'
gives "reset" '^$' ctl reset
until_true '[ "$(cat "$DIR/serial")" = 0A00 ]'
report $? "the guest starts anew" "$(cat "$DIR/serial")"
gives "running after the reset" '^running$' ctl status

fails 1 "raw with an unknown command" 'fly' ctl raw '{"execute":"fly"}'
fails 2 "raw without JSON" 'raw' ctl raw fly
fails 2 "an unknown verb" 'fly' ctl fly
fails 2 "a missing operand" 'populate: a word is missing; usage: populate GPA SIZE ' ctl populate 4G

# A wrong number of words is named as such, with all that there is.
fails 2 "a missing size" 'resize: a word is missing; usage: resize SIZE' ctl resize
fails 2 "a word that nothing asks for" "events: one word too many: 'foo'; usage: events" ctl events foo
fails 2 "plug alone" 'usage: plug GPA SIZE \[--ro\], or: plug SIZE \[OPTION' ctl plug
fails 2 "an option of the other way to use a verb" '--id here; usage: plug GPA' ctl plug 4G 1G --id a
# Options are whole words: "--nod 1" once was node 0, and a second to wait.
for option in '--nod 1' '--tim 1' '--i 7' '--n 1' '-id 7' '--virtio 1' '--nodes=1'; do
	fails 2 "plug 1G $option" "plug: there is no option ${option%%[ =]*} " eval "ctl plug 1G $option"
done
fails 2 "devices --j" 'devices: there is no option --j ' ctl devices --j
fails 2 "devices --j 5" 'there is no option --j ' ctl devices --j 5
fails 2 "stats --wat" 'there is no option --wat ' ctl stats --wat
fails 2 "an option's value that is missing" '--timeout: its value is missing' ctl unplug dimm0 --timeout
fails 2 "an option instead of a value" '--id: its value is missing' ctl plug 1G --id --node 1
fails 2 "a value that is none" "--timeout: '1x' is not a number" ctl plug 1G --timeout=1x
fails 2 "a value where there is none" '--json takes no value' ctl devices --json=1
fails 2 "a size to request of a DIMM" 'go with --virtio-mem' ctl plug 1G --requested 1G
fails 2 "a backing that is none" "'tape' is none" ctl plug 1G --backing tape
fails 2 "a file without a path" 'path=FILE go together' ctl plug 1G --backing file
fails 2 "a setting that is none" "'merge=on' is no setting" ctl plug 1G --backing memfd,merge=on
fails 2 "nodes without a policy" 'without a policy' ctl plug 1G --backing ram,host-nodes=0
gives "help" 'usage: samara ctl SOCKET VERB' "$SAMARA" ctl --help
gives "help of a verb" '--virtio-mem' ctl plug --help
gives "help without a socket" 'resize SIZE' "$SAMARA" ctl resize --help
lacks "of that verb only" 'plug GPA' "$SAMARA" ctl resize --help
# The socket's commands without a verb are those about the protocol, or by which others are made.
missing=$(ctl raw '{"execute":"query-commands"}' | sed -n 's/.*"name": "\(.*\)".*/\1/p' |
	while read -r command; do
		grep -q "\"$command\"" vmm/ctl*.c || echo "$command"
	done | sort | tr '\n' ' ')
[ "$missing" = "qmp_capabilities query-commands query-qmp-schema " ]
report $? "every command has a verb, but those about the protocol" "$missing"
fails 1 "a DIMM for which there is no room" 'not enough space' ctl plug 4G
gives "cpus" '^ *1 +[1-9]' ctl cpus
gives "name" '^samara$' ctl name
gives "version" '[0-9]\.[0-9]' ctl version
gives "memory" '^base +64 MiB$' ctl memory
gives "memory --json" '"base-memory": 67108864' ctl memory --json
gives "slots" '^ *0 ' ctl slots
fails 1 "a balloon that is not there" 'No balloon' ctl balloon
fails 1 "its interval" 'No balloon' ctl balloon --interval 1
gives "no devices to list" '^$' ctl devices

# virtio-mem devices of a guest without a driver for them: they come, stay over a reset, and go.
execute() { ctl raw "{\"execute\":\"$1\",\"arguments\":$2}"; }
add_mem() {
	execute object-add "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m$1\",\"size\":\"4M\"}" &&
		execute device_add "{\"driver\":\"virtio-mem-device\",\"id\":\"vm$1\",\"memdev\":\"m$1\"}"
}
gives "a virtio-mem is plugged" '{}' add_mem 0
gives "it is listed" '^vm0 +virtio-mem .* 4 MiB' ctl devices
gives "reset" '^$' ctl reset
until_true '[ "$(ctl status)" = running ]'
gives "it stays over a reset" '^vm0 +virtio-mem' ctl devices
fails 1 "one with memory asked for does not go" 'still plugged' eval \
	'execute qom-set "{\"path\":\"/machine/peripheral/vm0\",\"property\":\"requested-size\",\"value\":2097152}" >/dev/null && ctl unplug vm0'
gives "ask for none" '{}' execute qom-set '{"path":"/machine/peripheral/vm0","property":"requested-size","value":0}'
gives "it is unplugged" '^vm0: 0 B? ?.*back on the host' ctl unplug vm0
gives "its slot is free again" '{}' eval 'for i in 1 2 3 4 5 6 7 8; do add_mem $i || break; done'
fails 1 "there are eight slots" 'no free slots' eval 'add_mem 9 2>&1 | grep -v "{}"; [ "${PIPESTATUS[0]}" -eq 0 ]'
gives "pause and go on with all of them" '^$' eval 'ctl stop && ctl cont'
lacks "the first is gone" '^vm0 ' ctl devices
fails 1 "resize has to know which one" 'several virtio-mem devices \(vm[1-8], .*--id says which' ctl resize 66M
fails 1 "one that is not there" 'no virtio-mem device called vm0' ctl resize 66M --id vm0
fails 1 "this guest has no driver for it" 'vm3: the guest has not answered' ctl resize 66M --id vm3 --timeout 0
gives "it was the one that was named" '^2097152$' ctl qom-get /machine/peripheral/vm3 requested-size
gives "no other was" '^0$' ctl qom-get /machine/peripheral/vm1 requested-size
gives "asked for nothing, it is done" '^64 MiB in all' ctl resize 64M --id vm3
gives "all of them go" 'vm8: ' eval 'for i in 1 2 3 4 5 6 7 8; do ctl unplug vm$i || break; done'

# The same by verbs.
gives "plug --virtio-mem" '^vmem0: room for 4 MiB' ctl plug 4M --virtio-mem
gives "its name and kind" '^vmem0 +virtio-mem .* 0 B +4 MiB' ctl devices
fails 1 "what is requested is waited for" 'big: the guest has not answered' \
	ctl plug 8M --virtio-mem --id big --requested 4M --block 4M --timeout 0
gives "block and size are as asked" '"block-size": 4194304' ctl devices --json
gives "as is what is requested" '^4194304$' ctl qom-get /machine/peripheral/big requested-size
fails 1 "a backend that virtio-mem can't have" 'memdev memvmem1' ctl plug 4M --virtio-mem --backing memfd
lacks "leaves nothing behind" 'memvmem1' ctl qom-list /objects
gives "qom-set" '^$' ctl qom-set /machine/peripheral/big requested-size 0
gives "unplug them" '^big: .*back on the host' eval 'ctl unplug vmem0 && ctl unplug big'
lacks "the backends went, too" 'mem(vmem0|big)' ctl qom-list /objects

# One that the guest let go when nobody waited any more has left its backend.
gives "a backend without its device" '{}' execute object-add '{"qom-type":"memory-backend-ram","id":"memlate","size":"4M"}'
gives "unplug again removes it" '^late: had gone' ctl unplug late
fails 1 "and then there is nothing" 'late: there is no such memory device' ctl unplug late

# A device without an id is found by its place.
gives "one without an id" '{}' eval 'execute device_add "{\"driver\":\"virtio-mem-device\",\"memdev\":\"m1\"}"'
fails 1 "it can be resized" '0x[0-9a-f]+ without an id: the guest has not answered' ctl resize 66M --timeout 0
gives "it was asked" '"requested-size": 2097152' ctl devices --json
gives "and is asked for nothing" '^64 MiB in all' ctl resize 64M
gives "one more" '^vmem0' ctl plug 4M --virtio-mem
fails 1 "then it has to be said which" 'several .*0x[0-9a-f]+ without an id, vmem0\)' ctl resize 66M

# DIMMs of this guest, which has no driver for them either.
dimm() { ctl plug "$@" --timeout 0; }
fails 1 "a DIMM of a memfd" 'one: the guest has not answered' dimm 4M --id one --backing memfd,share=on
gives "its backend is one" 'child<memory-backend-memfd>' ctl qom-list /objects
fails 1 "a DIMM with a policy" 'two: the guest has not answered' \
	dimm 4M --id two --backing ram,host-nodes=0,policy=bind,prealloc=on
gives "all pages are there" '4 MiB +rw +anon +4 MiB' ctl regions
fails 1 "huge pages in a VM without" 'hugetlb' dimm 4M --backing hugetlb
head -c 2M /dev/zero | tr '\0' x >"$DIR/contents"
fails 1 "a file, by a relative path" 'three: the guest has not answered' \
	eval 'program=$(realpath "$SAMARA") && cd "$DIR" &&
		"$program" ctl qmp plug 2M --id three --timeout 0 --backing file,path=contents'
gives "devices" '^three +dimm' ctl devices
gives "memory counts it" '^plugged +10 MiB$' ctl memory
gives "what is plugged and base" '^total +74 MiB$' ctl memory

fails 2 "a size that is none" 'manyM' ctl plug 4G manyM
fails 2 "an operand too many" "one word too many: '1M'" ctl unplug 4G 1M 1M
fails 1 "a socket that is not there" 'no such socket' "$SAMARA" ctl "$DIR/none" status
fails 1 "a file that is no socket" 'log' "$SAMARA" ctl "$DIR/log" status
fails 1 "a second VM on the same socket" "$SOCKET.*listens" \
	"$SAMARA" run --kernel "$DIR/guest.elf" --serial null --qmp "unix:$SOCKET"
gives "the first is not disturbed" '^running$' ctl status

gives "quit" '^$' ctl quit
wait "$vm"
report $? "quit ends samara with status 0" "$(cat "$DIR/log")"
[ ! -e "$SOCKET" ]
report $? "no socket file is left"
fails 1 "then nobody is there" 'no such socket' ctl status

start --paused
report $? "a VM starts paused" "$(cat "$DIR/log")"
gives "prelaunch" '^(prelaunch|paused)$' ctl status
gives "plug before the start" '^$' ctl plug 4G 2M
gives "cont" '^$' ctl cont
gives "it runs" '^running$' ctl status
kill -KILL "$vm"
wait "$vm" 2>/dev/null
until_true '[ ! -e "$SOCKET" ]'
report $? "SIGKILL leaves no socket file"

# A balloon of a guest without a driver for it.
start --balloon
gives "balloon" '^actual +64 MiB$' ctl balloon
gives "nothing is asked for" '^target +64 MiB$' ctl balloon
gives "it tells of nothing" '^last-update +never$' ctl balloon
gives "interval" '^interval +5 s$' ctl balloon --interval 5
gives "it stays so" '"guest-stats-polling-interval": 5' ctl balloon --json
fails 2 "an interval that is none" "'soon' is not a number" ctl balloon --interval soon
gives "what is so already is done" '^the guest has 64 MiB left' ctl balloon 64M
fails 1 "nobody fills it" 'the request stands' ctl balloon 32M --timeout 0
gives "it is asked for" '^target +32 MiB$' ctl balloon
# The guest might have pages in its hands that it was asked for: it has to rest.
gives "what is so by chance, is looked at for a while" '64 MiB left \((0\.[5-9]|[1-9].*) s\)' ctl balloon 64M
gives "quit" '^$' ctl quit
wait "$vm"

# A vCPU whose write is held. Where KVM emulates instructions it does not heed signals, so it cannot be
# paused; where it can, it is. Everything else works in either case.
start
gives "memory under a guest that writes is made read-only" '^$' ctl protect 24M 4K ro
until_true 'ctl stats | grep -Eq "faults-held +[1-9]"'
report $? "its write is held" "$(ctl stats)"
if output=$(ctl stop 2>&1); then
	gives "it is paused" '^paused$' ctl status
	ctl cont
	report $? "and goes on"
else
	grep -q 'read-only' <<<"$output"
	report $? "it cannot be paused, and is told why" "$output"
	gives "it counts as running" '^running$' ctl status
fi
gives "it is reset" '^$' ctl reset
held='ctl stats | sed -nE "s/.*faults-held +([0-9]+).*/\\1/p"'
before=$(eval "$held")
until_true '[ "$(eval "$held")" -gt "$before" ] && [ "$(ctl status)" = running ]'
report $? "after the reset its writes are held again" "$(ctl status; ctl stats)"
gives "made writable" '^$' ctl protect 24M 4K rw
until_true 'ctl stop'
report $? "it can be paused"
gives "cont" '^$' ctl cont
gives "read-only once more" '^$' ctl protect 24M 4K ro
gives "quit while a write is held" '^$' ctl quit
until_true '! kill -0 "$vm" 2>/dev/null'
report $? "samara ends"
wait "$vm"
report $? "with status 0" "$(cat "$DIR/log")"
vm=
report_end
