# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that says how much memory it has whenever that changes. Whenever it has become more, it
# fills and checks 200 MiB, and every FULL_EVERYth time nearly all that is free: user memory goes to
# the movable zone first, which is what was plugged.
total() {
	sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo
}
# Blocks of memory that are online, in MiB. (Boot memory is in blocks as well.)
blocks() {
	echo $(($(cat /sys/devices/system/memory/memory*/state | grep -c online) *
		0x$(cat /sys/devices/system/memory/block_size_bytes) / 1048576))
}

first=$(total) fills=0
last=$first
echo "guest: start $((first / 1024)) MiB in $(blocks) MiB of blocks, nodes $(cat /sys/devices/system/node/online)"
while :; do
	now=$(total)
	if [ "$now" != "$last" ]; then
		# Blocks come and go one by one: wait until that is over.
		usleep 300000
		while [ "$now" != "$(total)" ]; do
			now=$(total)
			usleep 300000
		done
		echo "guest: now $((now / 1024)) MiB, $(((now - first) / 1024)) more than at first, blocks $(blocks) MiB"
		if [ "$now" -gt "$last" ]; then
			free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
			mib=200
			[ $((fills % FULL_EVERY)) -ne 0 ] || mib=$((free * 85 / 100 / 1024))
			echo "guest: $(fill $mib)"
			fills=$((fills + 1))
		fi
		last=$now
	fi
	usleep 100000
done
