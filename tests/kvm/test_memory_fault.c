/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * KVM_EXIT_MEMORY_FAULT: a fault that KVM reports to the vCPU's own thread, through vmm/vcpu.c,
 * vmm/vm_exit.c and vmm/memory_fault.c. No kernel reports one for the asking, so KVM_RUN is answered
 * here in its place, as Documentation/virt/kvm/api.rst has it; in between the guest runs on
 * /dev/kvm.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mm/uffd_abi.h"
#include "tests/lib/interpose.h"
#include "vmm/memory_fault.h"
#include "vmm/vm_internal.h"

#define MIB          UINT64_C(0x100000)
#define WINDOW_BYTES (16 * MIB)
#define RAM_BYTES    (8 * MIB) /* the rest of the window is a place where nothing is plugged */
#define GDT_GPA      0x1000u
#define PML4_GPA     0x2000u
#define PDPT_GPA     0x3000u
#define PD_GPA       0x4000u
#define CODE_GPA     0x10000u
#define TARGET_GPA   (6 * MIB)
#define NOTHING_GPA  (12 * MIB)
#define OUTSIDE_GPA  (64 * MIB)

/*
 * What KVM_RUN says before it runs the guest: @error with @reason @times times, 0: always.
 *
 * Set before the vCPU starts; read by its thread, but for the atomics.
 */
static struct {
	int error;
	uint32_t reason;
	struct memory_fault fault;
	unsigned int times;
	struct vm *vm;
	gpa_t discard; /* a page that goes away before each report; 0: none */
	gpa_t watch;   /* a page that is to be there when the guest runs; 0: none */
	unsigned int fail_fills;
	atomic_uint said, fills, fills_elsewhere, missing;
	atomic_int tid; /* of the thread that runs the guest */
} script;

/* What the guest wrote to port 0x10, and whether it came to its end. */
static atomic_uint told;
static atomic_bool halted;

static bool is_populated(struct guest_mm *mm, gpa_t gpa)
{
	struct guest_mm_usage usage;
	struct samara_error err;

	return !guest_mm_get_usage(mm, gpa, SAMARA_PAGE_BYTES, &usage, &err) &&
	       usage.populated_pages == 1;
}

static bool answer_run(int fd, int *ret)
{
	unsigned int said = atomic_load(&script.said);
	struct samara_error err;
	struct kvm_run *run;

	atomic_store(&script.tid, gettid());
	if (script.times && said >= script.times) {
		if (script.watch && !is_populated(script.vm->mm, script.watch))
			atomic_fetch_add(&script.missing, 1);
		return false;
	}
	atomic_store(&script.said, said + 1);
	if (script.discard &&
	    guest_mm_discard(script.vm->mm, script.discard, SAMARA_PAGE_BYTES, &err))
		atomic_fetch_add(&script.missing, 1);
	if (script.fail_fills)
		interpose_fail_nth(INTERPOSE_COPY | INTERPOSE_ZEROPAGE | INTERPOSE_MOVE, 1,
				   script.fail_fills, ENOMEM);
	run = mmap(NULL, SAMARA_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED)
		return false;
	run->exit_reason = script.reason;
	memcpy(&run->hw, &script.fault, sizeof(script.fault));
	munmap(run, SAMARA_PAGE_BYTES);
	errno = script.error;
	*ret = -1;
	return true;
}

static bool answer(int fd, unsigned long request, void *argument, int *ret)
{
	(void)argument;
	switch (request) {
	case KVM_RUN:
		return answer_run(fd, ret);
	case UFFDIO_COPY:
	case UFFDIO_ZEROPAGE:
	case UFFDIO_MOVE:
		if (gettid() == atomic_load(&script.tid))
			atomic_fetch_add(&script.fills, 1);
		else
			atomic_fetch_add(&script.fills_elsewhere, 1);
		return false;
	default:
		return false;
	}
}

static enum vcpu_next on_exit_of_guest(struct vcpu *vcpu, struct kvm_run *run, void *arg)
{
	if (!vcpu_run_error(vcpu) && run->exit_reason == KVM_EXIT_HLT) {
		atomic_store(&halted, true);
		return VCPU_STOP;
	}
	if (!vcpu_run_error(vcpu) && run->exit_reason == KVM_EXIT_IO) {
		uint32_t value;

		memcpy(&value, (uint8_t *)run + run->io.data_offset, sizeof(value));
		atomic_store(&told, value);
		return VCPU_CONTINUE;
	}
	return vm_exit(vcpu, run, arg);
}

struct machine {
	struct vm vm;
	struct vcpu *vcpu;
};

static void ok(int ret, const struct samara_error *err)
{
	if (ret)
		fail_msg("%s", err->text);
}

static void put(struct vm *vm, gpa_t gpa, const void *from, size_t bytes)
{
	assert_int_equal(guest_mm_write(vm->mm, gpa, from, bytes), 0);
}

static void write_tables(struct vm *vm)
{
	const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	const uint64_t pml4 = PDPT_GPA | 3, pdpt = PD_GPA | 3;

	put(vm, GDT_GPA, gdt, sizeof(gdt));
	put(vm, PML4_GPA, &pml4, sizeof(pml4));
	put(vm, PDPT_GPA, &pdpt, sizeof(pdpt));
	for (uint64_t i = 0; i < WINDOW_BYTES / (2 * MIB); i++) {
		uint64_t pd = i * 2 * MIB | 0x83;

		put(vm, PD_GPA + i * sizeof(pd), &pd, sizeof(pd));
	}
}

/* A guest that adds 41 to what it reads at @gpa, writes it there, tells it, and halts. */
static void write_code(struct vm *vm, gpa_t gpa)
{
	uint8_t code[] = {
		0xbb, 0,    0,  0, 0, /* mov ebx, gpa */
		0x8b, 0x03,           /* mov eax, [rbx] */
		0x83, 0xc0, 41,       /* add eax, 41 */
		0x89, 0x03,           /* mov [rbx], eax */
		0xe7, 0x10,           /* out 0x10, eax */
		0xf4,                 /* hlt */
	};
	uint32_t low = (uint32_t)gpa;

	memcpy(&code[1], &low, sizeof(low));
	put(vm, CODE_GPA, code, sizeof(code));
}

/* A VM of a few fields: what vm_exit() uses of one. */
static void make_machine(struct machine *machine, gpa_t gpa)
{
	struct guest_mm_config config = {.fault_around_pages = 1, .no_huge_pages = true};
	struct samara_error err = {0};
	struct vm *vm = &machine->vm;
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("# SKIP /dev/kvm cannot be opened: %s\n", strerror(errno));
		skip();
	}
	close(fd);
	memset(machine, 0, sizeof(*machine));
	pthread_mutex_init(&vm->error_lock, NULL);
	vm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->layout.low_bytes = WINDOW_BYTES;
	ok(guest_mm_create(&config, &vm->mm, &err), &err);
	ok(guest_mm_add_window(vm->mm, 0, WINDOW_BYTES, GUEST_MM_ANON, &err), &err);
	ok(guest_mm_plug(vm->mm, 0, RAM_BYTES, GUEST_MM_RDWR, &err), &err);
	write_tables(vm);
	write_code(vm, gpa);
	ok(kvm_open(&vm->kvm, NULL, &err), &err);
	ok(kvm_create_vm(&vm->kvm, false, &err), &err);
	ok(kvm_map_windows(&vm->kvm, vm->mm, &err), &err);
	ok(vcpu_create(&vm->kvm, 0, 1, on_exit_of_guest, vm, &machine->vcpu, &err), &err);
	ok(vcpu_set_long_mode(machine->vcpu, CODE_GPA, CODE_GPA + 0x1000, PML4_GPA, GDT_GPA, 0, 0,
			      &err),
	   &err);
	memset(&script, 0, sizeof(script));
	script.vm = vm;
	atomic_store(&told, 0);
	atomic_store(&halted, false);
}

static void run_machine(struct machine *machine)
{
	struct samara_error err;

	interpose_ioctl(answer);
	ok(vcpu_start(machine->vcpu, false, &err), &err);
	vcpu_join(machine->vcpu);
	interpose_ioctl(NULL);
}

static void end_machine(struct machine *machine)
{
	vcpu_destroy(machine->vcpu);
	kvm_close(&machine->vm.kvm);
	guest_mm_destroy(machine->vm.mm);
	close(machine->vm.wake_fd);
	pthread_mutex_destroy(&machine->vm.error_lock);
}

static void say_fault(unsigned int times, gpa_t gpa, uint64_t size_bytes)
{
	script.error = EFAULT;
	script.reason = KVM_EXIT_MEMORY_FAULT;
	script.fault = (struct memory_fault){.gpa = gpa, .size_bytes = size_bytes};
	script.times = times;
}

static void expect_end(const struct machine *machine, uint32_t value)
{
	assert_string_equal(machine->vm.error.text, "");
	assert_true(atomic_load(&halted));
	assert_int_equal(atomic_load(&told), value);
}

static void expect_failure(struct machine *machine, int code, const char *text)
{
	assert_int_equal(machine->vm.error.code, code);
	if (!strstr(machine->vm.error.text, text) ||
	    !strstr(machine->vm.error.text, "vCPU 0 at rip 0x10000: "))
		fail_msg("\"%s\" is not in: %s", text, machine->vm.error.text);
	assert_true(atomic_load(&machine->vm.requests) & VM_REQUEST_ERROR);
	assert_false(atomic_load(&halted));
}

/* ---- Resolved, and the guest goes on ---------------------------------------------------------- */

static void test_populated_by_the_vcpus_thread(void **state)
{
	struct machine machine;

	(void)state;
	make_machine(&machine, TARGET_GPA);
	assert_false(is_populated(machine.vm.mm, TARGET_GPA));
	say_fault(1, TARGET_GPA, SAMARA_PAGE_BYTES);
	script.watch = TARGET_GPA;
	run_machine(&machine);
	expect_end(&machine, 41);
	assert_int_equal(atomic_load(&script.said), 1);
	/* There before the guest ran, by a call that its own thread made; no handler had to. */
	assert_int_equal(atomic_load(&script.missing), 0);
	assert_int_equal(atomic_load(&script.fills), 1);
	assert_int_equal(atomic_load(&script.fills_elsewhere), 0);
	end_machine(&machine);
}

static void test_contents_survive(void **state)
{
	const uint32_t before = 1;
	struct machine machine;
	uint32_t after;

	(void)state;
	make_machine(&machine, TARGET_GPA);
	put(&machine.vm, TARGET_GPA, &before, sizeof(before));
	say_fault(MEMORY_FAULT_ROW_MAX - 1, TARGET_GPA + 8, SAMARA_PAGE_BYTES);
	run_machine(&machine);
	expect_end(&machine, 42);
	assert_int_equal(guest_mm_read(machine.vm.mm, TARGET_GPA, &after, sizeof(after)), 0);
	assert_int_equal(after, 42);
	end_machine(&machine);
}

/* A size that is none, or no page's, or more than there is, is no reason to fail or to spin. */
static void test_sizes(void **state)
{
	static const struct {
		uint64_t size_bytes;
		unsigned int pages; /* from TARGET_GPA on */
	} sizes[] = {
		{0, 1},
		{1, 1},
		{SAMARA_PAGE_BYTES, 2}, /* 8 bytes into the first */
		{MIB, 257},
		{UINT64_MAX, 512},
	};
	struct samara_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct guest_mm_usage usage;
		struct machine machine;

		make_machine(&machine, TARGET_GPA);
		say_fault(1, TARGET_GPA + 8, sizes[i].size_bytes);
		run_machine(&machine);
		expect_end(&machine, 41);
		ok(guest_mm_get_usage(machine.vm.mm, TARGET_GPA, RAM_BYTES - TARGET_GPA, &usage,
				      &err),
		   &err);
		assert_int_equal(usage.populated_pages, sizes[i].pages);
		end_machine(&machine);
	}
}

static void test_where_nothing_is_plugged(void **state)
{
	struct guest_mm_stats stats;
	struct machine machine;

	(void)state;
	make_machine(&machine, NOTHING_GPA);
	/* More often than a page may be reported that is there: this one may have been forgotten. */
	say_fault(2 * MEMORY_FAULT_ROW_MAX, NOTHING_GPA, SAMARA_PAGE_BYTES);
	run_machine(&machine);
	expect_end(&machine, 41);
	guest_mm_get_stats(machine.vm.mm, &stats);
	assert_true(stats.faults_nothing >= 1);
	assert_int_equal(stats.last_nothing_gpa & ~(SAMARA_PAGE_BYTES - 1), NOTHING_GPA);
	end_machine(&machine);
}

static void test_host_without_memory(void **state)
{
	struct machine machine;

	(void)state;
	make_machine(&machine, TARGET_GPA);
	say_fault(3, TARGET_GPA, SAMARA_PAGE_BYTES);
	script.fail_fills = 100;
	run_machine(&machine);
	expect_end(&machine, 41);
	assert_int_equal(atomic_load(&script.said), 3);
	assert_true(atomic_load(&script.fills) >= 3);
	end_machine(&machine);
}

/* An operation takes the page away each time: it is missing each time, however often. */
static void test_discarded_again_and_again(void **state)
{
	struct machine machine;

	(void)state;
	make_machine(&machine, TARGET_GPA);
	say_fault(3 * MEMORY_FAULT_ROW_MAX, TARGET_GPA, SAMARA_PAGE_BYTES);
	script.discard = TARGET_GPA;
	script.watch = TARGET_GPA;
	run_machine(&machine);
	expect_end(&machine, 41);
	assert_int_equal(atomic_load(&script.said), 3 * MEMORY_FAULT_ROW_MAX);
	assert_int_equal(atomic_load(&script.missing), 0);
	end_machine(&machine);
}

/* ---- What cannot be resolved ------------------------------------------------------------------- */

static void test_no_progress(void **state)
{
	struct machine machine;

	(void)state;
	make_machine(&machine, TARGET_GPA);
	say_fault(0, TARGET_GPA, SAMARA_PAGE_BYTES);
	run_machine(&machine);
	expect_failure(&machine, -EIO,
		       "memory fault at 0x600000: the page is there, and KVM cannot use it");
	assert_int_equal(atomic_load(&script.said), MEMORY_FAULT_ROW_MAX);
	end_machine(&machine);
}

static void test_errors(void **state)
{
	static const struct {
		int error;
		uint32_t reason;
		struct memory_fault fault;
		const char *text;
		int code;
	} cases[] = {
		{EFAULT,
		 KVM_EXIT_MEMORY_FAULT,
		 {0, OUTSIDE_GPA, SAMARA_PAGE_BYTES},
		 "memory fault at 0x4000000: not within one of the windows",
		 -ERANGE},
		{EFAULT,
		 KVM_EXIT_MEMORY_FAULT,
		 {0, UINT64_MAX, UINT64_MAX},
		 "memory fault at 0xffffffffffffffff: not within one of the windows",
		 -ERANGE},
		{EFAULT,
		 KVM_EXIT_MEMORY_FAULT,
		 {KVM_MEMORY_EXIT_FLAG_PRIVATE, TARGET_GPA, SAMARA_PAGE_BYTES},
		 "memory fault at 0x600000: KVM wants private memory there",
		 -EFAULT},
		{EHWPOISON,
		 KVM_EXIT_MEMORY_FAULT,
		 {0, TARGET_GPA, SAMARA_PAGE_BYTES},
		 "the host's memory behind 0x600000 is broken",
		 -EHWPOISON},
		{EFAULT,
		 KVM_EXIT_UNKNOWN,
		 {0, 0, 0},
		 "KVM could not reach guest memory, and does not say where",
		 -EFAULT},
		/* Whatever is left in kvm_run, without an error that goes with it. */
		{ENOMEM,
		 KVM_EXIT_MEMORY_FAULT,
		 {0, TARGET_GPA, SAMARA_PAGE_BYTES},
		 "KVM_RUN: Cannot allocate memory",
		 -ENOMEM},
		{EFAULT,
		 KVM_EXIT_MMIO,
		 {TARGET_GPA, 0, 0},
		 "KVM could not reach guest memory, and does not say where",
		 -EFAULT},
		{EHWPOISON,
		 KVM_EXIT_UNKNOWN,
		 {0, 0, 0},
		 "KVM_RUN: Memory page has hardware error",
		 -EHWPOISON},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct machine machine;

		make_machine(&machine, TARGET_GPA);
		script.error = cases[i].error;
		script.reason = cases[i].reason;
		script.fault = cases[i].fault;
		script.times = 1;
		run_machine(&machine);
		expect_failure(&machine, cases[i].code, cases[i].text);
		assert_int_equal(atomic_load(&script.said), 1);
		assert_false(is_populated(machine.vm.mm, TARGET_GPA));
		end_machine(&machine);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_populated_by_the_vcpus_thread),
		cmocka_unit_test(test_contents_survive),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_where_nothing_is_plugged),
		cmocka_unit_test(test_host_without_memory),
		cmocka_unit_test(test_discarded_again_and_again),
		cmocka_unit_test(test_no_progress),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests_name("memory_fault", tests, NULL, NULL);
}
