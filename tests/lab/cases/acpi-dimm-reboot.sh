# SPDX-License-Identifier: GPL-2.0-or-later
# every: single
# limit: 300
# A DIMM stays in its slot when the machine is reset: the guest finds it when it boots anew, and can
# give it back then. What was asked back before the reset is gone after it. One vCPU.
. /lab/guests/dimm-case.sh
dimm_guest 100
boot_background --memory 384M,max=4G,slots=8 --cpus 1 --qmp "unix:$SOCKET" --cmdline "$DIMM_CMDLINE"
wait_line '^guest: start 3[0-9][0-9] MiB in 384 MiB of blocks'
plug_and_check 512 dimm0 1

ctl reset
wait_line '^guest: start' 2
expect_line '^guest: start 8[0-9][0-9] MiB in 896 MiB of blocks'
ctl devices
expect_line '^dimm0 +dimm +0x100000000 +0x11fffffff +512 MiB' "$CASE/ctl"
plug_and_check 256 dimm1 1
ctl unplug dimm0 --timeout "$PATIENCE_S"
wait_line '^guest: now [0-9]+ MiB, -256 more'

# Asked for while the guest can't hear of it, and then it is reset.
ctl stop
ctl raw '{"execute":"device_del","arguments":{"id":"dimm1"}}'
ctl devices
expect_line '^dimm1' "$CASE/ctl"
ctl reset
ctl cont
wait_line '^guest: start' 3
[ "$(count_lines '^guest: start 3[0-9][0-9] MiB in 384 MiB of blocks')" -eq 2 ] || fail "dimm1 is still there"
ctl devices
expect_no_line '^dimm' "$CASE/ctl"
expect_healthy
ctl quit
wait_guest
expect_status 0
