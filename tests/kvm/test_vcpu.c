/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vCPUs on /dev/kvm with tiny guests in 64-bit mode: exits with their values, and that stopping a
 * vCPU at any moment loses and repeats none of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#define MIB         0x100000u
#define RAM_BYTES   (2 * MIB)
#define CPUS        8

#define GDT_GPA     0x1000u
#define PML4_GPA    0x2000u
#define PDPT_GPA    0x3000u
#define PD_GPA      0x4000u
#define CODE_GPA    0x10000u /* a page per vCPU */
#define MMIO_GPA    0x400000u
#define MISSING_GPA 0x100000u

/**
 * struct cpu - what one vCPU's guest did
 *
 * Written by its thread, read when that is paused or joined, but for the atomics.
 */
struct cpu {
	struct vcpu *vcpu;
	atomic_uint exits;
	unsigned int stop_after; /* exits, 0: never */
	uint32_t next;           /* the counter's next value */
	unsigned int wrong;      /* values that were not the next one */
	uint64_t mmio_address[16];
	uint64_t mmio_value[16];
	uint32_t mmio_bytes[16];
	unsigned int mmio_count;
	uint32_t reason; /* of the last exit that is neither */
	int error;
	bool answered; /* port 0x40 was read, and the value did not come back yet */
	char port_log[64];
	unsigned int port_count;
	uint32_t answer; /* what IN and MMIO reads give */
};

struct machine {
	struct kvm kvm;
	uint8_t *ram;
	struct cpu cpu[CPUS];
	unsigned int cpus;
};

static bool have_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void skip_without_kvm(void)
{
	if (have_kvm())
		return;
	print_message("# SKIP /dev/kvm cannot be opened: %s\n", strerror(errno));
	skip();
}

static void counted_port(struct cpu *cpu, uint32_t value)
{
	if (value != cpu->next)
		cpu->wrong++;
	cpu->next = value + 1;
}

/*
 * Port 0x10: a counter. Port 0x20: a log of bytes. Port 0x30: reads @answer. Port 0x40: reads a new
 * value each time, which is to come back at port 0x50.
 */
static enum vcpu_next handle_exit(struct vcpu *vcpu, struct kvm_run *run, void *arg)
{
	struct machine *machine = arg;
	struct cpu *cpu = &machine->cpu[vcpu_id(vcpu)];
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int exits = atomic_fetch_add(&cpu->exits, 1) + 1;
	uint32_t value = 0;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		if (run->io.port == 0x40) {
			cpu->wrong += cpu->answered;
			cpu->answered = true;
			cpu->answer++;
			memcpy(data, &cpu->answer, run->io.size);
		} else if (run->io.port == 0x50) {
			memcpy(&value, data, run->io.size);
			cpu->wrong += !cpu->answered || value != cpu->answer;
			cpu->answered = false;
		} else if (run->io.port == 0x10) {
			memcpy(&value, data, run->io.size);
			counted_port(cpu, value);
		} else if (run->io.port == 0x20) {
			for (uint32_t i = 0; i < run->io.count; i++)
				if (cpu->port_count < sizeof(cpu->port_log))
					cpu->port_log[cpu->port_count++] = data[i];
		} else if (run->io.direction == KVM_EXIT_IO_IN) {
			memcpy(data, &cpu->answer, run->io.size);
		}
		break;
	case KVM_EXIT_MMIO:
		if (cpu->mmio_count < 16) {
			cpu->mmio_address[cpu->mmio_count] = run->mmio.phys_addr;
			cpu->mmio_bytes[cpu->mmio_count] = run->mmio.len;
			if (run->mmio.is_write)
				memcpy(&cpu->mmio_value[cpu->mmio_count], run->mmio.data,
				       run->mmio.len);
			cpu->mmio_count++;
		}
		if (!run->mmio.is_write)
			memcpy(run->mmio.data, &cpu->answer, run->mmio.len < 4 ? run->mmio.len : 4);
		break;
	default:
		cpu->reason = run->exit_reason;
		cpu->error = vcpu_run_error(vcpu);
		return VCPU_STOP;
	}
	return cpu->stop_after && exits >= cpu->stop_after ? VCPU_STOP : VCPU_CONTINUE;
}

static void write_tables(struct machine *machine)
{
	uint64_t *gdt = (uint64_t *)(machine->ram + GDT_GPA);
	uint64_t *pd = (uint64_t *)(machine->ram + PD_GPA);

	gdt[2] = 0x00af9b000000ffff;
	gdt[3] = 0x00cf93000000ffff;
	*(uint64_t *)(machine->ram + PML4_GPA) = PDPT_GPA | 3;
	*(uint64_t *)(machine->ram + PDPT_GPA) = PD_GPA | 3;
	for (uint64_t i = 0; i < 8; i++)
		pd[i] = i << 21 | 0x83;
}

/* A machine with @cpus vCPUs that all run @code, without an irqchip. */
static void make_machine(struct machine *machine, unsigned int cpus, const void *code, size_t bytes)
{
	struct kvm_userspace_memory_region region = {.memory_size = RAM_BYTES};
	struct samara_error err = {0};

	memset(machine, 0, sizeof(*machine));
	machine->cpus = cpus;
	if (kvm_open(&machine->kvm, NULL, &err) || kvm_create_vm(&machine->kvm, false, &err))
		fail_msg("%s", err.text);
	machine->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(machine->ram, MAP_FAILED);
	/* A huge page would make what a test wants to be missing present. */
	madvise(machine->ram, RAM_BYTES, MADV_NOHUGEPAGE);
	region.userspace_addr = (uintptr_t)machine->ram;
	assert_int_equal(ioctl(machine->kvm.vm_fd, KVM_SET_USER_MEMORY_REGION, &region), 0);
	write_tables(machine);
	for (unsigned int i = 0; i < cpus; i++) {
		uint32_t entry = CODE_GPA + i * 4096;

		memcpy(machine->ram + entry, code, bytes);
		if (vcpu_create(&machine->kvm, i, cpus, handle_exit, machine, &machine->cpu[i].vcpu,
				&err) ||
		    vcpu_set_long_mode(machine->cpu[i].vcpu, entry, entry + 4096, PML4_GPA, GDT_GPA,
				       i, 0, &err))
			fail_msg("%s", err.text);
	}
}

static void start(struct machine *machine, bool paused)
{
	struct samara_error err = {0};

	for (unsigned int i = 0; i < machine->cpus; i++) {
		assert_int_equal(vcpu_tid(machine->cpu[i].vcpu), 0);
		if (vcpu_start(machine->cpu[i].vcpu, paused, &err))
			fail_msg("%s", err.text);
		assert_int_not_equal(vcpu_tid(machine->cpu[i].vcpu), 0);
	}
}

static void end_machine(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->cpus; i++)
		vcpu_destroy(machine->cpu[i].vcpu);
	kvm_close(&machine->kvm);
	munmap(machine->ram, RAM_BYTES);
}

static void nap_us(unsigned int us)
{
	struct timespec time = {.tv_nsec = us * 1000l};

	nanosleep(&time, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * UINT64_C(1000) + time.tv_nsec / 1000000;
}

/* Wait until a vCPU has made progress; a vCPU that never does fails the test. */
static void wait_exits(struct cpu *cpu, unsigned int exits)
{
	uint64_t give_up = now_ms() + 60000;

	while (atomic_load(&cpu->exits) < exits) {
		if (now_ms() > give_up)
			fail_msg("no progress after %u exits", atomic_load(&cpu->exits));
		nap_us(100);
	}
}

/* ---- Exits with their values ----------------------------------------------------------------- */

static void test_port_io(void **state)
{
	static const uint8_t code[] = {
		0xe4, 0x30,                   /* in al, 0x30 */
		0xe6, 0x20,                   /* out 0x20, al */
		0xb0, 'b',                    /* mov al, 'b' */
		0xe6, 0x20,                   /* out 0x20, al */
		0xe5, 0x30,                   /* in eax, 0x30 */
		0x0f, 0xc8,                   /* bswap eax */
		0xe6, 0x20,                   /* out 0x20, al */
		0xbe, 0x00, 0x08, 0x01, 0x00, /* mov esi, 0x10800 */
		0xb9, 0x05, 0x00, 0x00, 0x00, /* mov ecx, 5 */
		0x66, 0xba, 0x20, 0x00,       /* mov dx, 0x20 */
		0xf3, 0x6e,                   /* rep outsb */
		0xf4,                         /* hlt */
	};
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, code, sizeof(code));
	memcpy(machine.ram + 0x10800, "hello", 5);
	cpu->answer = 0x63000061; /* 'c' .. 'a' */
	start(&machine, false);
	vcpu_join(cpu->vcpu);
	assert_int_equal(cpu->reason, KVM_EXIT_HLT);
	assert_int_equal(cpu->error, 0);
	assert_int_equal(cpu->port_count, 8);
	assert_memory_equal(cpu->port_log, "abchello", 8);
	end_machine(&machine);
}

static void test_mmio(void **state)
{
	static const uint8_t code[] = {
		0xbb, 0x00, 0x00, 0x40, 0x00,                /* mov ebx, MMIO_GPA */
		0x48, 0xb8, 8,    7,    6,    5, 4, 3, 2, 1, /* mov rax, 0x0102030405060708 */
		0x48, 0x89, 0x03,                            /* mov [rbx], rax */
		0x66, 0x89, 0x43, 0x10,                      /* mov [rbx + 16], ax */
		0x8b, 0x4b, 0x20,                            /* mov ecx, [rbx + 32] */
		0xff, 0xc1,                                  /* inc ecx */
		0x88, 0x4b, 0x03,                            /* mov [rbx + 3], cl */
		0xf4,                                        /* hlt */
	};
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, code, sizeof(code));
	cpu->answer = 0x41;
	start(&machine, false);
	vcpu_join(cpu->vcpu);
	assert_int_equal(cpu->reason, KVM_EXIT_HLT);
	assert_int_equal(cpu->mmio_count, 4);
	assert_int_equal(cpu->mmio_address[0], MMIO_GPA);
	assert_int_equal(cpu->mmio_bytes[0], 8);
	assert_int_equal(cpu->mmio_value[0], 0x0102030405060708);
	assert_int_equal(cpu->mmio_address[1], MMIO_GPA + 16);
	assert_int_equal(cpu->mmio_bytes[1], 2);
	assert_int_equal(cpu->mmio_value[1], 0x0708);
	assert_int_equal(cpu->mmio_address[2], MMIO_GPA + 32);
	assert_int_equal(cpu->mmio_bytes[2], 4);
	assert_int_equal(cpu->mmio_bytes[3], 1);
	assert_int_equal(cpu->mmio_value[3], 0x42);
	end_machine(&machine);
}

/* ---- Eventfds instead of exits --------------------------------------------------------------- */

static int new_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* How often it was signalled since it was last asked. */
static uint64_t taken(int fd)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) < 0)
		assert_int_equal(errno, EAGAIN);
	return count;
}

static void test_ioeventfd(void **state)
{
	static const uint8_t code[] = {
		0xbb, 0x00, 0x00, 0x40, 0x00, /* mov ebx, MMIO_GPA */
		0xb8, 0x61, 0x00, 0x00, 0x00, /* mov eax, 'a' */
		0x89, 0x03,                   /* mov [rbx], eax */
		0x89, 0x03,                   /* mov [rbx], eax */
		0x89, 0x43, 0x08,             /* mov [rbx + 8], eax */
		0x66, 0x89, 0x43, 0x20,       /* mov [rbx + 32], ax */
		0xe6, 0x70,                   /* out 0x70, al */
		0xe6, 0x20,                   /* out 0x20, al */
		0xff, 0xc0,                   /* inc eax */
		0xe6, 0x70,                   /* out 0x70, al */
		0xe6, 0x20,                   /* out 0x20, al: another value */
		0x89, 0x43, 0x08,             /* mov [rbx + 8], eax: another value */
		0x66, 0x89, 0x03,             /* mov [rbx], ax: another length */
		0x8b, 0x0b,                   /* mov ecx, [rbx]: no write */
		0xf4,                         /* hlt */
	};
	static const struct {
		struct kvm_doorbell doorbell;
		uint64_t writes;
	} table[] = {
		{{KVM_DOORBELL_MMIO, MMIO_GPA, 4, false, 0}, 2},
		{{KVM_DOORBELL_MMIO, MMIO_GPA + 8, 4, true, 'a'}, 1},
		{{KVM_DOORBELL_MMIO, MMIO_GPA + 32, 0, false, 0}, 1},
		{{KVM_DOORBELL_PIO, 0x70, 1, false, 0}, 2},
		{{KVM_DOORBELL_PIO, 0x20, 1, true, 'a'}, 1},
	};
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];
	struct samara_error err = {0};
	int fds[sizeof(table) / sizeof(*table)];

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, code, sizeof(code));
	for (unsigned int i = 0; i < sizeof(table) / sizeof(*table); i++) {
		fds[i] = new_eventfd();
		if (kvm_connect_ioeventfd(&machine.kvm, fds[i], &table[i].doorbell, &err))
			fail_msg("%s", err.text);
	}
	start(&machine, false);
	vcpu_join(cpu->vcpu);
	assert_int_equal(cpu->reason, KVM_EXIT_HLT);
	for (unsigned int i = 0; i < sizeof(table) / sizeof(*table); i++)
		assert_int_equal(taken(fds[i]), table[i].writes);

	/* The others exit, and no more than these and the HLT. */
	assert_int_equal(atomic_load(&cpu->exits), 5);
	assert_int_equal(cpu->port_count, 1);
	assert_int_equal(cpu->port_log[0], 'b');
	assert_int_equal(cpu->mmio_count, 3);
	assert_int_equal(cpu->mmio_address[0], MMIO_GPA + 8);
	assert_int_equal(cpu->mmio_value[0], 'b');
	assert_int_equal(cpu->mmio_address[1], MMIO_GPA);
	assert_int_equal(cpu->mmio_bytes[1], 2);
	assert_int_equal(cpu->mmio_address[2], MMIO_GPA);
	end_machine(&machine);
	for (unsigned int i = 0; i < sizeof(table) / sizeof(*table); i++)
		close(fds[i]);
}

static void test_ioeventfd_refused(void **state)
{
	static const struct kvm_doorbell port = {KVM_DOORBELL_PIO, 0x70, 1, false, 0};
	static const struct kvm_doorbell odd = {KVM_DOORBELL_MMIO, MMIO_GPA, 3, false, 0};
	struct samara_error err = {0};
	struct kvm kvm;
	int fd = new_eventfd();

	(void)state;
	skip_without_kvm();
	assert_int_equal(kvm_open(&kvm, NULL, &err), 0);
	assert_int_equal(kvm_create_vm(&kvm, false, &err), 0);
	assert_int_equal(kvm_connect_ioeventfd(&kvm, fd, &port, &err), 0);
	assert_int_equal(kvm_connect_ioeventfd(&kvm, fd, &port, &err), -EEXIST);
	assert_non_null(strstr(err.text, "KVM_IOEVENTFD for port 0x70: "));
	assert_int_equal(kvm_connect_ioeventfd(&kvm, fd, &odd, &err), -EINVAL);
	assert_non_null(strstr(err.text, "MMIO address 0x400000"));
	kvm_close(&kvm);
	close(fd);
}

/* What the first PIC has been asked for and not yet handed out (8259A: IRR). */
static uint8_t pic_requests(const struct kvm *kvm)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	assert_int_equal(ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &chip), 0);
	return chip.chip.pic.irr;
}

static void test_irqfd(void **state)
{
	struct samara_error err = {0};
	uint64_t one = 1, give_up;
	struct kvm kvm;
	int fd = new_eventfd();

	(void)state;
	skip_without_kvm();
	assert_int_equal(kvm_open(&kvm, NULL, &err), 0);
	if (kvm_create_vm(&kvm, true, &err) || kvm_connect_irq(&kvm, fd, 4, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pic_requests(&kvm), 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	/* The kernel may leave it to a worker. */
	for (give_up = now_ms() + 60000; !pic_requests(&kvm) && now_ms() < give_up;)
		nap_us(100);
	assert_int_equal(pic_requests(&kvm), 1 << 4);
	assert_int_equal(kvm_connect_irq(&kvm, fd, 5, &err), -EBUSY);
	assert_non_null(strstr(err.text, "KVM_IRQFD for GSI 5: "));
	kvm_close(&kvm);
	close(fd);
}

/* ---- Pause and resume ------------------------------------------------------------------------ */

/* out 0x10, eax; inc eax; again. */
static const uint8_t counter[] = {0x31, 0xc0, 0xe7, 0x10, 0xff, 0xc0, 0xeb, 0xfa};

#define HAMMER_ROUNDS 3000

/*
 * A paused vCPU has no exit unfinished: if it stands before the OUT, EAX is the value that comes
 * next, if after it, the value that was seen last.
 */
static void check_paused(const struct cpu *cpu)
{
	struct kvm_regs regs;

	assert_int_equal(vcpu_get_regs(cpu->vcpu, &regs), 0);
	switch (regs.rip - CODE_GPA) {
	case 0:
		assert_int_equal(cpu->next, 0);
		break;
	case 2:
	case 6:
		assert_int_equal(regs.rax, cpu->next);
		break;
	case 4:
		assert_int_equal(regs.rax + 1, cpu->next);
		break;
	default:
		fail_msg("rip %#llx", regs.rip);
	}
}

/* Resume, and pause after a few exits, without regard to where the vCPU is then. */
static void run_a_little(struct cpu *cpu, unsigned int round)
{
	unsigned int target = atomic_load(&cpu->exits) + 1 + round % 5;
	uint64_t give_up = now_ms() + 60000;

	vcpu_resume(cpu->vcpu);
	/* Every eighth time at once: the request may come before the thread is awake. */
	while (round % 8 && atomic_load(&cpu->exits) < target) {
		if (now_ms() > give_up)
			fail_msg("no progress after %u exits", atomic_load(&cpu->exits));
		sched_yield();
	}
	vcpu_request_pause(cpu->vcpu);
	vcpu_wait_paused(cpu->vcpu);
}

static void test_pause_loses_nothing(void **state)
{
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];
	uint32_t seen = 0;

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, counter, sizeof(counter));
	start(&machine, true);
	vcpu_wait_paused(cpu->vcpu);
	assert_int_equal(atomic_load(&cpu->exits), 0);
	for (unsigned int round = 0; round < HAMMER_ROUNDS; round++) {
		run_a_little(cpu, round);
		check_paused(cpu);
		seen = cpu->next;
		assert_int_equal(cpu->wrong, 0);
	}
	/* It stands still now. */
	nap_us(2000);
	assert_int_equal(cpu->next, seen);
	assert_int_equal(atomic_load(&cpu->exits), seen);
	vcpu_resume(cpu->vcpu);
	wait_exits(cpu, seen + 100);
	vcpu_request_stop(cpu->vcpu);
	vcpu_join(cpu->vcpu);
	vcpu_join(cpu->vcpu);
	assert_int_equal(cpu->wrong, 0);
	end_machine(&machine);
}

/* The value that an IN was given is in EAX, and RIP past it, before the vCPU sleeps. */
static void test_pause_finishes_reads(void **state)
{
	/* in eax, 0x40; out 0x50, eax; again. */
	static const uint8_t code[] = {0xe5, 0x40, 0xe7, 0x50, 0xeb, 0xfa};
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];
	struct kvm_regs regs;

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, code, sizeof(code));
	start(&machine, true);
	vcpu_wait_paused(cpu->vcpu);
	for (unsigned int round = 0; round < HAMMER_ROUNDS; round++) {
		run_a_little(cpu, round);
		assert_int_equal(cpu->wrong, 0);
		assert_int_equal(vcpu_get_regs(cpu->vcpu, &regs), 0);
		assert_int_equal(regs.rip == CODE_GPA + 2, cpu->answered);
		if (cpu->answered)
			assert_int_equal(regs.rax, cpu->answer);
	}
	assert_true(cpu->answer > 100);
	end_machine(&machine);
}

/* An 8-byte access over a page boundary gives two exits; no pause falls between them. */
static void test_pause_keeps_split_accesses_whole(void **state)
{
	static const uint8_t code[] = {
		0xbb, 0xfd, 0x0f, 0x40, 0x00, /* mov ebx, MMIO_GPA + 0xffd */
		0x48, 0x89, 0x03,             /* mov [rbx], rax */
		0x48, 0xff, 0xc0,             /* inc rax */
		0xeb, 0xf8,                   /* again */
	};
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, code, sizeof(code));
	start(&machine, false);
	for (unsigned int round = 0; round < 2000; round++) {
		run_a_little(cpu, round);
		assert_int_equal(atomic_load(&cpu->exits) % 2, 0);
	}
	assert_true(atomic_load(&cpu->exits) > 2);
	end_machine(&machine);
	assert_int_equal(cpu->mmio_address[0], MMIO_GPA + 0xffd);
	assert_int_equal(cpu->mmio_bytes[0], 3);
	assert_int_equal(cpu->mmio_address[1], MMIO_GPA + 0x1000);
	assert_int_equal(cpu->mmio_bytes[1], 5);
}

/* ---- Stop ------------------------------------------------------------------------------------ */

static const uint8_t spin[] = {0xeb, 0xfe};

static void test_stop_while_spinning(void **state)
{
	(void)state;
	skip_without_kvm();
	for (unsigned int round = 0; round < 100; round++) {
		struct machine machine;

		make_machine(&machine, 1, spin, sizeof(spin));
		start(&machine, false);
		if (round % 2)
			nap_us(round * 20);
		vcpu_request_stop(machine.cpu[0].vcpu);
		vcpu_request_stop(machine.cpu[0].vcpu);
		vcpu_join(machine.cpu[0].vcpu);
		assert_int_equal(atomic_load(&machine.cpu[0].exits), 0);
		end_machine(&machine);
	}
}

static void test_stop_while_paused_or_never_started(void **state)
{
	struct machine machine;

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 2, spin, sizeof(spin));
	assert_int_equal(vcpu_start(machine.cpu[0].vcpu, true, NULL), 0);
	vcpu_wait_paused(machine.cpu[0].vcpu);
	vcpu_wait_paused(machine.cpu[1].vcpu);
	vcpu_request_stop(machine.cpu[0].vcpu);
	vcpu_join(machine.cpu[0].vcpu);
	vcpu_request_pause(machine.cpu[0].vcpu);
	vcpu_wait_paused(machine.cpu[0].vcpu);
	end_machine(&machine);
}

/*
 * Whether the host runs guests in KVM's instruction emulator: 200,000 instructions then take longer
 * than 20 ms, the best of five times.
 */
static bool is_emulating_kvm(void)
{
	static const uint8_t code[] = {
		0xb9, 0xa0, 0x86, 0x01, 0x00, /* mov ecx, 100000 */
		0xff, 0xc9,                   /* dec ecx */
		0x75, 0xfc,                   /* jnz */
		0xf4,                         /* hlt */
	};
	uint64_t best_ms = UINT64_MAX;

	for (unsigned int round = 0; round < 5; round++) {
		struct machine machine;
		uint64_t before;

		make_machine(&machine, 1, code, sizeof(code));
		before = now_ms();
		start(&machine, false);
		vcpu_join(machine.cpu[0].vcpu);
		if (now_ms() - before < best_ms)
			best_ms = now_ms() - before;
		end_machine(&machine);
	}
	return best_ms > 20;
}

/* Nobody resolves the fault: stopping and pausing must work all the same. */
static void test_stop_in_unresolved_fault(void **state)
{
	static const uint8_t code[] = {
		0xe7, 0x10,                            /* out 0x10, eax */
		0xa0, 0x00, 0x00, 0x10, 0, 0, 0, 0, 0, /* mov al, [MISSING_GPA] */
		0xe7, 0x10,                            /* out 0x10, eax */
		0xf4,
	};
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register area = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_zeropage zero = {.range.len = 4096};
	struct uffd_msg message;
	struct machine machine;
	struct cpu *cpu = &machine.cpu[0];
	int uffd;

	(void)state;
	skip_without_kvm();
	if (is_emulating_kvm()) {
		/* copy_from_user() in the emulator; a get_user_pages() gives up on a signal. */
		print_message("# SKIP an emulating KVM waits for its own accesses to guest "
			      "memory without heeding signals\n");
		skip();
	}
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0) {
		print_message("# SKIP no userfaultfd: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(ioctl(uffd, UFFDIO_API, &api), 0);
	make_machine(&machine, 1, code, sizeof(code));
	area.range.start = (uintptr_t)machine.ram + MISSING_GPA;
	area.range.len = 4096;
	assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &area), 0);

	start(&machine, false);
	assert_int_equal(read(uffd, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.event, UFFD_EVENT_PAGEFAULT);
	for (unsigned int round = 0; round < 200; round++) {
		vcpu_request_pause(cpu->vcpu);
		vcpu_wait_paused(cpu->vcpu);
		assert_int_equal(atomic_load(&cpu->exits), 1);
		vcpu_resume(cpu->vcpu);
	}
	/* Once it is resolved, the guest goes on where it was. */
	zero.range.start = area.range.start;
	assert_int_equal(ioctl(uffd, UFFDIO_ZEROPAGE, &zero), 0);
	vcpu_join(cpu->vcpu);
	assert_int_equal(cpu->reason, KVM_EXIT_HLT);
	assert_int_equal(atomic_load(&cpu->exits), 3);
	end_machine(&machine);

	make_machine(&machine, 1, code, sizeof(code));
	area.range.start = (uintptr_t)machine.ram + MISSING_GPA;
	assert_int_equal(ioctl(uffd, UFFDIO_REGISTER, &area), 0);
	start(&machine, false);
	assert_int_equal(read(uffd, &message, sizeof(message)), sizeof(message));
	vcpu_request_stop(cpu->vcpu);
	vcpu_join(cpu->vcpu);
	assert_int_equal(atomic_load(&cpu->exits), 1);
	end_machine(&machine);
	close(uffd);
}

/* ---- Several --------------------------------------------------------------------------------- */

static void test_eight_in_parallel(void **state)
{
	struct machine machine;

	(void)state;
	skip_without_kvm();
	make_machine(&machine, CPUS, counter, sizeof(counter));
	start(&machine, false);
	for (unsigned int round = 0; round < 200; round++) {
		for (unsigned int i = 0; i < CPUS; i++)
			vcpu_request_pause(machine.cpu[i].vcpu);
		for (unsigned int i = 0; i < CPUS; i++) {
			vcpu_wait_paused(machine.cpu[i].vcpu);
			assert_int_equal(machine.cpu[i].wrong, 0);
			assert_int_equal(machine.cpu[i].next, atomic_load(&machine.cpu[i].exits));
		}
		for (unsigned int i = 0; i < CPUS; i++)
			vcpu_resume(machine.cpu[i].vcpu);
		/* Any one of them has got on before the next pause. */
		wait_exits(&machine.cpu[round % CPUS],
			   atomic_load(&machine.cpu[round % CPUS].exits) + 2);
	}
	for (unsigned int i = 0; i < CPUS; i++)
		wait_exits(&machine.cpu[i], 1000);
	for (unsigned int i = 0; i < CPUS; i++)
		vcpu_request_stop(machine.cpu[i].vcpu);
	for (unsigned int i = 0; i < CPUS; i++) {
		vcpu_join(machine.cpu[i].vcpu);
		assert_int_equal(machine.cpu[i].wrong, 0);
	}
	end_machine(&machine);
}

static void test_exit_handler_ends_thread(void **state)
{
	struct machine machine;

	(void)state;
	skip_without_kvm();
	make_machine(&machine, 1, counter, sizeof(counter));
	machine.cpu[0].stop_after = 10;
	start(&machine, false);
	vcpu_join(machine.cpu[0].vcpu);
	assert_int_equal(machine.cpu[0].next, 10);
	end_machine(&machine);
}

/* ---- KVM's errors ---------------------------------------------------------------------------- */

/* What a user without rights is told of a node with this mode and group. */
static void refused_as_nobody(mode_t mode, gid_t group, const char *advice, const char *never)
{
	char path[] = "/tmp/samara-kvm-XXXXXX";
	int status, fd = mkstemp(path);
	pid_t child;

	assert_true(fd >= 0);
	assert_int_equal(fchown(fd, 0, group), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		struct samara_error err = {0};
		struct kvm kvm;

		if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
			_exit(2);
		_exit(kvm_open(&kvm, path, &err) != -EACCES || !strstr(err.text, advice) ||
		      strstr(err.text, never));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	unlink(path);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_permission_advice(void **state)
{
	(void)state;
	if (geteuid()) {
		print_message("# SKIP only root can become somebody else\n");
		skip();
	}
	refused_as_nobody(0600, 4711, "run as root", "usermod");
	refused_as_nobody(0640, 4711, "run as root", "usermod");
	refused_as_nobody(0660, 0, "run as root", "usermod");
	refused_as_nobody(0660, 4711, "usermod -aG 4711 ", "run as root");
}

static void test_open_errors(void **state)
{
	struct samara_error err;
	struct kvm kvm;

	(void)state;
	assert_int_equal(kvm_open(&kvm, "/nonexistent/kvm", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/kvm: there is none"));
	assert_int_equal(kvm_open(&kvm, "/dev/null", &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "/dev/null is no KVM device"));
	assert_int_equal(kvm.system_fd, -1);
	kvm_close(&kvm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_permission_advice),
		cmocka_unit_test(test_port_io),
		cmocka_unit_test(test_mmio),
		cmocka_unit_test(test_ioeventfd),
		cmocka_unit_test(test_ioeventfd_refused),
		cmocka_unit_test(test_irqfd),
		cmocka_unit_test(test_pause_loses_nothing),
		cmocka_unit_test(test_pause_finishes_reads),
		cmocka_unit_test(test_pause_keeps_split_accesses_whole),
		cmocka_unit_test(test_stop_while_spinning),
		cmocka_unit_test(test_stop_while_paused_or_never_started),
		cmocka_unit_test(test_stop_in_unresolved_fault),
		cmocka_unit_test(test_eight_in_parallel),
		cmocka_unit_test(test_exit_handler_ends_thread),
	};

	return cmocka_run_group_tests_name("vcpu", tests, NULL, NULL);
}
