# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
# However samara is ended, it leaves no process and no socket.
guest_script <<'SCRIPT'
echo "guest: booted"
while :; do
	:
done
SCRIPT
# INT and QUIT are ignored by what a shell starts in the background, and stay so in samara.
for signal in TERM HUP ABRT KILL SEGV; do
	rm -f "$CONSOLE"
	boot_background --cpus 1 --memory 128M --qmp "unix:$SOCKET"
	if [ "$signal" = TERM ]; then
		wait_line '^guest: booted'
	else
		until [ -S "$SOCKET" ]; do
			kill -0 "$pid" 2>/dev/null || fail "samara ended before its socket was there"
			usleep 10000
		done
	fi
	kill -s "$signal" "$pid"
	wait_guest
	echo "$signal: status $status"
	[ "$status" -ne 0 ] || fail "status 0 after SIG$signal"
	# What cleans up is another process, which may take its time on a busy machine.
	waited=0
	while [ $waited -lt 600 ] && { [ -e "$SOCKET" ] || pidof samara-"$LOCK" >/dev/null; }; do
		usleep 100000
		waited=$((waited + 1))
	done
	[ ! -e "$SOCKET" ] || fail "the control socket is left after SIG$signal"
	! pidof samara-"$LOCK" >/dev/null || fail "a process is left after SIG$signal"
done
