# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
# Two NUMA nodes, each with a vCPU and memory; a DIMM from the start in one of them, another one plugged
# into the other; and the power button.
. /lab/guests/dimm-case.sh
guest_script <<'SCRIPT'
memory() {
	sed -n 's/^Node . MemTotal: *\([0-9]*\) kB/\1/p' "/sys/devices/system/node/node$1/meminfo"
}
# How often the power button's Generic Event Device (GSI 10) has interrupted: a column for each CPU.
presses() {
	awk '/ 10-edge / { n += $2 + $3 } END { print n + 0 }' /proc/interrupts
}
for node in 0 1; do
	echo "guest: node $node: CPUs $(cat /sys/devices/system/node/node$node/cpulist), $(($(memory $node) / 1024 / 32 * 32)) MiB in whole 32s"
done
sed -n 's/^.*\(ACPI: SRAT: .*\)/guest: \1/p' /dev/kmsg 2>/dev/null &
insmod /button.ko
last= said=0 first0=$(memory 0) first1=$(memory 1)
while :; do
	now="$((($(memory 0) - first0) / 1024)) and $((($(memory 1) - first1) / 1024)) MiB"
	if [ "$now" != "$last" ]; then
		echo "guest: nodes have got $now"
		last=$now
	fi
	if [ "$(presses)" -gt 0 ] && [ $said -eq 0 ]; then
		echo "guest: the power button was pressed"
		said=1
	fi
	usleep 100000
done
SCRIPT
add_to_initrd "$MODULES/button.ko" button.ko
boot_background --memory 512M,max=4G --cpus 2 --numa memory=256M,cpus=0 --numa memory=256M,cpus=1 \
	--dimm 128M,node=1,id=first --qmp "unix:$SOCKET" --cmdline "$DIMM_CMDLINE"
wait_line '^guest: node 1'
"$SAMARA" ctl "$SOCKET" events >"$CASE/out/events" &
# A hotpluggable range has Linux reserve 64 MiB for bounce buffers, in node 1 here: without the DIMM there
# would be 192 MiB at most.
expect_line '^guest: node 0: CPUs 0, (192|224) MiB'
expect_line '^guest: node 1: CPUs 1, (256|288|320) MiB'
wait_line '^guest: nodes have got 0 and 0 MiB'
ctl plug 256M --node 0 --timeout "$PATIENCE_S"
wait_line '^guest: nodes have got 256 and 0 MiB'
ctl unplug first --timeout "$PATIENCE_S"
wait_line '^guest: nodes have got 256 and -128 MiB'
ctl powerdown
wait_line '^guest: the power button was pressed'
# Linux warns once of a cache that vCPUs of two nodes share: samara has no caches of its own per node.
expect_no_oops
ctl quit
wait_guest
expect_status 0
expect_line '"event": ?"ACPI_DEVICE_OST".*"device": ?"dimm0"' "$CASE/out/events"
expect_line '"event": ?"DEVICE_DELETED".*"device": ?"first"' "$CASE/out/events"
expect_line '"event": ?"POWERDOWN"' "$CASE/out/events"
