# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that does what it is told over its serial port, a line "NUMBER COMMAND..." at a time; what
# the command prints stands between two lines of the number's (ask in machine/lib.sh).
meminfo() {
	sed -n "s/^$1: *\([0-9]*\) kB/\1/p" /proc/meminfo
}

# MemAvailable, in KiB, and with it the free pages that each CPU keeps for itself, which MemFree is without: Linux 6.1
# keeps up to the zone's low watermark of them (zone_highsize() in mm/page_alloc.c: all of it with one CPU) and
# lets none go while the CPU is idle. After a balloon was emptied into a guest of 704 MiB they were 37,016 KiB.
available() {
	kept=$(sed -n 's/^ *count: *//p' /proc/zoneinfo | tr '\n' '+')
	echo $(($(meminfo MemAvailable) + 4 * (${kept}0)))
}

# Blocks of memory that are online, in MiB. (Boot memory is in blocks as well.)
online() {
	echo $(($(cat /sys/devices/system/memory/memory*/state | grep -c online) *
		0x$(cat /sys/devices/system/memory/block_size_bytes) / 1048576))
}

# until_true COMMAND...: however long it takes; the lab has limits.
until_true() {
	until "$@"; do
		usleep 100000
	done
}

# more_than NAME KB and less_than NAME KB: of /proc/meminfo.
more_than() {
	[ "$(meminfo "$1")" -gt "$2" ]
}
less_than() {
	[ "$(meminfo "$1")" -lt "$2" ]
}
# available_is TEST KB: as test has it, -gt or -lt.
available_is() {
	test "$(available)" "$1" "$2"
}
online_is() {
	[ "$(online)" -eq "$1" ]
}

# drivers NAME...: of those that the kernel has as modules.
drivers() {
	for module; do
		[ ! -e "/modules/$module.ko" ] || insmod "/modules/$module.ko" || return
	done
}

# The load: a program of its own (cases/hungry.c), which says in a file how it is.
hungry_start() {
	echo "holds 0 MiB" >/tmp/hungry
	hungry /tmp/hungry &
	hungry_pid=$!
}
hungry_holds() {
	kill -0 $hungry_pid 2>/dev/null || return 0
	[ "$(sed -n 's/^holds \([0-9]*\).*/\1/p' /tmp/hungry)" -ge "$1" ]
}
hungry_end() {
	kill $hungry_pid
	wait $hungry_pid
	status=$?
	cat /tmp/hungry
	return $status
}

stty -F /dev/console -echo
echo "guest: start"
while read -r number command; do
	echo "guest: $number begins"
	eval "$command"
	echo "guest: $number ends $?"
done
