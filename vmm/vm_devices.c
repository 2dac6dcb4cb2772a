/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's devices: what there is, where, and how it is joined. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/i8042.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "vmm/vm_internal.h"

static void guest_reset(void *arg)
{
	vm_request_reset(arg, true);
}

static void guest_poweroff(void *arg)
{
	vm_request_poweroff(arg);
}

static void guest_panicked(void *arg)
{
	const struct vm_notice notice = {.event = VM_EVENT_GUEST_PANICKED};

	vm_notify(arg, &notice);
}

static size_t console_receive(void *arg, const uint8_t *bytes, size_t count)
{
	struct vm *vm = arg;

	return serial_receive(vm->devices.serial, bytes, count);
}

static void console_transmit(void *arg, const uint8_t *bytes, size_t count)
{
	struct vm *vm = arg;
	const struct serial_tap *tap = &vm->config->console_tap;

	chardev_transmit(vm->devices.chardev, bytes, count);
	if (tap->hear)
		tap->hear(tap->arg, bytes, count);
}

static void console_space(void *arg)
{
	struct vm *vm = arg;

	chardev_space(vm->devices.chardev);
}

static void console_quit(void *arg)
{
	vm_quit(arg, VM_CAUSE_HOST_UI);
}

static int create_irq(struct irq *irq, struct samara_error *err)
{
	irq->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irq->eventfd < 0)
		return samara_error_set(err, -errno, "eventfd for an interrupt: %s",
					strerror(errno));
	return 0;
}

static void close_irq(struct irq *irq)
{
	if (irq->eventfd >= 0)
		close(irq->eventfd);
	irq->eventfd = -1;
}

static void disconnect_irqs(struct vm_devices *devices)
{
	devices->serial_irq.eventfd = -1;
	devices->second_serial_irq.eventfd = -1;
	devices->rtc_irq.eventfd = -1;
	devices->memory_irq.eventfd = -1;
	devices->button_irq.eventfd = -1;
}

/* An edge of the former life is not for the next one. */
static void drain_irq(const struct irq *irq)
{
	uint64_t count;
	ssize_t ignored = read(irq->eventfd, &count, sizeof(count));

	(void)ignored;
}

static int create_buses(struct vm_devices *devices, struct samara_error *err)
{
	if (bus_create("MMIO", &devices->mmio) || bus_create("port I/O", &devices->pio))
		return samara_error_set(err, -ENOMEM, "buses: out of memory");
	return 0;
}

static int create_serial(struct vm *vm, struct samara_error *err)
{
	struct vm_devices *devices = &vm->devices;
	struct serial_config config = {
		.transmit = console_transmit,
		.space = console_space,
		.arg = vm,
	};
	int ret = create_irq(&devices->serial_irq, err);

	if (!ret)
		ret = chardev_create(&vm->config->serial, &devices->chardev, err);
	if (ret)
		return ret;
	config.irq = devices->serial_irq;
	ret = serial_create(&config, &devices->serial, err);
	if (ret)
		return ret;
	return bus_attach(devices->pio, LAYOUT_SERIAL_PORT, SERIAL_PORTS, "serial", &serial_bus_ops,
			  devices->serial, err);
}

static int create_second_serial(struct vm *vm, struct samara_error *err)
{
	struct vm_devices *devices = &vm->devices;
	struct serial_config config = {
		.transmit = vm->config->second_serial.hear,
		.arg = vm->config->second_serial.arg,
	};
	int ret;

	if (!config.transmit)
		return 0;
	ret = create_irq(&devices->second_serial_irq, err);
	if (ret)
		return ret;
	config.irq = devices->second_serial_irq;
	ret = serial_create(&config, &devices->second_serial, err);
	if (ret)
		return ret;
	return bus_attach(devices->pio, LAYOUT_SERIAL2_PORT, SERIAL_PORTS, "second serial",
			  &serial_bus_ops, devices->second_serial, err);
}

static int create_rtc(struct vm *vm, struct samara_error *err)
{
	struct vm_devices *devices = &vm->devices;
	struct rtc_config config = {0};
	int ret = create_irq(&devices->rtc_irq, err);

	if (ret)
		return ret;
	config.irq = devices->rtc_irq;
	ret = rtc_create(&config, &devices->rtc, err);
	if (ret)
		return ret;
	return bus_attach(devices->pio, LAYOUT_RTC_PORT, RTC_PORTS, "rtc", &rtc_bus_ops,
			  devices->rtc, err);
}

static int create_switches(struct vm *vm, struct samara_error *err)
{
	struct vm_devices *devices = &vm->devices;
	int ret;

	if (i8042_create(guest_reset, vm, &devices->i8042) ||
	    power_create(guest_poweroff, guest_reset, vm, &devices->power) ||
	    pvpanic_create(guest_panicked, vm, &devices->pvpanic))
		return samara_error_set(err, -ENOMEM, "reset and power switches: out of memory");
	ret = create_irq(&devices->button_irq, err);
	if (ret)
		return ret;
	ret = bus_attach(devices->pio, LAYOUT_I8042_PORT, I8042_PORTS, "i8042", &i8042_bus_ops,
			 devices->i8042, err);
	if (ret)
		return ret;
	ret = bus_attach(devices->pio, LAYOUT_PVPANIC_PORT, PVPANIC_PORTS, "pvpanic",
			 &pvpanic_bus_ops, devices->pvpanic, err);
	if (ret)
		return ret;
	return bus_attach(devices->pio, LAYOUT_POWER_PORT, POWER_PORTS, "power", &power_bus_ops,
			  devices->power, err);
}

static int create_memory_slots(struct vm *vm, struct samara_error *err)
{
	struct vm_devices *devices = &vm->devices;
	int ret;

	if (!vm->config->memory_slots || !vm->layout.hotplug_bytes)
		return 0;
	ret = create_irq(&devices->memory_irq, err);
	if (!ret)
		ret = dimms_create(vm->memory_devices, vm->config->memory_slots,
				   devices->memory_irq, &devices->dimms, err);
	if (ret)
		return ret;
	return bus_attach(devices->pio, MEMORY_HOTPLUG_PORT, MEMORY_HOTPLUG_BYTES, "memory hotplug",
			  &memory_hotplug_bus_ops, dimms_registers(devices->dimms), err);
}

/* The memory devices that the configuration names: there before the guest looks. */
static int plug_dimm(struct vm *vm, unsigned int index, struct samara_error *err)
{
	const struct dimm_config *config = &vm->config->dimms[index];
	struct memory_backend_config backend = {
		.kind = MEMORY_BACKEND_RAM,
		.size_bytes = config->size_bytes,
	};
	struct memory_device_request request = {
		.gpa = MEMORY_DEVICES_ANYWHERE,
		.node = config->node,
	};
	char name[16], memdev[72];
	int ret;

	snprintf(name, sizeof(name), "dimm%u", index);
	request.id = config->id ? config->id : name;
	/* As libvirt names its own. */
	snprintf(memdev, sizeof(memdev), "mem%.64s", request.id);
	backend.id = request.memdev = memdev;
	ret = memory_devices_add_backend(vm->memory_devices, &backend, err);
	return ret ? ret : dimms_plug(vm->devices.dimms, &request, DIMM_ANY_SLOT, err);
}

int vm_devices_plug(struct vm *vm, struct samara_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < vm->config->dimm_count; i++)
		ret = plug_dimm(vm, i, err);
	return ret;
}

int vm_devices_create(struct vm *vm, struct samara_error *err)
{
	int ret;

	disconnect_irqs(&vm->devices);
	ret = create_buses(&vm->devices, err);
	if (!ret)
		ret = create_serial(vm, err);
	if (!ret)
		ret = create_second_serial(vm, err);
	if (!ret)
		ret = create_rtc(vm, err);
	if (!ret)
		ret = create_switches(vm, err);
	if (!ret)
		ret = create_memory_slots(vm, err);
	if (!ret)
		ret = vm_virtio_create(vm, err);
	if (ret)
		vm_devices_destroy(vm);
	return ret;
}

/* What a half-made set lacks is NULL. */
void vm_devices_destroy(struct vm *vm)
{
	struct vm_devices *devices = &vm->devices;

	vm_devices_stop(vm);
	vm_virtio_destroy(vm);
	if (devices->pio)
		bus_destroy(devices->pio);
	dimms_destroy(devices->dimms);
	if (devices->mmio)
		bus_destroy(devices->mmio);
	if (devices->pvpanic)
		pvpanic_destroy(devices->pvpanic);
	if (devices->power)
		power_destroy(devices->power);
	if (devices->i8042)
		i8042_destroy(devices->i8042);
	if (devices->rtc)
		rtc_destroy(devices->rtc);
	if (devices->second_serial)
		serial_destroy(devices->second_serial);
	if (devices->serial)
		serial_destroy(devices->serial);
	if (devices->chardev)
		chardev_destroy(devices->chardev);
	close_irq(&devices->button_irq);
	close_irq(&devices->memory_irq);
	close_irq(&devices->rtc_irq);
	close_irq(&devices->second_serial_irq);
	close_irq(&devices->serial_irq);
	memset(devices, 0, sizeof(*devices));
	disconnect_irqs(devices);
}

void vm_devices_reset(struct vm *vm)
{
	serial_reset(vm->devices.serial);
	rtc_reset(vm->devices.rtc);
	power_reset(vm->devices.power);
	pvpanic_reset(vm->devices.pvpanic);
	drain_irq(&vm->devices.serial_irq);
	if (vm->devices.second_serial) {
		serial_reset(vm->devices.second_serial);
		drain_irq(&vm->devices.second_serial_irq);
	}
	drain_irq(&vm->devices.rtc_irq);
	drain_irq(&vm->devices.button_irq);
	if (vm->devices.dimms) {
		memory_hotplug_reset(dimms_registers(vm->devices.dimms));
		drain_irq(&vm->devices.memory_irq);
	}
	vm_virtio_reset(vm);
}

int vm_devices_connect(struct vm *vm, struct samara_error *err)
{
	const struct {
		const struct irq *irq;
		unsigned int gsi;
	} lines[] = {
		{&vm->devices.serial_irq, LAYOUT_SERIAL_GSI},
		{&vm->devices.second_serial_irq, LAYOUT_SERIAL2_GSI},
		{&vm->devices.rtc_irq, LAYOUT_RTC_GSI},
		{&vm->devices.memory_irq, MEMORY_HOTPLUG_GSI},
		{&vm->devices.button_irq, LAYOUT_POWER_BUTTON_GSI},
	};
	int ret = 0;

	for (unsigned int i = 0; !ret && i < sizeof(lines) / sizeof(lines[0]); i++)
		if (lines[i].irq->eventfd >= 0)
			ret = kvm_connect_irq(&vm->kvm, lines[i].irq->eventfd, lines[i].gsi, err);
	return ret ? ret : vm_virtio_connect(vm, err);
}

int vm_devices_start(struct vm *vm, struct samara_error *err)
{
	struct chardev_peer peer = {
		.receive = console_receive,
		.quit = console_quit,
		.arg = vm,
	};

	return chardev_start(vm->devices.chardev, &peer, err);
}

void vm_devices_stop(struct vm *vm)
{
	/* Listeners may be gone after this: nothing is told any more. */
	dimms_stop(vm->devices.dimms);
	if (vm->devices.virtio)
		vm_virtio_stop(vm);
	if (vm->devices.chardev)
		chardev_stop(vm->devices.chardev);
}
