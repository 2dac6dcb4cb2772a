# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
# Four vCPUs come up and run tasks of their own.
guest_script <<'SCRIPT'
echo "guest: $(nproc) online"
for cpu in 0 1 2 3; do
	taskset $((1 << cpu)) sh -c 'echo "guest: ran on $(cut -d " " -f 39 /proc/self/stat)"' &
	wait $!
done
poweroff -f
SCRIPT
boot --cpus 4
expect_status 0
expect_line '^guest: 4 online'
for cpu in 0 1 2 3; do
	expect_line "^guest: ran on $cpu"
done
expect_healthy
