# SPDX-License-Identifier: GPL-2.0-or-later
# What is no kernel, or not all of one, is refused with one line and status 1.
guest_script <<'SCRIPT'
poweroff -f
SCRIPT

refused() {
	boot "$@" 2>"$CASE/messages"
	cat "$CASE/messages"
	expect_status 1
	[ "$(wc -l <"$CASE/messages")" -eq 1 ] || fail "not one line"
}

refused --kernel /bin/busybox
expect_line '/bin/busybox' "$CASE/messages"
echo "this is no kernel" >text-kernel
refused --kernel text-kernel
expect_line 'text' "$CASE/messages"
: >empty-kernel
refused --kernel empty-kernel
refused --kernel /no/such/file
expect_line '/no/such/file.*No such file' "$CASE/messages"
head -c 1000 "$BZIMAGE" >short-kernel
refused --kernel short-kernel
head -c 3000000 "$BZIMAGE" >cut-kernel
refused --kernel cut-kernel
head -c 100000 "$CASE/initrd" >cut-initrd
refused --initrd cut-initrd
refused --memory 512T
