#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# How each guest's init begins.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

# The kernel does not wait for its terminals when it ends: have what was printed sent first. (stty sets
# a terminal when its output is drained.)
end() {
	stty -F /dev/console sane
	exec busybox "$@"
}
poweroff() { end poweroff "$@"; }
reboot() { end reboot "$@"; }

