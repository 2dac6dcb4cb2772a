/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/vm.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/serial.h"
#include "vmm/loader.h"
#include "vmm/vm_internal.h"

/* ---- Requests: from any thread to vm_run() --------------------------------------------------- */

void vm_request(struct vm *vm, unsigned int request)
{
	atomic_fetch_or(&vm->requests, request);
	eventfd_write(vm->wake_fd, 1);
}

void vm_fail_with(struct vm *vm, const struct samara_error *error)
{
	pthread_mutex_lock(&vm->error_lock);
	if (!vm->error.code)
		vm->error = *error;
	pthread_mutex_unlock(&vm->error_lock);
	vm_request(vm, VM_REQUEST_ERROR);
}

void vm_warn(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "samara: warning: %s\n", line);
}

void vm_fail(struct vm *vm, int code, const char *fmt, ...)
{
	struct samara_error error = {.code = code};
	va_list args;

	va_start(args, fmt);
	vsnprintf(error.text, sizeof(error.text), fmt, args);
	va_end(args);
	vm_fail_with(vm, &error);
}

void vm_request_reset(struct vm *vm, bool by_guest)
{
	vm_request(vm, by_guest ? VM_REQUEST_RESET_GUEST : VM_REQUEST_RESET_HOST);
}

void vm_request_poweroff(struct vm *vm)
{
	vm_request(vm, VM_REQUEST_POWEROFF);
}

void vm_quit(struct vm *vm, enum vm_cause cause)
{
	int none = VM_CAUSE_NONE;

	atomic_compare_exchange_strong(&vm->quit_cause, &none, cause);
	vm_request(vm, VM_REQUEST_QUIT);
}

void vm_powerdown(struct vm *vm)
{
	const struct vm_notice notice = {.event = VM_EVENT_POWERDOWN};

	irq_trigger(&vm->devices.button_irq);
	vm_notify(vm, &notice);
}

/* ---- Life ------------------------------------------------------------------------------------ */

static void notify(const struct vm_notice *notice, void *arg)
{
	vm_notify(arg, notice);
}

static int create_memory_devices(struct vm *vm, struct samara_error *err)
{
	const struct vm_config *config = vm->config;
	const struct memory_devices_config devices = {
		.mm = vm->mm,
		.qom = vm->qom,
		.layout = &vm->layout,
		.backing = config->backing,
		.max_bytes = config->max_memory_bytes - config->memory_bytes,
		.nodes = config->node_count ? config->node_count : 1,
		.notify = notify,
		.report = vm_warn,
		.arg = vm,
	};

	return memory_devices_create(&devices, &vm->memory_devices, err);
}

static int build_tables(struct vm *vm, struct samara_error *err)
{
	const struct vm_config *config = vm->config;
	const struct acpi_machine machine = {
		.cpus = config->cpus,
		.memory_hotplug = vm->devices.dimms,
		.second_serial = vm->devices.second_serial,
		.layout = &vm->layout,
		.node_count = config->node_count,
		.node_bytes = config->node_bytes,
		.cpu_nodes = config->cpu_nodes,
	};

	return acpi_build(&machine, LAYOUT_ACPI_GPA, LAYOUT_ACPI_MAX_BYTES, &vm->acpi, err);
}

static int open_images(struct vm *vm, struct samara_error *err)
{
	int ret;

	if (!vm->config->kernel)
		return samara_error_set(err, -EINVAL, "no kernel is given");
	ret = image_open(&vm->kernel, "kernel", vm->config->kernel, err);
	if (ret || !vm->config->initrd)
		return ret;
	ret = image_open(&vm->initrd, "initrd", vm->config->initrd, err);
	return ret ? ret : initrd_check(&vm->initrd, err);
}

static int create_parts(struct vm *vm, struct samara_error *err)
{
	const struct vm_config *config = vm->config;
	int ret;

	vm->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (vm->wake_fd < 0)
		return samara_error_set(err, -errno, "eventfd: %s", strerror(errno));
	vm->tids = calloc(config->cpus, sizeof(*vm->tids));
	if (!vm->tids)
		return samara_error_set(err, -ENOMEM, "vCPUs: out of memory");

	ret = open_images(vm, err);
	if (!ret)
		ret = kvm_open(&vm->kvm, NULL, err);
	if (ret)
		return ret;
	if (!config->cpus || config->cpus > vm->kvm.max_vcpus)
		return samara_error_set(err, -EINVAL, "cpus: %u; KVM of this host allows 1 to %u",
					config->cpus, vm->kvm.max_vcpus);
	ret = layout_init(&vm->layout, config->memory_bytes, config->max_memory_bytes,
			  vm->kvm.phys_bits, err);
	if (!ret)
		ret = vm_virtio_place(vm, err);
	if (!ret)
		ret = vm_memory_create(vm, err);
	if (!ret && qom_create(&vm->qom))
		ret = samara_error_set(err, -ENOMEM, "VM: out of memory");
	if (!ret)
		ret = create_memory_devices(vm, err);
	if (!ret)
		ret = vm_devices_create(vm, err);
	if (!ret)
		ret = build_tables(vm, err);
	if (!ret)
		ret = vm_devices_plug(vm, err);
	if (ret)
		return ret;

	pthread_mutex_lock(&vm->control);
	ret = vm_machine_create(vm, err);
	pthread_mutex_unlock(&vm->control);
	return ret;
}

int vm_create(const struct vm_config *config, struct vm **out, struct samara_error *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm)
		return samara_error_set(err, -ENOMEM, "VM: out of memory");
	vm->config = config;
	vm->kernel.fd = vm->initrd.fd = vm->wake_fd = -1;
	vm->kvm.system_fd = vm->kvm.vm_fd = -1;
	vm->devices.serial_irq.eventfd = vm->devices.second_serial_irq.eventfd = -1;
	vm->devices.rtc_irq.eventfd = -1;
	vm->devices.memory_irq.eventfd = vm->devices.button_irq.eventfd = -1;
	vm->paused = config->start_paused;
	atomic_store(&vm->state, VM_PRELAUNCH);
	pthread_mutex_init(&vm->control, NULL);
	pthread_mutex_init(&vm->error_lock, NULL);

	ret = create_parts(vm, err);
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

/* Also for one that is half made. */
void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	pthread_mutex_lock(&vm->control);
	vm_machine_destroy(vm);
	pthread_mutex_unlock(&vm->control);
	dimms_stop(vm->devices.dimms);
	vm_virtio_destroy(vm);
	memory_devices_destroy(vm->memory_devices);
	vm_devices_destroy(vm);
	qom_destroy(vm->qom);
	kvm_close(&vm->kvm);
	if (vm->mm)
		guest_mm_destroy(vm->mm);
	acpi_free(&vm->acpi);
	image_close(&vm->initrd);
	image_close(&vm->kernel);
	if (vm->wake_fd >= 0)
		close(vm->wake_fd);
	free(vm->tids);
	free(vm->listeners);
	pthread_mutex_destroy(&vm->error_lock);
	pthread_mutex_destroy(&vm->control);
	free(vm);
}

void vm_notify(struct vm *vm, const struct vm_notice *notice)
{
	for (unsigned int i = 0; i < vm->listener_count; i++)
		vm->listeners[i].fn(notice, vm->listeners[i].arg);
}

static void tell(struct vm *vm, enum vm_event event, enum vm_cause cause)
{
	const struct vm_notice notice = {.event = event, .cause = cause};

	vm_notify(vm, &notice);
}

static enum vm_cause reset_cause(unsigned int requests)
{
	return requests & VM_REQUEST_RESET_GUEST ? VM_CAUSE_GUEST_RESET
						 : VM_CAUSE_HOST_QMP_SYSTEM_RESET;
}

/*
 * What the vCPUs of the former life have asked for goes with them; what the host asks for from now
 * on is for the next one.
 */
static int reset(struct vm *vm, enum vm_cause cause, struct samara_error *err)
{
	int ret = 0;

	pthread_mutex_lock(&vm->control);
	vm_machine_destroy(vm);
	atomic_fetch_and(&vm->requests, ~(VM_REQUEST_RESET | VM_REQUEST_POWEROFF));
	memory_devices_begin_reset(vm->memory_devices);
	vm_devices_reset(vm);
	if (vm->let_go)
		ret = guest_mm_hold_again(vm->mm, err);
	vm->let_go = false;
	if (!ret)
		ret = vm_machine_create(vm, err);
	memory_devices_end_reset(vm->memory_devices);
	if (!ret)
		ret = vm_machine_start(vm, err);
	if (!ret)
		tell(vm, VM_EVENT_RESET, cause);
	pthread_mutex_unlock(&vm->control);
	return ret ? samara_error_prefix(err, "reset") : 0;
}

static int start(struct vm *vm, struct samara_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->control);
	ret = vm_devices_start(vm, err);
	if (!ret)
		ret = vm_machine_start(vm, err);
	if (!ret && !vm->paused)
		atomic_store(&vm->state, VM_RUNNING);
	pthread_mutex_unlock(&vm->control);
	return ret;
}

static void wait_for_request(struct vm *vm)
{
	struct pollfd wake = {.fd = vm->wake_fd, .events = POLLIN};
	eventfd_t count;

	while (poll(&wake, 1, -1) < 0 && errno == EINTR)
		continue;
	eventfd_read(vm->wake_fd, &count);
}

/* Carry requests out until one ends the VM. */
static enum vm_end serve(struct vm *vm)
{
	struct samara_error error = {0};

	for (;;) {
		unsigned int requests = atomic_load(&vm->requests);

		if (requests & VM_REQUEST_ERROR)
			return VM_END_ERROR;
		if (requests & VM_REQUEST_QUIT)
			return VM_END_QUIT;
		if (requests & VM_REQUEST_POWEROFF)
			return VM_END_POWEROFF;
		if (requests & VM_REQUEST_RESET) {
			if (vm->config->no_reboot)
				return VM_END_RESET;
			if (reset(vm, reset_cause(requests), &error))
				vm_fail_with(vm, &error);
			continue;
		}
		wait_for_request(vm);
	}
}

static enum vm_cause end_cause(struct vm *vm, enum vm_end end)
{
	switch (end) {
	case VM_END_POWEROFF:
		return VM_CAUSE_GUEST_SHUTDOWN;
	case VM_END_RESET:
		return reset_cause(atomic_load(&vm->requests));
	case VM_END_QUIT:
		return (enum vm_cause)atomic_load(&vm->quit_cause);
	case VM_END_ERROR:
		break;
	}
	return VM_CAUSE_HOST_ERROR;
}

static int finish(struct vm *vm, enum vm_end end, struct samara_error *err)
{
	int ret = 0;

	pthread_mutex_lock(&vm->control);
	vm_machine_stop(vm);
	atomic_store(&vm->state, VM_SHUTDOWN);
	tell(vm, VM_EVENT_SHUTDOWN, end_cause(vm, end));
	pthread_mutex_unlock(&vm->control);
	vm_devices_stop(vm);

	if (end == VM_END_ERROR) {
		pthread_mutex_lock(&vm->error_lock);
		ret = samara_error_set(err, vm->error.code, "%s", vm->error.text);
		pthread_mutex_unlock(&vm->error_lock);
	}
	return ret;
}

int vm_run(struct vm *vm, enum vm_end *end, struct samara_error *err)
{
	struct samara_error error = {0};

	if (start(vm, &error))
		vm_fail_with(vm, &error);
	*end = serve(vm);
	return finish(vm, *end, err);
}

/* ---- Control --------------------------------------------------------------------------------- */

int vm_check_alive(struct vm *vm, struct samara_error *err)
{
	if (atomic_load(&vm->state) == VM_SHUTDOWN)
		return samara_error_set(err, -EINVAL, "the VM has ended");
	return 0;
}

int vm_pause(struct vm *vm, struct samara_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->control);
	ret = vm_check_alive(vm, err);
	if (!ret && !vm->paused) {
		if (vm->threads)
			ret = vm_machine_pause(vm, err);
		if (!ret)
			vm_virtio_pause(vm);
		vm->paused = !ret;
		if (vm->threads && !ret) {
			atomic_store(&vm->state, VM_PAUSED);
			tell(vm, VM_EVENT_STOP, VM_CAUSE_NONE);
		}
	}
	pthread_mutex_unlock(&vm->control);
	return ret;
}

int vm_resume(struct vm *vm, struct samara_error *err)
{
	int ret;

	pthread_mutex_lock(&vm->control);
	ret = vm_check_alive(vm, err);
	if (!ret && vm->paused) {
		vm->paused = false;
		vm_virtio_resume(vm);
		if (vm->threads) {
			vm_machine_resume(vm);
			atomic_store(&vm->state, VM_RUNNING);
			tell(vm, VM_EVENT_RESUME, VM_CAUSE_NONE);
		}
	}
	pthread_mutex_unlock(&vm->control);
	return ret;
}

int vm_add_listener(struct vm *vm, vm_event_fn *listener, void *arg)
{
	struct vm_listener *more =
		realloc(vm->listeners, (vm->listener_count + 1) * sizeof(*vm->listeners));

	if (!more)
		return -ENOMEM;
	more[vm->listener_count++] = (struct vm_listener){.fn = listener, .arg = arg};
	vm->listeners = more;
	return 0;
}

/* ---- Questions ------------------------------------------------------------------------------- */

enum vm_state vm_get_state(struct vm *vm)
{
	return atomic_load(&vm->state);
}

struct guest_mm *vm_mm(struct vm *vm)
{
	return vm->mm;
}

const struct vm_config *vm_get_config(struct vm *vm)
{
	return vm->config;
}

const struct layout *vm_layout(const struct vm *vm)
{
	return &vm->layout;
}

struct qom *vm_qom(struct vm *vm)
{
	return vm->qom;
}

struct memory_devices *vm_memory_devices(struct vm *vm)
{
	return vm->memory_devices;
}

struct dimms *vm_dimms(struct vm *vm)
{
	return vm->devices.dimms;
}

void vm_set_balloon(struct vm *vm, const struct vm_balloon *balloon)
{
	vm->balloon = balloon;
}

const struct vm_balloon *vm_get_balloon(struct vm *vm)
{
	return vm->balloon;
}

int vm_vcpu_tid(struct vm *vm, unsigned int index)
{
	return index < vm->config->cpus ? atomic_load(&vm->tids[index]) : 0;
}

void vm_get_bus_counters(struct vm *vm, struct bus_counters *mmio, struct bus_counters *pio)
{
	bus_get_counters(vm->devices.mmio, mmio);
	bus_get_counters(vm->devices.pio, pio);
}

size_t vm_second_serial_receive(struct vm *vm, const uint8_t *bytes, size_t count)
{
	return serial_receive(vm->devices.second_serial, bytes, count);
}

const char *vm_serial_pty(struct vm *vm)
{
	return chardev_pty(vm->devices.chardev);
}
