# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
#
# What a case has at hand in the lab's machine (busybox's sh). It is given
#   SAMARA   the program, in the build of LOCK
#   LOCK     region or single
#   KERNEL   the series of the guest's kernel, 6.12 if the case's head does not vary it
#   EVERY    set when all is to be run, and longer
#   CASE     a folder of its own, the current one; files in $CASE/out come back to the host
# and passes when it ends with status 0, is skipped with skip, fails otherwise.

KERNEL=${KERNEL:-6.12}
BZIMAGE=/lab/kernel/$KERNEL/vmlinuz
VMLINUX=/lab/kernel/$KERNEL/vmlinux
MODULES=/lab/kernel/$KERNEL/modules
CONSOLE=$CASE/out/console # what the guest prints on its serial port
SOCKET=$CASE/qmp

# How long samara ctl waits for a guest, in seconds; the lab limits cases by what they cost.
PATIENCE_S=3600

fail() {
	echo "FAILED: $*"
	if [ -s "$CONSOLE" ]; then
		echo "---- the guest's console, last lines:"
		tail -n 40 "$CONSOLE"
	fi
	exit 1
}

skip() {
	echo "SKIP: $*"
	exit 77
}

# guest_script <SCRIPT: what the next guest runs as its init, below what every script needs.
guest_script() {
	rm -rf "$CASE/initrd.d"
	mkdir -p "$CASE/initrd.d"
	{
		cat /lab/guests/prelude.sh
		cat
	} >"$CASE/initrd.d/init"
	chmod +x "$CASE/initrd.d/init"
	{
		cat /lab/guest.cpio
		cd "$CASE/initrd.d" && echo init | cpio -o -H newc 2>/dev/null
	} >"$CASE/initrd"
}

# add_to_initrd FILE NAME: one more file for the next guest.
add_to_initrd() {
	rm -rf "$CASE/more.d"
	mkdir -p "$CASE/more.d/$(dirname "$2")"
	cp "$1" "$CASE/more.d/$2"
	(cd "$CASE/more.d" && echo "$2" | cpio -o -H newc 2>/dev/null) >>"$CASE/initrd"
}

# guest_modules NAME...: have kernel modules in the next guest's /modules, unless its kernel has them
# built in; after guest_script.
guest_modules() {
	(
		echo modules
		for module in "$@"; do
			[ ! -e "$MODULES/$module.ko" ] || echo "modules/$module.ko"
		done
	) | (cd "$(dirname "$MODULES")" && cpio -o -H newc 2>/dev/null) >>"$CASE/initrd"
}

# boot [OPTION...]: samara run until it ends, the guest's console in $CONSOLE; sets status.
# Options replace the defaults below or are added.
boot() {
	prepare_boot "$@"
	eval "set -- $boot_arguments"
	echo "+ samara $*"
	"$SAMARA" "$@"
	status=$?
}

# The same in the background; sets pid. wait_guest waits for its end.
boot_background() {
	prepare_boot "$@"
	eval "set -- $boot_arguments"
	echo "+ samara $* &"
	"$SAMARA" "$@" &
	pid=$!
}

# The same of a guest that takes commands (guests/dialogue.sh) at the serial port.
boot_dialogue() {
	mkfifo "$CASE/keys"
	prepare_boot --serial stdio "$@"
	eval "set -- $boot_arguments"
	echo "+ samara $* &"
	"$SAMARA" "$@" <"$CASE/keys" >"$CONSOLE" &
	pid=$!
	exec 5>"$CASE/keys"
	asked=0
}

# tell COMMAND...: that guest what to do, and go on. ask COMMAND...: wait until it is done; what it
# printed is in $CASE/answer and the log, the command's status is returned.
tell() {
	asked=$((asked + 1))
	starts=$(grep -c '^guest: start' "$CONSOLE")
	echo "$asked $*" >&5
}

ask() {
	echo "? $* (at $(cut -d ' ' -f 1 /proc/uptime) s)"
	tell "$@"
	until [ "$(count_lines "^guest: $asked ends")" -gt 0 ]; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before the guest had done: $*"
		[ "$(grep -c '^guest: start' "$CONSOLE")" -eq "$starts" ] || fail "the guest booted anew in: $*"
		usleep 200000
	done
	tr -d '\r' <"$CONSOLE" | sed -n "/^guest: $asked begins/,/^guest: $asked ends/p" |
		sed '1d;$d' >"$CASE/answer"
	cat "$CASE/answer"
	return "$(tr -d '\r' <"$CONSOLE" | sed -n "s/^guest: $asked ends //p")"
}

# must_ask COMMAND...: and its status must be 0.
must_ask() {
	ask "$@" || fail "the guest could not: $*: $(tail -n 1 "$CASE/answer")"
}

wait_guest() {
	wait "$pid"
	status=$?
}

prepare_boot() {
	o_kernel=$BZIMAGE o_initrd=$CASE/initrd o_cpus=2 o_memory=512M o_serial=file:$CONSOLE
	o_cmdline='console=ttyS0 panic=-1 mitigations=off'
	o_more=
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel | --initrd | --cpus | --memory | --serial | --cmdline)
			eval "o_${1#--}=\$2"
			shift 2
			;;
		*)
			o_more="$o_more '$1'"
			shift
			;;
		esac
	done
	boot_arguments="run --kernel '$o_kernel' --initrd '$o_initrd' --cmdline '$o_cmdline' --cpus '$o_cpus'"
	boot_arguments="$boot_arguments --memory '$o_memory' --serial '$o_serial' $o_more"
}

expect_status() {
	[ "$status" -eq "$1" ] || fail "samara ended with status $status instead of $1"
}

# whole_lines FILE: without the one that is still being written.
whole_lines() {
	head -n "$(wc -l <"$1")" "$1" | tr -d '\r'
}

# On the guest's console, or in FILE.
expect_line() {
	tr -d '\r' <"${2:-$CONSOLE}" | grep -E -- "$1" >"$CASE/found" || fail "no line matches: $1"
	head -n 3 "$CASE/found"
}

expect_no_line() {
	! tr -d '\r' <"${2:-$CONSOLE}" | grep -E -- "$1" || fail "a line matches: $1"
}

count_lines() {
	if [ -e "${2:-$CONSOLE}" ]; then
		whole_lines "${2:-$CONSOLE}" | grep -c -E -- "$1"
	else
		echo 0
	fi
}

# expect_no_oops [FILE]: the guest's kernel found no fault in itself, by its console or by FILE. A soft
# lockup says that a vCPU had to wait for the host for 22 s, which vCPUs that share the machine's one
# CPU do when that is busy.
expect_no_oops() {
	grep -v 'BUG: soft lockup' "${1:-$CONSOLE}" >"$CASE/healthy"
	expect_no_line 'BUG:|Oops|Kernel panic|hard lockup' "$CASE/healthy"
}

# expect_healthy [FILE]: nor anything wrong with its machine. One warning is the lab's own doing: QEMU's
# emulation does not tell KVM of XSETBV, so CPUID 0xd keeps the size before it.
expect_healthy() {
	expect_no_oops "$@"
	grep 'WARNING: CPU' "${1:-$CONSOLE}" | grep -v fpu__init_system_xstate && fail "the guest's kernel warns"
	return 0
}

# wait_line PATTERN [COUNT]: until that many lines match on the console, or samara ends; how long
# is the host's business, which counts this machine's CPU time.
wait_line() {
	until [ "$(count_lines "$1")" -ge "${2:-1}" ]; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before the guest printed: $1"
		usleep 100000
	done
}

# ctl COMMAND...: must succeed; its output is in $CASE/ctl.
ctl() {
	echo "+ samara ctl $*"
	"$SAMARA" ctl "$SOCKET" "$@" >"$CASE/ctl" 2>&1 || {
		cat "$CASE/ctl"
		fail "samara ctl $*: status $?"
	}
	cat "$CASE/ctl"
}

# try_ctl COMMAND...: may fail; its status is returned.
try_ctl() {
	echo "+ samara ctl $* (may fail)"
	"$SAMARA" ctl "$SOCKET" "$@" >"$CASE/ctl" 2>&1
	tried=$?
	cat "$CASE/ctl"
	return $tried
}

# ctl_refuses PATTERN COMMAND...: must fail with a line that says so.
ctl_refuses() {
	pattern=$1
	shift
	echo "+ samara ctl $* (must fail)"
	! "$SAMARA" ctl "$SOCKET" "$@" >"$CASE/ctl" 2>&1 || fail "samara ctl $* did not fail"
	expect_line "$pattern" "$CASE/ctl"
}

# property ID NAME: of a device, as qom-get has it; also in $CASE/property.
property() {
	"$SAMARA" ctl "$SOCKET" raw "{\"execute\":\"qom-get\",\"arguments\":{\"path\":\"/machine/peripheral/$1\",\"property\":\"$2\"}}" \
		>"$CASE/property" 2>&1 || fail "qom-get $1 $2: $(cat "$CASE/property")"
	cat "$CASE/property"
}

# set_property ID NAME VALUE
set_property() {
	execute qom-set "{\"path\":\"/machine/peripheral/$1\",\"property\":\"$2\",\"value\":$3}"
}

# virtio ID NAME: one of the device's x-samara-counters.
virtio() {
	property "$1" x-samara-counters | sed -n "s/^ *\"$2\": \([0-9]*\).*/\1/p"
}

# wait_virtio ID NAME TEST NUMBER: until the number is so (test NUMBER TEST ...); how long is the host's
# business, as in wait_line.
wait_virtio() {
	until test "$(virtio "$1" "$2")" "$3" "$4"; do
		kill -0 "$pid" 2>/dev/null || fail "samara ended before $2 $3 $4: $(cat "$CASE/property")"
		usleep 100000
	done
	echo "$2: $(virtio "$1" "$2")"
}

# execute COMMAND ARGUMENTS: a QMP command, its arguments as JSON.
execute() {
	ctl raw "{\"execute\":\"$1\",\"arguments\":$2}"
}
