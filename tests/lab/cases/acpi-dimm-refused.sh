# SPDX-License-Identifier: GPL-2.0-or-later
# limit: 240
# A guest that uses a DIMM for its kernel (online_kernel) can't give it back: it says so, which is
# told with its reason, and it can be asked again. The memory goes on being its.
. /lab/guests/dimm-case.sh
dimm_guest 100
boot_background --memory 384M,max=4G,slots=8 --cpus 2 --qmp "unix:$SOCKET" \
	--cmdline 'console=ttyS0 panic=-1 mitigations=off memhp_default_state=online_kernel'
wait_line '^guest: start'
plug_and_check 512 dimm0 1

ctl_refuses 'the guest does not let dimm0 go: the device is busy \(_OST status 0x82\)' unplug dimm0 --timeout "$PATIENCE_S"
ctl raw '{"execute":"query-acpi-ospm-status"}'
expect_line '"status": 130' "$CASE/ctl"
ctl_refuses 'the guest does not let dimm0 go: the device is busy' unplug dimm0 --timeout "$PATIENCE_S"
ctl devices
expect_line '^dimm0' "$CASE/ctl"

# What the guest's blocks don't fit; it can have it back all the same.
ctl plug 100M --id odd --timeout "$PATIENCE_S"
expect_line 'warning: that is no multiple of 128 MiB' "$CASE/ctl"
expect_line 'unaligned hotplug range'
ctl unplug odd --timeout "$PATIENCE_S"
ctl_refuses 'there is a device of that name already' plug 128M --id dimm0
ctl_refuses 'NUMA nodes: 1' plug 128M --node 1
ctl_refuses 'not enough space' plug 64G
ctl_refuses 'there is no such memory device' unplug dimm9
expect_healthy
ctl quit
wait_guest
expect_status 0
