#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# What every guest's init begins with.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

# Before poweroff -f or reboot -f: the kernel drops what its serial driver has not sent yet. Closing
# the console for the last time waits for it.
flush() {
	exec </dev/null >/dev/null 2>&1
}
