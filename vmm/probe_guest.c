/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "vmm/probe_guest.h"

/* include/uapi/linux/kvm.h of Linux 6.8 */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif

/* Layout of the guest's own memory; all of it is mapped one to one with pages of 2 MiB. */
#define RAM_BYTES         0x20000u
#define PML4_GPA          0x1000u
#define PDPT_GPA          0x2000u
#define PD_GPA            0x3000u /* two tables: 2 GiB */
#define GDT_GPA           0x5000u
#define IDT_GPA           0x6000u
#define HANDLERS_GPA      0x7000u
#define SCRATCH_GPA       0x8000u /* 16 KiB for the code to play with; its address is in rdi */
#define STACK_TOP_GPA     0xe000u
#define CODE_GPA          0x10000u
#define CODE_BYTES_MAX    0x1000u

/* Ports by which the guest tells how it ended. */
#define PORT_DONE         0x10
#define PORT_EXCEPTION    0x11

#define VECTORS           32u
#define HANDLER_BYTES     16u
#define VECTOR_BREAKPOINT 3u

/* AMD64 Architecture Programmer's Manual, volume 2, 3.1 (CR0, CR4, EFER). */
#define CR0_VALUE         0x80010033ull /* PG WP NE ET MP PE */
#define CR4_PAE           0x20ull
#define CR4_SSE           0x600ull /* OSFXSR, OSXMMEXCPT */
#define CR4_XSAVE         0x40000ull
#define EFER_VALUE        0x500ull /* LMA LME */

/* Page-table entries, the same, 5.3. */
#define PTE_TABLE         0x3ull  /* present, writable */
#define PTE_LARGE         0x83ull /* and 2 MiB */

#define SELECTOR_CODE     0x10
#define SELECTOR_DATA     0x18

/*
 * The creating thread owns it; between start and wait the run's thread uses vcpu_fd, run, exit.
 */
struct probe_guest {
	int kvm_fd, vm_fd, vcpu_fd;
	size_t run_bytes;
	struct kvm_run *run;
	uint8_t *ram;
	struct kvm_cpuid2 *cpuid;
	pthread_t thread;
	struct probe_exit exit;
};

/* ---- Code ------------------------------------------------------------------------------------ */

#define LOOP_INSTRUCTIONS 8

/* The same text for guest and host. rcx: how many rounds. */
#define LOOP                         \
	"1: add $1, %%rax\n\t"       \
	"xor %%rax, %%rdx\n\t"       \
	"lea 3(%%rdx), %%rsi\n\t"    \
	"sub %%rsi, %%rax\n\t"       \
	"and $0x7fffffff, %%rdx\n\t" \
	"or $1, %%rsi\n\t"           \
	"dec %%rcx\n\t"              \
	"jnz 1b\n\t"

/* Never called: they hold the code that is copied into the guest. */
#define CODE(name, text)                                                                      \
	extern const uint8_t name##_start[] __attribute__((visibility("hidden")));            \
	extern const uint8_t name##_end[] __attribute__((visibility("hidden")));              \
	__attribute__((used, noinline)) static void name##_holder(void)                       \
	{                                                                                     \
		__asm__ volatile(".pushsection .rodata\n" #name "_start:\n\t" text "\n" #name \
				 "_end:\n\t.popsection" ::);                                  \
	}

CODE(loop_code, LOOP)
CODE(read_code, "mov (%%rbx), %%rax")
CODE(cmpxchg16b_code, "xor %%eax, %%eax\n\txor %%edx, %%edx\n\tlock cmpxchg16b (%%rdi)")
CODE(bmi2_code, "mov $3, %%eax\n\trorx $1, %%eax, %%edx\n\tshlx %%eax, %%edx, %%eax")
CODE(xsave_code, "mov $3, %%eax\n\txor %%edx, %%edx\n\txsave 64(%%rdi)")
CODE(xrstor_code, "mov $3, %%eax\n\txor %%edx, %%edx\n\txrstor 8192(%%rdi)")
CODE(int3_code, "int3")
CODE(sse_code, "movups (%%rdi), %%xmm0\n\tpxor %%xmm1, %%xmm0\n\tmovups %%xmm0, 64(%%rdi)")

const struct probe_code probe_read_memory = {read_code_start, read_code_end};

const struct probe_instruction probe_instructions[PROBE_INSTRUCTIONS] = {
	{"cmpxchg16b",
	 "the page allocator",
	 {cmpxchg16b_code_start, cmpxchg16b_code_end},
	 1,
	 'c',
	 13},
	{"bmi2", "the kernel's own decompressor", {bmi2_code_start, bmi2_code_end}, 7, 'b', 8},
	{"xsave", "switching tasks", {xsave_code_start, xsave_code_end}, 1, 'c', 26},
	{"xrstor", "switching tasks", {xrstor_code_start, xrstor_code_end}, 1, 'c', 26},
	{"int3", "patching its own code", {int3_code_start, int3_code_end}, 0, 0, 0},
	{"sse2", "every program", {sse_code_start, sse_code_end}, 0, 0, 0},
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static void put64(struct probe_guest *guest, uint32_t gpa, uint64_t value)
{
	memcpy(guest->ram + gpa, &value, sizeof(value));
}

static void make_page_tables(struct probe_guest *guest)
{
	unsigned int i;

	put64(guest, PML4_GPA, PDPT_GPA | PTE_TABLE);
	for (i = 0; i < 2; i++)
		put64(guest, PDPT_GPA + i * 8, (PD_GPA + i * 0x1000) | PTE_TABLE);
	for (i = 0; i < 1024; i++)
		put64(guest, PD_GPA + i * 8, ((uint64_t)i << 21) | PTE_LARGE);
}

/*
 * Each handler reports its vector and halts; the one for int3 returns. Gates: AMD64 APM volume 2,
 * 4.8.4.
 */
static void make_exception_handlers(struct probe_guest *guest)
{
	unsigned int vector;

	for (vector = 0; vector < VECTORS; vector++) {
		uint32_t gpa = HANDLERS_GPA + vector * HANDLER_BYTES;
		/* mov $vector, %al; out %al, $PORT_EXCEPTION; hlt */
		uint8_t report[] = {0xb0, (uint8_t)vector, 0xe6, PORT_EXCEPTION, 0xf4};
		/* iretq */
		static const uint8_t back[] = {0x48, 0xcf};

		if (vector == VECTOR_BREAKPOINT)
			memcpy(guest->ram + gpa, back, sizeof(back));
		else
			memcpy(guest->ram + gpa, report, sizeof(report));
		put64(guest, IDT_GPA + vector * 16,
		      (gpa & 0xffff) | SELECTOR_CODE << 16 | UINT64_C(0x8e00) << 32);
		put64(guest, IDT_GPA + vector * 16 + 8, 0);
	}
}

static void make_memory(struct probe_guest *guest)
{
	make_page_tables(guest);
	/* 64-bit code, data: present, accessed. */
	put64(guest, GDT_GPA + SELECTOR_CODE, UINT64_C(0x00af9b000000ffff));
	put64(guest, GDT_GPA + SELECTOR_DATA, UINT64_C(0x00cf93000000ffff));
	make_exception_handlers(guest);
}

/* ---- The VM ---------------------------------------------------------------------------------- */

static int fail(const char *what, struct samara_error *err)
{
	return samara_error_set(err, -errno, "%s: %s", what, strerror(errno));
}

static int add_memory(struct probe_guest *guest, void *missing, struct samara_error *err)
{
	struct kvm_userspace_memory_region own = {
		.slot = 0,
		.memory_size = RAM_BYTES,
		.userspace_addr = (uintptr_t)guest->ram,
	};
	struct kvm_userspace_memory_region other = {
		.slot = 1,
		.guest_phys_addr = PROBE_MISSING_GPA,
		.memory_size = PROBE_MISSING_BYTES,
		.userspace_addr = (uintptr_t)missing,
	};

	if (ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &own))
		return fail("KVM_SET_USER_MEMORY_REGION", err);
	if (missing && ioctl(guest->vm_fd, KVM_SET_USER_MEMORY_REGION, &other))
		return fail("KVM_SET_USER_MEMORY_REGION", err);
	return 0;
}

static int add_vcpu(struct probe_guest *guest, struct samara_error *err)
{
	const unsigned int entries = 256;
	int length;

	guest->cpuid = calloc(1, sizeof(*guest->cpuid) + entries * sizeof(struct kvm_cpuid_entry2));
	if (!guest->cpuid)
		return samara_error_set(err, -ENOMEM, "out of memory");
	guest->cpuid->nent = entries;
	if (ioctl(guest->kvm_fd, KVM_GET_SUPPORTED_CPUID, guest->cpuid))
		return fail("KVM_GET_SUPPORTED_CPUID", err);
	guest->vcpu_fd = ioctl(guest->vm_fd, KVM_CREATE_VCPU, 0);
	if (guest->vcpu_fd < 0)
		return fail("KVM_CREATE_VCPU", err);
	if (ioctl(guest->vcpu_fd, KVM_SET_CPUID2, guest->cpuid))
		return fail("KVM_SET_CPUID2", err);
	length = ioctl(guest->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (length < (int)sizeof(struct kvm_run))
		return samara_error_set(err, -EIO, "KVM_GET_VCPU_MMAP_SIZE gave %d", length);
	guest->run_bytes = (size_t)length;
	guest->run =
		mmap(NULL, guest->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, guest->vcpu_fd, 0);
	if (guest->run == MAP_FAILED) {
		guest->run = NULL;
		return fail("mmap of a vCPU", err);
	}
	return 0;
}

int probe_guest_create(void *missing, struct probe_guest **out, struct samara_error *err)
{
	struct probe_guest *guest = calloc(1, sizeof(*guest));
	int ret;

	if (!guest)
		return samara_error_set(err, -ENOMEM, "out of memory");
	guest->vm_fd = -1;
	guest->vcpu_fd = -1;
	guest->ram =
		mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guest->ram == MAP_FAILED) {
		free(guest);
		return fail("guest memory", err);
	}
	guest->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (guest->kvm_fd < 0) {
		ret = fail("/dev/kvm", err);
		goto destroy;
	}
	guest->vm_fd = ioctl(guest->kvm_fd, KVM_CREATE_VM, 0);
	if (guest->vm_fd < 0) {
		ret = fail("KVM_CREATE_VM", err);
		goto destroy;
	}
	make_memory(guest);
	ret = add_memory(guest, missing, err);
	if (!ret)
		ret = add_vcpu(guest, err);
	if (ret)
		goto destroy;
	*out = guest;
	return 0;
destroy:
	probe_guest_destroy(guest);
	return ret;
}

void probe_guest_destroy(struct probe_guest *guest)
{
	if (!guest)
		return;
	if (guest->run)
		munmap(guest->run, guest->run_bytes);
	if (guest->vcpu_fd >= 0)
		close(guest->vcpu_fd);
	if (guest->vm_fd >= 0)
		close(guest->vm_fd);
	if (guest->kvm_fd >= 0)
		close(guest->kvm_fd);
	munmap(guest->ram, RAM_BYTES);
	free(guest->cpuid);
	free(guest);
}

static uint32_t cpuid_register(const struct probe_guest *guest, uint32_t leaf, char reg)
{
	unsigned int i;

	for (i = 0; i < guest->cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &guest->cpuid->entries[i];

		if (entry->function == leaf && !entry->index)
			return reg == 'b' ? entry->ebx : entry->ecx;
	}
	return 0;
}

bool probe_has_instruction(const struct probe_guest *guest,
			   const struct probe_instruction *instruction)
{
	return !instruction->leaf ||
	       cpuid_register(guest, instruction->leaf, instruction->reg) >> instruction->bit & 1;
}

/* ---- One run --------------------------------------------------------------------------------- */

static int set_state(struct probe_guest *guest, uint64_t rbx, uint64_t rcx,
		     struct samara_error *err)
{
	const struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = SELECTOR_CODE,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	const struct kvm_segment data = {
		.limit = 0xffffffff,
		.selector = SELECTOR_DATA,
		.type = 3,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
	struct kvm_regs regs = {
		.rip = CODE_GPA,
		.rsp = STACK_TOP_GPA,
		.rflags = 2,
		.rbx = rbx,
		.rcx = rcx,
		.rdi = SCRATCH_GPA,
	};
	/* XSAVE: CPUID leaf 1, ecx bit 26. */
	bool xsave = cpuid_register(guest, 1, 'c') >> 26 & 1;
	struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = 3}}};
	struct kvm_sregs sregs;

	if (ioctl(guest->vcpu_fd, KVM_GET_SREGS, &sregs))
		return fail("KVM_GET_SREGS", err);
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
	/* A 64-bit TSS, busy: what VMX demands of the task register in long mode. */
	sregs.tr = (struct kvm_segment){.limit = 0x67, .type = 11, .present = 1};
	sregs.gdt = (struct kvm_dtable){.base = GDT_GPA, .limit = 0x1f};
	sregs.idt = (struct kvm_dtable){.base = IDT_GPA, .limit = VECTORS * 16 - 1};
	sregs.cr0 = CR0_VALUE;
	sregs.cr3 = PML4_GPA;
	sregs.cr4 = CR4_PAE | CR4_SSE | (xsave ? CR4_XSAVE : 0);
	sregs.efer = EFER_VALUE;
	if (ioctl(guest->vcpu_fd, KVM_SET_SREGS, &sregs))
		return fail("KVM_SET_SREGS", err);
	if (xsave && ioctl(guest->vcpu_fd, KVM_SET_XCRS, &xcrs))
		return fail("KVM_SET_XCRS", err);
	if (ioctl(guest->vcpu_fd, KVM_SET_REGS, &regs))
		return fail("KVM_SET_REGS", err);
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* kvm_run.memory_fault, Linux 6.8: flags, gpa, size at the start of the union of exits. */
static uint64_t memory_fault_gpa(const struct kvm_run *run)
{
	struct {
		uint64_t flags, gpa, size;
	} fault;

	memcpy(&fault, &run->hw, sizeof(fault));
	return fault.gpa;
}

static void classify_failure(const struct kvm_run *run, int error, struct probe_exit *exit)
{
	if (error == EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT) {
		exit->end = PROBE_MEMORY_FAULT;
		exit->detail = (int64_t)memory_fault_gpa(run);
	} else if (error == EFAULT) {
		exit->end = PROBE_EFAULT;
	} else if (error == EINTR) {
		exit->end = PROBE_TIMEOUT;
	} else {
		exit->end = PROBE_OTHER;
		exit->detail = -error;
	}
}

static void classify_exit(const struct kvm_run *run, struct probe_exit *exit)
{
	exit->end = PROBE_OTHER;
	exit->detail = run->exit_reason;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		if (run->io.port == PORT_DONE) {
			exit->end = PROBE_DONE;
		} else if (run->io.port == PORT_EXCEPTION) {
			exit->end = PROBE_EXCEPTION;
			exit->detail = *((const uint8_t *)run + run->io.data_offset);
		}
		break;
	case KVM_EXIT_MMIO:
		exit->end = PROBE_MMIO;
		exit->detail = (int64_t)run->mmio.phys_addr;
		break;
	case KVM_EXIT_MEMORY_FAULT:
		exit->end = PROBE_MEMORY_FAULT;
		exit->detail = (int64_t)memory_fault_gpa(run);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
			exit->end = PROBE_EMULATION;
		break;
	default:
		break;
	}
}

static void *run_guest(void *arg)
{
	struct probe_guest *guest = arg;
	struct probe_exit *exit = &guest->exit;
	struct kvm_regs regs;
	uint64_t start_ns;
	int ret, error;

	memset(exit, 0, sizeof(*exit));
	start_ns = now_ns();
	ret = ioctl(guest->vcpu_fd, KVM_RUN, 0);
	error = errno;
	exit->elapsed_ns = now_ns() - start_ns;
	if (ret < 0)
		classify_failure(guest->run, error, exit);
	else
		classify_exit(guest->run, exit);
	if (!ioctl(guest->vcpu_fd, KVM_GET_REGS, &regs))
		exit->rax = regs.rax;
	return NULL;
}

int probe_guest_start(struct probe_guest *guest, struct probe_code code, uint64_t rbx, uint64_t rcx,
		      struct samara_error *err)
{
	/* out %al, $PORT_DONE; hlt */
	static const uint8_t end[] = {0xe6, PORT_DONE, 0xf4};
	size_t length_bytes = (size_t)(code.end - code.start);
	int ret;

	if (length_bytes > CODE_BYTES_MAX - sizeof(end))
		return samara_error_set(err, -E2BIG, "probe code is too long");
	memcpy(guest->ram + CODE_GPA, code.start, length_bytes);
	memcpy(guest->ram + CODE_GPA + length_bytes, end, sizeof(end));
	memset(guest->ram + SCRATCH_GPA, 0, 0x4000);
	guest->run->immediate_exit = 0;
	ret = set_state(guest, rbx, rcx, err);
	if (ret)
		return ret;
	ret = -pthread_create(&guest->thread, NULL, run_guest, guest);
	if (ret)
		samara_error_set(err, ret, "no thread: %s", strerror(-ret));
	return ret;
}

/* Interrupts KVM_RUN by being delivered; there is nothing to do. */
static void on_signal(int number)
{
	(void)number;
}

static int join_until(pthread_t thread, unsigned int timeout_ms)
{
	struct timespec deadline;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += timeout_ms / 1000;
	deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_sec++;
		deadline.tv_nsec -= 1000000000;
	}
	return pthread_timedjoin_np(thread, NULL, &deadline);
}

void probe_guest_wait(struct probe_guest *guest, unsigned int timeout_ms, struct probe_exit *exit)
{
	struct sigaction action = {.sa_handler = on_signal}, old;

	sigaction(SIGUSR2, &action, &old);
	while (join_until(guest->thread, timeout_ms)) {
		/* Set first, so that a signal just before KVM_RUN is not lost. */
		__atomic_store_n(&guest->run->immediate_exit, 1, __ATOMIC_RELAXED);
		pthread_kill(guest->thread, SIGUSR2);
		timeout_ms = 10;
	}
	sigaction(SIGUSR2, &old, NULL);
	*exit = guest->exit;
}

/* ---- What is probed -------------------------------------------------------------------------- */

#define RUN_TIMEOUT_MS  5000

/*
 * A measurement is good when it is long beside the way into the guest and back, and beside what a
 * busy host takes away: when eight times the rounds take at least four times the time.
 */
#define LOOP_WANTED_NS  UINT64_C(20000000)
#define LOOP_GROWTH     8
#define LOOP_ROUNDS_MIN UINT64_C(1000)
#define LOOP_ROUNDS_MAX (LOOP_ROUNDS_MIN << 15)

static int time_guest(struct probe_guest *guest, uint64_t rounds, uint64_t *best_ns,
		      struct samara_error *err)
{
	const struct probe_code loop = {loop_code_start, loop_code_end};
	struct probe_exit exit;
	unsigned int i;
	char text[96];
	int ret;

	*best_ns = UINT64_MAX;
	for (i = 0; i < 3; i++) {
		ret = probe_guest_start(guest, loop, 0, rounds, err);
		if (ret)
			return ret;
		probe_guest_wait(guest, RUN_TIMEOUT_MS, &exit);
		if (exit.end != PROBE_DONE) {
			probe_describe(&exit, text, sizeof(text));
			return samara_error_set(err, -EIO, "plain integer code: %s", text);
		}
		if (exit.elapsed_ns < *best_ns)
			*best_ns = exit.elapsed_ns;
	}
	return 0;
}

static uint64_t time_host(uint64_t rounds)
{
	uint64_t best_ns = UINT64_MAX, start_ns, elapsed_ns;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		uint64_t count = rounds, rax = 0, rdx = 0;

		start_ns = now_ns();
		__asm__ volatile(LOOP : "+c"(count), "+a"(rax), "+d"(rdx) : : "rsi", "cc");
		elapsed_ns = now_ns() - start_ns;
		if (elapsed_ns < best_ns)
			best_ns = elapsed_ns;
	}
	return best_ns;
}

int probe_measure_ratio(struct probe_guest *guest, double *guest_ns, double *host_ns,
			struct samara_error *err)
{
	uint64_t rounds, last_ns, full_ns;
	int ret;

	ret = time_guest(guest, LOOP_ROUNDS_MIN / LOOP_GROWTH, &full_ns, err);
	if (ret)
		return ret;
	for (rounds = LOOP_ROUNDS_MIN;; rounds *= LOOP_GROWTH) {
		last_ns = full_ns;
		ret = time_guest(guest, rounds, &full_ns, err);
		if (ret)
			return ret;
		if (rounds == LOOP_ROUNDS_MAX ||
		    (full_ns > LOOP_WANTED_NS && full_ns / 4 > last_ns))
			break;
	}
	if (full_ns <= last_ns)
		return samara_error_set(err, -EIO, "the guest's time can't be measured");
	*guest_ns = (double)(full_ns - last_ns) /
		    (double)((rounds - rounds / LOOP_GROWTH) * LOOP_INSTRUCTIONS);
	/* On the host long enough for the clock, however few rounds the guest took. */
	rounds = LOOP_ROUNDS_MAX / 32;
	*host_ns = (double)time_host(rounds) / (double)(rounds * LOOP_INSTRUCTIONS);
	return 0;
}

void probe_describe(const struct probe_exit *exit, char *text, size_t text_bytes)
{
	unsigned long long detail = (unsigned long long)exit->detail;

	switch (exit->end) {
	case PROBE_DONE:
		snprintf(text, text_bytes, "ran");
		break;
	case PROBE_EMULATION:
		snprintf(text, text_bytes, "KVM can't emulate it (KVM_INTERNAL_ERROR_EMULATION)");
		break;
	case PROBE_EXCEPTION:
		snprintf(text, text_bytes, "exception %llu in the guest", detail);
		break;
	case PROBE_MMIO:
		snprintf(text, text_bytes, "KVM_EXIT_MMIO at gpa 0x%llx", detail);
		break;
	case PROBE_MEMORY_FAULT:
		snprintf(text, text_bytes, "KVM_EXIT_MEMORY_FAULT at gpa 0x%llx", detail);
		break;
	case PROBE_EFAULT:
		snprintf(text, text_bytes, "EFAULT without an address");
		break;
	case PROBE_TIMEOUT:
		snprintf(text, text_bytes, "did not end in time");
		break;
	case PROBE_OTHER:
		if (exit->detail < 0)
			snprintf(text, text_bytes, "KVM_RUN: %s", strerror((int)-exit->detail));
		else
			snprintf(text, text_bytes, "exit reason %llu", detail);
		break;
	}
}
