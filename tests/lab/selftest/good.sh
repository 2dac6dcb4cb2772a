# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# The machine has KVM with nested paging.
test -c /dev/kvm || fail "no /dev/kvm"
expect_line '^[1Y]$' /sys/module/kvm_amd/parameters/npt
echo an artefact >out/artefact
