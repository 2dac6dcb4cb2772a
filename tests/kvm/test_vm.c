/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whole virtual machines on /dev/kvm, with guests of a few instructions: how they end, what is told of
 * it, and what may be asked of one meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio_mem.h"
#include "tests/lib/interpose.h"
#include "tests/lib/virtio_driver.h"
#include "vmm/memory_devices.h"
#include "vmm/vm.h"

#define MIB         (UINT64_C(1) << 20)
#define NOTICES_MAX 64
/* Far more than it takes, on the busiest machine. */
#define PATIENCE_S  120

static void skip_without_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return;
	}
	print_message("# SKIP no usable /dev/kvm\n");
	skip();
}

/* ---- Guests ------------------------------------------------------------------------------------ */

/* The 64-bit entry of a bzImage: 0x200 after its boot sector and one setup sector (boot.rst). */
#define ENTRY        0x600
#define KERNEL_BYTES 0x800

static const uint8_t loops[] = {0xeb, 0xfe};
/* mov $0x600, %dx; mov $0x34, %al; out %al, %dx: the sleep control register, S5; then it loops. */
static const uint8_t powers_off[] = {0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, 0xeb, 0xfe};
/* mov $0xfe, %al; out %al, $0x64: the keyboard controller's reset line; then it loops. */
static const uint8_t resets[] = {0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe};
/* mov $0xd0100000, %eax; jmp *%rax: no instructions are there, nor memory, and KVM gives up. */
static const uint8_t fails[] = {0xb8, 0x00, 0x00, 0x10, 0xd0, 0xff, 0xe0};

static void put(uint8_t *kernel, unsigned int offset, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		kernel[offset + i] = (uint8_t)(value >> 8 * i);
}

/* A setup header with what a loader looks at, as in tests/run/tiny.S, and the code. */
static void make_kernel(uint8_t *kernel, const uint8_t *code, size_t code_bytes)
{
	memset(kernel, 0, KERNEL_BYTES);
	put(kernel, 0x1f1, 1, 1);      /* setup_sects */
	put(kernel, 0x1f4, 0x40, 4);   /* syssize, in 16 bytes */
	put(kernel, 0x1fe, 0xaa55, 2); /* boot_flag */
	put(kernel, 0x200, 0x6aeb, 2); /* jump: the header ends at 0x26c */
	memcpy(kernel + 0x202, "HdrS", 4);
	put(kernel, 0x206, 0x020f, 2);     /* version */
	put(kernel, 0x211, 1, 1);          /* loadflags: LOADED_HIGH */
	put(kernel, 0x214, 0x100000, 4);   /* code32_start */
	put(kernel, 0x22c, 0x7fffffff, 4); /* initrd_addr_max */
	put(kernel, 0x230, 0x200000, 4);   /* kernel_alignment */
	put(kernel, 0x234, 1, 1);          /* relocatable_kernel */
	put(kernel, 0x235, 21, 1);         /* min_alignment */
	put(kernel, 0x236, 1, 2);          /* xloadflags: XLF_KERNEL_64 */
	put(kernel, 0x238, 255, 4);        /* cmdline_size */
	put(kernel, 0x258, 0x1000000, 8);  /* pref_address */
	put(kernel, 0x260, 0x10000, 4);    /* init_size */
	memcpy(kernel + ENTRY, code, code_bytes);
}

/* ---- A run of a VM, and what is told of it ------------------------------------------------------- */

/*
 * struct run - a VM in a thread of its own
 *
 * @notices, @count, @made: under @lock. The others are the thread's until it is joined; @vm is there
 * once @made.
 */
struct run {
	struct vm_config config;
	struct vm *vm;
	pthread_t thread;
	enum vm_end end;
	int ret;
	struct samara_error error;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool made;
	struct vm_notice notices[NOTICES_MAX];
	unsigned int count;
	/* Called by listen(), if it is set. */
	void (*also)(struct run *run, const struct vm_notice *notice);
	int also_ret;
};

static void listen(const struct vm_notice *notice, void *arg)
{
	struct run *run = arg;

	if (run->also)
		run->also(run, notice);
	pthread_mutex_lock(&run->lock);
	if (run->count < NOTICES_MAX)
		run->notices[run->count++] = *notice;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

/* A VM is run by the thread that made it. */
static void *run_main(void *arg)
{
	struct run *run = arg;

	run->ret = vm_create(&run->config, &run->vm, &run->error);
	if (!run->ret)
		run->ret = vm_add_listener(run->vm, listen, run);
	pthread_mutex_lock(&run->lock);
	run->made = true;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
	if (!run->ret)
		run->ret = vm_run(run->vm, &run->end, &run->error);
	return NULL;
}

static void set_up(struct run *run, const uint8_t *code, size_t code_bytes)
{
	char path[] = "/tmp/samara-test-vm-XXXXXX";
	int fd = mkstemp(path);
	uint8_t kernel[KERNEL_BYTES];

	memset(run, 0, sizeof(*run));
	make_kernel(kernel, code, code_bytes);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, kernel, sizeof(kernel)), sizeof(kernel));
	close(fd);
	vm_config_init(&run->config);
	run->config.kernel = strdup(path);
	run->config.memory_bytes = 64 * MIB;
	run->config.max_memory_bytes = 1024 * MIB;
	run->config.memory_slots = 4;
	run->config.serial.kind = CHARDEV_NULL;
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->changed, NULL);
}

static void wait_a_while(struct run *run, const struct timespec *until)
{
	if (pthread_cond_timedwait(&run->changed, &run->lock, until))
		fail_msg("nothing happens any more after %u events", run->count);
}

static struct timespec patience(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	return until;
}

static void begin(struct run *run)
{
	const struct timespec until = patience();

	assert_int_equal(pthread_create(&run->thread, NULL, run_main, run), 0);
	pthread_mutex_lock(&run->lock);
	while (!run->made)
		wait_a_while(run, &until);
	pthread_mutex_unlock(&run->lock);
	unlink(run->config.kernel);
	if (!run->vm)
		fail_msg("%s", run->error.text);
}

static void begin_looping(struct run *run)
{
	set_up(run, loops, sizeof(loops));
	begin(run);
}

static void wait_until_runs(struct run *run)
{
	for (int i = 0; i < PATIENCE_S * 1000 && vm_get_state(run->vm) != VM_RUNNING; i++)
		usleep(1000);
	assert_int_equal(vm_get_state(run->vm), VM_RUNNING);
}

/* The first of its kind. */
static struct vm_notice wait_for_notice(struct run *run, enum vm_event event)
{
	const struct timespec until = patience();
	struct vm_notice found;
	unsigned int i = 0;

	pthread_mutex_lock(&run->lock);
	for (;;) {
		while (i == run->count)
			wait_a_while(run, &until);
		found = run->notices[i++];
		if (found.event == event)
			break;
		if (found.event == VM_EVENT_SHUTDOWN)
			fail_msg("the VM has ended, and event %d never came", event);
	}
	pthread_mutex_unlock(&run->lock);
	return found;
}

/* Wait until it has ended by itself, or by what was asked. It is still there to be asked. */
static void wait_for_end(struct run *run)
{
	pthread_join(run->thread, NULL);
}

static void tear_down(struct run *run)
{
	vm_destroy(run->vm);
	vm_config_free(&run->config);
	pthread_cond_destroy(&run->changed);
	pthread_mutex_destroy(&run->lock);
}

/* ---- How it ends --------------------------------------------------------------------------------- */

/* What the next life is told of, and the end: by the guest's own doing. */
static void a_guests_doings_are_told_as_such(void **state)
{
	struct run run;

	(void)state;
	skip_without_kvm();
	set_up(&run, powers_off, sizeof(powers_off));
	begin(&run);
	wait_for_end(&run);
	assert_int_equal(run.ret, 0);
	assert_int_equal(run.end, VM_END_POWEROFF);
	assert_int_equal(wait_for_notice(&run, VM_EVENT_SHUTDOWN).cause, VM_CAUSE_GUEST_SHUTDOWN);
	tear_down(&run);

	set_up(&run, resets, sizeof(resets));
	begin(&run);
	assert_int_equal(wait_for_notice(&run, VM_EVENT_RESET).cause, VM_CAUSE_GUEST_RESET);
	vm_quit(run.vm, VM_CAUSE_HOST_QMP_QUIT);
	wait_for_end(&run);
	tear_down(&run);

	set_up(&run, resets, sizeof(resets));
	run.config.no_reboot = true;
	begin(&run);
	wait_for_end(&run);
	assert_int_equal(run.end, VM_END_RESET);
	assert_int_equal(wait_for_notice(&run, VM_EVENT_SHUTDOWN).cause, VM_CAUSE_GUEST_RESET);
	tear_down(&run);
}

static void a_hosts_doings_are_told_as_such(void **state)
{
	static const enum vm_cause causes[] = {VM_CAUSE_HOST_QMP_QUIT, VM_CAUSE_HOST_SIGNAL,
					       VM_CAUSE_HOST_UI};
	struct run run;

	(void)state;
	skip_without_kvm();
	for (unsigned int i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		begin_looping(&run);
		vm_request_reset(run.vm, false);
		assert_int_equal(wait_for_notice(&run, VM_EVENT_RESET).cause,
				 VM_CAUSE_HOST_QMP_SYSTEM_RESET);
		vm_quit(run.vm, causes[i]);
		/* The first one counts. */
		vm_quit(run.vm, VM_CAUSE_HOST_QMP_SYSTEM_RESET);
		wait_for_end(&run);
		assert_int_equal(run.ret, 0);
		assert_int_equal(run.end, VM_END_QUIT);
		assert_int_equal(wait_for_notice(&run, VM_EVENT_SHUTDOWN).cause, causes[i]);
		tear_down(&run);
	}

	set_up(&run, loops, sizeof(loops));
	run.config.no_reboot = true;
	begin(&run);
	vm_request_reset(run.vm, false);
	wait_for_end(&run);
	assert_int_equal(run.end, VM_END_RESET);
	assert_int_equal(wait_for_notice(&run, VM_EVENT_SHUTDOWN).cause,
			 VM_CAUSE_HOST_QMP_SYSTEM_RESET);
	tear_down(&run);
}

static void an_error_is_told_as_such(void **state)
{
	struct run run;

	(void)state;
	skip_without_kvm();
	set_up(&run, fails, sizeof(fails));
	begin(&run);
	wait_for_end(&run);
	assert_true(run.ret < 0);
	assert_non_null(strstr(run.error.text, "vCPU 0 at rip"));
	assert_int_equal(run.end, VM_END_ERROR);
	assert_int_equal(wait_for_notice(&run, VM_EVENT_SHUTDOWN).cause, VM_CAUSE_HOST_ERROR);
	tear_down(&run);
}

static void pause_and_resume_are_told(void **state)
{
	struct samara_error err = {0};
	struct run run;

	(void)state;
	skip_without_kvm();
	begin_looping(&run);
	wait_until_runs(&run);
	assert_int_equal(vm_pause(run.vm, &err), 0);
	assert_int_equal(vm_pause(run.vm, &err), 0);
	assert_int_equal(run.count, 1);
	assert_int_equal(run.notices[0].event, VM_EVENT_STOP);
	assert_int_equal(vm_resume(run.vm, &err), 0);
	assert_int_equal(vm_resume(run.vm, &err), 0);
	assert_int_equal(run.count, 2);
	assert_int_equal(run.notices[1].event, VM_EVENT_RESUME);
	vm_quit(run.vm, VM_CAUSE_HOST_QMP_QUIT);
	wait_for_end(&run);
	assert_int_equal(vm_resume(run.vm, &err), -EINVAL);
	assert_int_equal(run.count, 3);
	assert_int_equal(run.notices[2].event, VM_EVENT_SHUTDOWN);
	tear_down(&run);
}

/* ---- Devices that come and go -------------------------------------------------------------------- */

static int add_backend(struct run *run, const char *id)
{
	const struct memory_backend_config backend = {
		.kind = MEMORY_BACKEND_RAM,
		.id = id,
		.size_bytes = 4 * MIB,
	};
	struct samara_error err = {0};

	return memory_devices_add_backend(vm_memory_devices(run->vm), &backend, &err);
}

static int add_mem(struct run *run, const char *memdev, struct samara_error *err)
{
	char id[] = "vm0";
	const struct virtio_mem_options options = {.id = id, .block_bytes = 2 * MIB, .node = -1};

	return vm_add_virtio_mem(run->vm, &options, memdev, MEMORY_DEVICES_ANYWHERE, err);
}

static void an_ended_vm_lets_no_device_come_or_go(void **state)
{
	struct samara_error err = {0};
	struct run run;

	(void)state;
	skip_without_kvm();
	begin_looping(&run);
	assert_int_equal(add_backend(&run, "m0"), 0);
	assert_int_equal(add_mem(&run, "m0", &err), 0);
	vm_quit(run.vm, VM_CAUSE_HOST_QMP_QUIT);
	wait_for_end(&run);
	assert_int_equal(vm_remove_virtio_mem(run.vm, "vm0", &err), -EINVAL);
	assert_non_null(strstr(err.text, "the VM has ended"));
	assert_int_equal(vm_remove_virtio_mem(run.vm, "vm1", &err), -ENOENT);
	assert_int_equal(add_mem(&run, "m0", &err), -EINVAL);
	tear_down(&run);
}

static void delete_backend(struct run *run, const struct vm_notice *notice)
{
	struct samara_error err;

	if (notice->event == VM_EVENT_DEVICE_DELETED)
		run->also_ret =
			memory_devices_remove_backend(vm_memory_devices(run->vm), "m0", &err);
}

/* Who hears that a device is gone may use at once what it had: its backend, its id, its place. */
static void a_device_is_gone_when_that_is_told(void **state)
{
	struct samara_error err = {0};
	struct run run;

	(void)state;
	skip_without_kvm();
	set_up(&run, loops, sizeof(loops));
	run.also = delete_backend;
	run.also_ret = 1;
	begin(&run);
	assert_int_equal(add_backend(&run, "m0"), 0);
	assert_int_equal(add_mem(&run, "m0", &err), 0);
	assert_int_equal(vm_remove_virtio_mem(run.vm, "vm0", &err), 0);
	assert_int_equal(run.count, 1);
	assert_int_equal(run.also_ret, 0);
	assert_int_equal(add_backend(&run, "m0"), 0);
	vm_quit(run.vm, VM_CAUSE_HOST_QMP_QUIT);
	wait_for_end(&run);
	tear_down(&run);
}

/* A driver's side of the device, in memory that the guest's loop leaves alone. */
#define RING     (1 * MIB)
#define REQUEST  (2 * MIB)
#define RESPONSE (2 * MIB + 0x1000)
#define BIT(n)   (UINT64_C(1) << (n))

struct mem_driver {
	struct guest guest;
	struct virtio_mmio mmio;
	struct driver_queue queue;
};

static void load_driver(struct mem_driver *driver, struct run *run)
{
	driver->guest.mm = vm_mm(run->vm);
	assert_int_equal(guest_mm_get_window(driver->guest.mm, 0, &driver->guest.window), 0);
	virtio_mmio_init(&driver->mmio, virtio_mem_device(vm_virtio_mem(run->vm)));
	assert_true(driver_negotiate(&driver->mmio, BIT(VIRTIO_F_VERSION_1)));
	driver_queue_init(&driver->queue, &driver->guest, RING, 8, false, false);
	driver_setup_queue(&driver->mmio, 0, &driver->queue);
	driver_ok(&driver->mmio);
}

static unsigned int ask_mem(struct mem_driver *driver, uint16_t type, gpa_t gpa, uint16_t nb_blocks)
{
	const struct driver_buffer buffers[] = {
		{REQUEST, sizeof(struct virtio_mem_req), false},
		{RESPONSE, sizeof(struct virtio_mem_resp), true},
	};
	const struct virtio_mem_resp *response = guest_at(&driver->guest, RESPONSE);
	const struct virtio_mem_req request = {.type = type, .u.plug = {gpa, nb_blocks, {0}}};
	uint32_t id, length;

	memcpy(guest_at(&driver->guest, REQUEST), &request, sizeof(request));
	driver_add(&driver->queue, buffers, 2, 0);
	driver_write(&driver->mmio, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	for (int i = 0; i < PATIENCE_S * 1000; i++) {
		if (driver_take(&driver->queue, &id, &length))
			return response->type;
		usleep(1000);
	}
	fail_msg("the device does not answer");
	return 0;
}

/* It goes on, the blocks stay plugged, and the driver finds them (virtio 1.2, 5.15.5). */
static void a_reset_that_can_not_unplug_goes_on(void **state)
{
	struct mem_driver driver;
	struct virtio_mem_state mem;
	struct samara_error err = {0};
	const uint64_t word = 99;
	unsigned long failed;
	struct run run;

	(void)state;
	skip_without_kvm();
	begin_looping(&run);
	wait_until_runs(&run);
	assert_int_equal(add_backend(&run, "m0"), 0);
	assert_int_equal(add_mem(&run, "m0", &err), 0);
	assert_int_equal(virtio_mem_set_requested(vm_virtio_mem(run.vm), 4 * MIB, &err), 0);
	virtio_mem_get(vm_virtio_mem(run.vm), &mem);
	load_driver(&driver, &run);
	assert_int_equal(ask_mem(&driver, VIRTIO_MEM_REQ_PLUG, mem.gpa, 2), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(guest_mm_write(vm_mm(run.vm), mem.gpa, &word, sizeof(word)), 0);

	failed = interpose_failures();
	interpose_fail_randomly(INTERPOSE_MADVISE, 1);
	vm_request_reset(run.vm, false);
	wait_for_notice(&run, VM_EVENT_RESET);
	interpose_fail_randomly(0, 0);
	assert_true(interpose_failures() > failed);
	virtio_mem_get(vm_virtio_mem(run.vm), &mem);
	assert_int_equal(mem.plugged_bytes, 4 * MIB);
	load_driver(&driver, &run);
	assert_int_equal(ask_mem(&driver, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_ACK);
	virtio_mem_get(vm_virtio_mem(run.vm), &mem);
	assert_int_equal(mem.plugged_bytes, 0);
	vm_quit(run.vm, VM_CAUSE_HOST_QMP_QUIT);
	wait_for_end(&run);
	assert_int_equal(run.ret, 0);
	tear_down(&run);
}

/* As long as the VM lives; then each is refused. */
static void *come_and_go(void *arg)
{
	struct samara_error err = {0};
	struct run *run = arg;
	int ret;

	do {
		ret = add_mem(run, "m0", &err);
		if (!ret)
			ret = vm_remove_virtio_mem(run->vm, "vm0", &err);
	} while (!ret);
	assert_int_equal(ret, -EINVAL);
	return NULL;
}

/* For the sanitizers: the end walks the devices while one is taken away. */
static void a_vm_may_end_while_devices_come_and_go(void **state)
{
	pthread_t thread;
	struct run run;

	(void)state;
	skip_without_kvm();
	for (unsigned int i = 0; i < 20; i++) {
		begin_looping(&run);
		assert_int_equal(add_backend(&run, "m0"), 0);
		assert_int_equal(pthread_create(&thread, NULL, come_and_go, &run), 0);
		wait_until_runs(&run);
		usleep(i * 500);
		vm_quit(run.vm, VM_CAUSE_HOST_QMP_QUIT);
		wait_for_end(&run);
		pthread_join(thread, NULL);
		assert_int_equal(run.ret, 0);
		tear_down(&run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guests_doings_are_told_as_such),
		cmocka_unit_test(a_hosts_doings_are_told_as_such),
		cmocka_unit_test(an_error_is_told_as_such),
		cmocka_unit_test(pause_and_resume_are_told),
		cmocka_unit_test(an_ended_vm_lets_no_device_come_or_go),
		cmocka_unit_test(a_device_is_gone_when_that_is_told),
		cmocka_unit_test(a_reset_that_can_not_unplug_goes_on),
		cmocka_unit_test(a_vm_may_end_while_devices_come_and_go),
	};

	return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}
