/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether this machine's KVM delivers interrupts as it should: a tiny guest takes timer interrupts
 * and looks at the flags each one interrupted. QEMU's emulation of SVM can deliver an injected
 * interrupt twice, the second time at the handler's first instruction, where interrupts are off.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/kvm.h>

#define TICKS       3000
#define GUEST_BYTES 0x10000
#define CODE_GPA    0x1000
#define TICKS_GPA   0x600 /* 16 bits each */
#define WRONG_GPA   0x602
#define EXIT_PORT   0xf4

/* Real mode: the 8259 at 0x20 (vector 0x20 on), the 8254 at 0x40 at about 1 kHz. */
asm("	.pushsection .rodata\n"
    "	.code16\n"
    "guest_start:\n"
    "	cli\n"
    "	xorw %ax, %ax\n"
    "	movw %ax, %ds\n"
    "	movw %ax, %ss\n"
    "	movw $0x8000, %sp\n"
    "	movw $(0x1000 + guest_handler - guest_start), 0x20 * 4\n"
    "	movw %ax, 0x20 * 4 + 2\n"
    "	movb $0x11, %al\n"
    "	outb %al, $0x20\n"
    "	movb $0x20, %al\n"
    "	outb %al, $0x21\n"
    "	movb $0x04, %al\n"
    "	outb %al, $0x21\n"
    "	movb $0x01, %al\n"
    "	outb %al, $0x21\n"
    "	movb $0xfe, %al\n"
    "	outb %al, $0x21\n"
    "	movb $0x34, %al\n"
    "	outb %al, $0x43\n"
    "	movb $0xa9, %al\n"
    "	outb %al, $0x40\n"
    "	movb $0x04, %al\n"
    "	outb %al, $0x40\n"
    "	sti\n"
    "1:	cmpw $3000, 0x600\n" /* TICKS, TICKS_GPA */
    "	jb 1b\n"
    "	outb %al, $0xf4\n"
    "	jmp 1b\n"
    "guest_handler:\n"
    "	pushw %bp\n"
    "	movw %sp, %bp\n"
    "	testw $0x200, 6(%bp)\n" /* the interrupted IF */
    "	jnz 2f\n"
    "	incw 0x602\n" /* WRONG_GPA */
    "2:	incw 0x600\n"
    "	pushw %ax\n"
    "	movb $0x20, %al\n"
    "	outb %al, $0x20\n"
    "	popw %ax\n"
    "	popw %bp\n"
    "	iretw\n"
    "guest_end:\n"
    "	.code64\n"
    "	.popsection\n");
extern const uint8_t guest_start[], guest_end[];

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	struct kvm_userspace_memory_region region = {.memory_size = GUEST_BYTES};
	struct kvm_pit_config pit = {0};
	struct kvm_regs regs = {.rip = CODE_GPA, .rflags = 2};
	struct kvm_sregs sregs;
	struct kvm_run *run;
	uint16_t ticks, wrong;
	uint8_t *memory;
	int kvm, vm, vcpu;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return fail("/dev/kvm");
	memory =
		mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return fail("memory");
	memcpy(memory + CODE_GPA, guest_start, (size_t)(guest_end - guest_start));
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) || ioctl(vm, KVM_CREATE_PIT2, &pit) ||
	    ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		return fail("virtual machine");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return fail("vCPU");
	run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		   MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return fail("vCPU");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
		return fail("registers");
	if (ioctl(vcpu, KVM_RUN, 0))
		return fail("KVM_RUN");
	memcpy(&ticks, memory + TICKS_GPA, sizeof(ticks));
	memcpy(&wrong, memory + WRONG_GPA, sizeof(wrong));
	printf("%u interrupts, %u of them delivered where interrupts were off\n", ticks, wrong);
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != EXIT_PORT || ticks < TICKS) {
		printf("it ended early: exit reason %u\n", run->exit_reason);
		return 1;
	}
	return wrong != 0;
}
