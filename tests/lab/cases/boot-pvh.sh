# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel as an ELF file, entered by its PVH note.
guest_script <<'SCRIPT'
echo "guest: $(uname -r) with $(nproc) CPUs, command line: $(cat /proc/cmdline)"
poweroff -f
SCRIPT
boot --kernel "$VMLINUX" --cmdline 'console=ttyS0 panic=-1 mitigations=off samara.word=unmistakable'
expect_status 0
expect_line '^guest: 6\.12\..* with 2 CPUs, command line: .*samara\.word=unmistakable'
