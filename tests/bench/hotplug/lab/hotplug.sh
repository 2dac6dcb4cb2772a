# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# limit: 6000
# samara beside QEMU: how long the same guest's memory takes to come and to go (../run). WAYS, SIZES and
# ROUNDS are in files/parameters; what was measured, in out/raw.WAY.
. /lab/files/parameters
DRIVERS='virtio_mmio virtio_mem virtio_balloon'
CMDLINE='console=ttyS0 panic=-1 quiet mitigations=off memhp_default_state=online_movable nowatchdog
	rcupdate.rcu_cpu_stall_suppress=1'
CMDLINE=$(echo $CMDLINE)

mount -t tracefs tracefs /sys/kernel/tracing || fail "the machine's kernel has no tracing"

# start_samara OPTION...; start_qemu OPTION...: the guest's console and the control socket are
# $CASE/out/WHO.console and $CASE/WHO.qmp; set WHO_pid.
start_samara() {
	"$SAMARA" run --kernel "$VMLINUX" --initrd "$CASE/initrd" --cmdline "$CMDLINE" --cpus 1 --no-reboot \
		--serial "file:$CASE/out/samara.console" --qmp "unix:$CASE/samara.qmp" "$@" 2>"$CASE/out/samara" &
	samara_pid=$!
}

start_qemu() {
	qemu-system-x86_64 -accel kvm -M q35,smm=off,vmport=off,hpet=off,usb=off,sata=off -cpu host -smp 1 -no-reboot \
		-L /lab/files -name bench,debug-threads=on -nodefaults -no-user-config -display none \
		-kernel "$VMLINUX" -initrd "$CASE/initrd" -append "$CMDLINE" \
		-serial "file:$CASE/out/qemu.console" -qmp "unix:$CASE/qemu.qmp,server=on,wait=off" \
		"$@" >"$CASE/out/qemu" 2>&1 &
	qemu_pid=$!
}

for way in $WAYS; do
	guest_script <<-SCRIPT
		for module in $DRIVERS; do
			insmod /modules/\$module.ko
		done
		exec agent $([ "$way" = balloon ] && echo total || echo blocks)
	SCRIPT
	guest_modules $DRIVERS
	add_to_initrd /lab/bin/agent bin/agent
	base=512
	case $way in
	virtio-mem)
		start_samara --memory ${base}M --virtio-mem id=mem0,size=2G,block=2M
		start_qemu -m size=${base}M,slots=1,maxmem=8G -object memory-backend-ram,id=ram0,size=2G \
			-device virtio-mem-pci,id=mem0,memdev=ram0,block-size=2M,requested-size=0
		;;
	dimm)
		start_samara --memory ${base}M,max=8G,slots=4
		start_qemu -m size=${base}M,slots=4,maxmem=8G
		;;
	balloon)
		base=1536
		start_samara --memory ${base}M --balloon=deflate-on-oom=off,free-page-reporting=off
		start_qemu -m size=${base}M -device virtio-balloon-pci
		;;
	*)
		fail "$way: there is no such way"
		;;
	esac
	for socket in "$CASE/samara.qmp" "$CASE/qemu.qmp"; do
		until [ -S "$socket" ]; do
			kill -0 $samara_pid && kill -0 $qemu_pid || fail "$(cat "$CASE/out/samara" "$CASE/out/qemu")"
			usleep 100000
		done
	done
	meter $way $base $SIZES $ROUNDS "samara:$samara_pid:$CASE/samara.qmp:$CASE/out/samara.console" \
		"qemu:$qemu_pid:$CASE/qemu.qmp:$CASE/out/qemu.console" >"$CASE/out/raw.$way" || status=$?
	cat "$CASE/out/raw.$way" "$CASE/out/samara" "$CASE/out/qemu"
	tail -n 20 "$CASE/out"/*.console
	[ "${status:-0}" -eq 0 ] || fail "meter: status $status"
	kill $samara_pid $qemu_pid
	wait $samara_pid $qemu_pid
	rm -f "$CASE/samara.qmp" "$CASE/qemu.qmp"
done
