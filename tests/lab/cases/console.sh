# SPDX-License-Identifier: GPL-2.0-or-later
# Both ways over the serial console: a shell in the guest is typed at, by pipe and by pseudo-terminal.
guest_script <<'SCRIPT'
echo "guest: shell"
exec setsid cttyhack sh
SCRIPT

mkfifo "$CASE/keys"
prepare_boot --serial stdio
eval "set -- $boot_arguments"
"$SAMARA" "$@" <"$CASE/keys" >"$CONSOLE" &
pid=$!
exec 5>"$CASE/keys"
wait_line '^guest: shell'
echo 'echo typed $((6 * 7))' >&5
wait_line '^typed 42'
# More than the 16 bytes of the serial port's FIFO in one go.
echo 'echo 0123456789abcdefghijklmnopqrstuvwxyz-0123456789abcdefghijklmnopqrstuvwxyz | tr 0-9a-z a-z0-9' >&5
wait_line '^abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz0123456789'
echo 'poweroff -f' >&5
wait_guest
exec 5>&-
expect_status 0

CONSOLE=$CASE/out/console-pty
: >"$CONSOLE"
prepare_boot --serial pty
eval "set -- $boot_arguments"
"$SAMARA" "$@" </dev/null 2>"$CASE/messages" &
pid=$!
until pty=$(grep -o '/dev/pts/[0-9]*' "$CASE/messages"); do
	kill -0 "$pid" 2>/dev/null || fail "samara ended: $(cat "$CASE/messages")"
	usleep 10000
done
stty raw -echo <"$pty"
cat "$pty" >"$CONSOLE" &
reader=$!
wait_line '^guest: shell'
echo 'echo typed $((7 * 7))' >"$pty"
wait_line '^typed 49'
echo 'poweroff -f' >"$pty"
wait_guest
kill "$reader" 2>/dev/null
expect_status 0
