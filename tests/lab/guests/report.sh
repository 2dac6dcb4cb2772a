# SPDX-License-Identifier: GPL-2.0-or-later
# What a guest says of itself, then it powers off: the demo's guest, and the lab's first case.
echo "guest: $(uname -a)"
echo "guest: $(nproc) CPUs online of $(ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l):$(sed -n 's/^model name[^:]*://p' /proc/cpuinfo | head -n 1)"
echo "guest: memory: $(sed -n 's/^MemTotal: *//p' /proc/meminfo) in all, $(sed -n 's/^MemAvailable: *//p' /proc/meminfo) available"

# A tenth of the memory written and read back: it is there, and it keeps what is written.
sum=$(seq 1 200000 | md5sum)
i=0
while [ $i -lt 40 ]; do
	seq 1 200000 >/tmp/part.$i
	i=$((i + 1))
done
bad=0
for part in /tmp/part.*; do
	[ "$(md5sum <"$part")" = "$sum" ] || bad=$((bad + 1))
done
echo "guest: checked $(cat /tmp/part.* | wc -c) bytes in $i files: $bad bad"
echo "guest: up $(cut -d ' ' -f 1 /proc/uptime) s, powering off"
poweroff -f
