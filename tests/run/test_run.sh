#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What `samara run` does as a process: options, messages, exit statuses, signals, the terminal, and
# what it leaves behind. Prints TAP. SAMARA is the program, by default that of the default build.

. "$(dirname "$0")/report.sh"
cd "$(dirname "$0")/../.." || exit 1
samara=${SAMARA:-build/region/samara}
scratch=$(mktemp -d) || exit 1
# What is killed part-way leaves no guest behind.
cleanup() {
	pkill -KILL -P $$ 2>/dev/null
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 143' TERM INT

why_failed() {
	head -20 "$scratch/out" "$scratch/err"
}

# run STATUS PATTERN-OF-STDERR ARGUMENT...: one run, to its end
run() {
	local want=$1 pattern=$2 status
	shift 2
	timeout 200 "$samara" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	status=$?
	[ "$status" = "$want" ] || { echo "exit status $status, not $want" >>"$scratch/err"; return 1; }
	[ -z "$pattern" ] || grep -q -e "$pattern" "$scratch/err"
}

# one_line: samara's messages are one line each
one_line() {
	[ "$(wc -l <"$scratch/err")" = 1 ] && grep -q '^samara: ' "$scratch/err"
}

# wait_for SECONDS COMMAND...
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@" 2>/dev/null; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

# Ended: what is left for process 1 to reap (Z) does nothing any more.
gone() { ! grep -qv '^State:[[:space:]]*Z' <(grep '^State:' "/proc/$1/status"); }
no_file() { [ ! -e "$1" ]; }

# children PID: its janitor
children() { pgrep -P "$1"; }

# Guests of a few bytes.
for guest in LOOP HELLO ECHO RESET FLOOD; do
	${CC:-gcc} -c -D$guest -o "$scratch/$guest.o" tests/run/tiny.S &&
		objcopy -O binary -j .text "$scratch/$guest.o" "$scratch/$guest" || exit 1
done

# ---- The command line ----

run 2 'samara COMMAND';                             report $? "without a command: usage, status 2"
run 2 "'frobnicate' is no command" frobnicate;      report $? "an unknown command is named"
run 0 '' --help && grep -q 'samara run' "$scratch/out";     report $? "--help lists the commands"
run 0 '' --version && grep -q 'LOCK=' "$scratch/out";       report $? "--version tells the lock design"
run 0 '' run --help && grep -q 'Ctrl-A x' "$scratch/out";   report $? "run --help tells the console keys"
run 2 '--kernel' run;                               report $? "no kernel: the option is named"
run 2 '--frob' run --frob;                          report $? "an unknown option is named"
run 2 "12Q" run -k x -m 12Q;                        report $? "a size with an unknown unit is quoted"
run 2 "max=" run -k x -m 1G,max=512M;               report $? "max below the memory at start"
run 2 "--memory" run -k x -m 4097K,max=junk;        report $? "junk in --memory"
run 2 "--cpus" run -k x --cpus 0;                   report $? "no CPU"
run 2 "--cpus" run -k x --cpus 2x;                  report $? "junk after the number of CPUs"
run 2 "--serial" run -k x --serial tty;             report $? "an unknown kind of serial port"
run 2 "--qmp" run -k x --qmp tcp:1;                 report $? "a control socket that is none"
run 2 "stray" run stray;                            report $? "a stray argument is named"
run 2 "--help" run --frob;                          report $? "a wrong command line points to --help"

# ---- Failures ----

run 1 '/nonexistent/kernel' run -k /nonexistent/kernel && one_line
report $? "a kernel that is not there: one line, status 1"
run 1 'test_run.sh' run -k tests/run/test_run.sh && one_line
report $? "a kernel that is no kernel: one line, status 1"
head -c 700 "$scratch/HELLO" >"$scratch/short"
run 1 "$scratch/short" run -k "$scratch/short" && one_line
report $? "a truncated kernel: one line, status 1"
run 1 'initrd' run -k "$scratch/HELLO" --initrd /nonexistent/initrd && one_line
report $? "an initrd that is not there: one line, status 1"
run 1 '/nonexistent/domain.xml' run --domain /nonexistent/domain.xml && one_line
report $? "a domain XML that is not there: one line, status 1"

skip=
[ -r /dev/kvm ] && [ -w /dev/kvm ] || skip="no usable /dev/kvm"
if [ -n "$skip" ]; then
	run 1 '/dev/kvm' run -k "$scratch/HELLO" && one_line
	report $? "no usable /dev/kvm: one line, status 1"
	report_skipped "runs of guests" "$skip"
	report_end
fi

run 1 "$scratch/no/log" run -k "$scratch/HELLO" -m 64M --serial "file:$scratch/no/log" && one_line
report $? "a file for the serial port that can't be made: one line, status 1"
run 1 "memory" run -k "$scratch/HELLO" -m 64M,max=4096T && one_line
report $? "more memory than the host's addresses reach: one line, status 1"

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && ! setpriv --reuid=65534 --regid=65534 \
	--clear-groups test -r /dev/kvm; then
	chmod 755 "$scratch"
	cp "$samara" "$scratch/samara"
	(cd "$scratch" && timeout 200 setpriv --reuid=65534 --regid=65534 --clear-groups \
		./samara run -k HELLO -m 64M >out 2>err </dev/null)
	[ $? = 1 ] && grep -q '/dev/kvm' "$scratch/err" && one_line
	report $? "no permission for /dev/kvm: one line, status 1"
else
	report_skipped "no permission for /dev/kvm" "/dev/kvm is for everybody, or this is not root"
fi

# ---- Runs ----

run 0 '' run -k "$scratch/HELLO" -m 64M && printf 'hello\r\n' | cmp -s - "$scratch/out"
report $? "a guest says hello and powers off: status 0"
run 0 '' run -k "$scratch/HELLO" -m 64M --serial "file:$scratch/log" &&
	printf 'hello\r\n' | cmp -s - "$scratch/log"
report $? "the serial port into a file"
run 0 'No space left' run -k "$scratch/HELLO" -m 64M --serial file:/dev/full && one_line
report $? "a full disk is reported once, and the guest goes on"
run 0 '' run -k "$scratch/HELLO" -m 64M --serial null && [ ! -s "$scratch/out" ]
report $? "the serial port to nowhere"
run 0 '' run -k "$scratch/RESET" -m 64M && printf 'again\r\n' | cmp -s - "$scratch/out"
report $? "a reset starts the kernel again; the NVRAM keeps its byte"
run 0 '' run -k "$scratch/RESET" -m 64M --no-reboot && [ ! -s "$scratch/out" ]
report $? "a reset with --no-reboot: status 0"
printf '\001xq' | timeout 200 "$samara" run -k "$scratch/ECHO" -m 64M >"$scratch/out" 2>"$scratch/err"
[ $? = 0 ] && printf 'ready\r\n\001xq' | cmp -s - "$scratch/out"
report $? "through pipes every byte passes unchanged"
seq 3000 | timeout 200 "$samara" run -k "$scratch/ECHO" -m 64M >"$scratch/out" 2>"$scratch/err" &
pid=$!
# The end of standard input is not the end of the guest.
wait_for 200 grep -q '^3000$' "$scratch/out" && kill -0 $pid
status=$?
pkill -TERM -P $$ -f "run -k $scratch/ECHO" && wait $pid
cmp -s <(printf 'ready\r\n'; seq 3000) "$scratch/out" && [ $status = 0 ]
report $? "14 kB through a FIFO of 16 bytes arrive in order; the guest outlives its input"

# ---- Signals ----

# answers: samara's control socket; the janitor knows of it by then.
answers() { "$samara" ctl "$scratch/sock" status; }

# start GUEST ARGUMENT...: in the background, in $pid; waits until it runs
start() {
	local guest=$1
	shift
	rm -f "$scratch/sock"
	"$samara" run -k "$scratch/$guest" -m 64M --qmp "unix:$scratch/sock" "$@" \
		>"$scratch/out" 2>"$scratch/err" </dev/null &
	pid=$!
	wait_for 100 answers >"$scratch/status" && janitor=$(children $pid)
}

# end SIGNAL: what becomes of it; 0 if all is gone
end() {
	local status
	kill -"$1" $pid
	wait $pid 2>/dev/null
	status=$?
	wait_for 60 no_file "$scratch/sock" && wait_for 60 gone "$janitor" || return 1
	[ $status = $((128 + $(kill -l "$1"))) ]
}

# hear: into $scratch/events what the control socket tells from here on, in $listener
hear() {
	"$samara" ctl "$scratch/sock" events >"$scratch/events" 2>&1 &
	listener=$!
	wait_for 60 told_of_resume
}
told_of_resume() {
	"$samara" ctl "$scratch/sock" stop && "$samara" ctl "$scratch/sock" cont && sleep 0.1 &&
		grep -q '"RESUME"' "$scratch/events"
}

# heard REASON: it was the last that was told
heard() {
	wait "$listener"
	tail -n 1 "$scratch/events" | grep -Eq "\"SHUTDOWN\".*\"guest\": ?false, ?\"reason\": ?\"$1\""
}

# Shells start background jobs with SIGINT and SIGQUIT ignored; samara honours that.
set -m
for signal in TERM INT HUP QUIT KILL SEGV ABRT; do
	start LOOP --serial null && end $signal
	report $? "SIG$signal: no process and no socket stays, status of a shell"
done
start LOOP --serial null && hear && end TERM && heard host-signal
report $? "the control socket tells of an end by a signal"
start LOOP --serial null && hear && "$samara" ctl "$scratch/sock" quit && wait $pid && heard host-qmp-quit
report $? "the control socket tells of an end by quit"
start FLOOD --serial pty && grep -q '^samara: serial port: /dev/pts/' "$scratch/err" && sleep 0.5 &&
	end TERM
report $? "SIGTERM ends it while nobody reads its pseudo-terminal"
mkfifo "$scratch/fifo"
exec 3<>"$scratch/fifo"
rm -f "$scratch/sock"
"$samara" run -k "$scratch/FLOOD" -m 64M --qmp "unix:$scratch/sock" </dev/null >"$scratch/fifo" 2>"$scratch/err" &
pid=$!
wait_for 100 answers >"$scratch/status" && janitor=$(children $pid) && sleep 1 && end TERM
report $? "SIGTERM ends it while nobody reads its standard output"
exec 3>&-
start LOOP --serial null && other=$scratch/sock && rm "$other" && touch "$other" && kill -KILL $pid
wait $pid 2>/dev/null
wait_for 60 gone "$janitor" && [ -f "$other" ]
report $? "a file that took the socket's place stays"
start LOOP --serial null && kill -TERM "$janitor" && kill -HUP "$janitor" && sleep 0.1 &&
	kill -0 "$janitor" && end KILL
report $? "the janitor is deaf to all but SIGKILL"
[ "$(cat "/proc/$$/comm")" != samara ] && start LOOP --serial null &&
	wait_for 60 pgrep -P $pid -x vmm-janitor >/dev/null && [ -z "$(pgrep -P $pid samara)" ] && end KILL
report $? "the janitor's name is its own"
set +m

# ---- The terminal ----

if command -v expect >/dev/null; then
	: >"$scratch/out"
	for how in keys told poweroff TERM INT HUP QUIT KILL SEGV ABRT TSTP STOP; do
		timeout 600 tests/run/terminal.exp "$samara" "$scratch/ECHO" $how "$scratch/sock" 2>"$scratch/err"
		report $? "on a terminal: $how"
	done
else
	report_skipped "on a terminal" "expect is not installed"
fi

report_end
