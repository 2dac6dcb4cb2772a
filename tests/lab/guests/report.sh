# SPDX-License-Identifier: GPL-2.0-or-later
# What a guest says of itself, then it powers off: the demo's guest, and the lab's first case.
echo "guest: $(uname -a)"
echo "guest: $(nproc) CPUs online of $(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l):$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo | head -n 1)"
echo "guest: memory: $(sed -n 's/^MemTotal: *//p' /proc/meminfo) in all, $(sed -n 's/^MemAvailable: *//p' /proc/meminfo) available"

# Some memory written and read back: it is there, and it keeps what is written.
i=0 bad=0
while [ $i -lt 12 ]; do
	cp /bin/busybox /tmp/copy.$i
	i=$((i + 1))
done
for copy in /tmp/copy.*; do
	cmp -s /bin/busybox "$copy" || bad=$((bad + 1))
done
echo "guest: checked $((i * $(wc -c </bin/busybox) / 1048576)) MiB in $i files: $bad bad"
echo "guest: up $(cut -d ' ' -f 1 /proc/uptime) s, powering off"
poweroff -f
