/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <endian.h>
#include <string.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio_mmio.h"

#define MAGIC      0x74726976u /* "virt" */
#define VERSION    2
#define VENDOR     0x4d415253u /* "SRAM", in the manner of the magic; no list of vendors exists */
#define NO_SHM     UINT32_MAX  /* length and base of a shared-memory region that does not exist */
#define WORDS_HIGH 4           /* registers of a 64-bit value: low half, high half behind it */

static uint32_t load(const uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void store(uint32_t *value, uint32_t now)
{
	__atomic_store_n(value, now, __ATOMIC_RELAXED);
}

void virtio_mmio_init(struct virtio_mmio *mmio, struct virtio_device *device)
{
	*mmio = (struct virtio_mmio){.device = device};
}

void virtio_mmio_reset(struct virtio_mmio *mmio)
{
	store(&mmio->features_word, 0);
	store(&mmio->accepted_word, 0);
	store(&mmio->queue, 0);
}

static uint32_t features(const struct virtio_mmio *mmio)
{
	uint32_t word = load(&mmio->features_word);

	return word > 1 ? 0 : virtio_device_features(mmio->device) >> 32 * word;
}

static uint32_t read_register(const struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtio_device *device = mmio->device;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return virtio_device_id(device);
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return features(mmio);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return virtio_queue_max_size(device, load(&mmio->queue));
	case VIRTIO_MMIO_QUEUE_READY:
		return virtio_queue_ready(device, load(&mmio->queue));
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return virtio_device_interrupts(device);
	case VIRTIO_MMIO_STATUS:
		return virtio_device_status(device);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return NO_SHM;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return virtio_device_generation(device);
	default:
		return 0;
	}
}

static void write_area(struct virtio_mmio *mmio, enum virtio_queue_area area, bool high,
		       uint32_t value)
{
	virtio_queue_set_area(mmio->device, load(&mmio->queue), area, high, value);
}

static void write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	struct virtio_device *device = mmio->device;

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		store(&mmio->features_word, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		store(&mmio->accepted_word, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_device_accept(device, load(&mmio->accepted_word), value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		store(&mmio->queue, value);
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		virtio_queue_set_size(device, load(&mmio->queue), value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		virtio_queue_set_ready(device, load(&mmio->queue), value & 1);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		/* Where KVM has an ioeventfd there, no vCPU comes here. */
		virtio_device_kick(device);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		virtio_device_acknowledge(device, value);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_device_set_status(device, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		write_area(mmio, VIRTIO_QUEUE_DESCRIPTORS, offset & WORDS_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		write_area(mmio, VIRTIO_QUEUE_DRIVER, offset & WORDS_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		write_area(mmio, VIRTIO_QUEUE_DEVICE, offset & WORDS_HIGH, value);
		break;
	}
}

/* Registers are accessed by words alone (4.2.2.2), the configuration space in any way. */
static void mmio_read(void *arg, uint64_t offset, void *data, unsigned int length)
{
	const struct virtio_mmio *mmio = arg;
	uint32_t value;

	memset(data, 0, length);
	if (offset >= VIRTIO_MMIO_CONFIG) {
		virtio_device_get_config(mmio->device, offset - VIRTIO_MMIO_CONFIG, data, length);
	} else if (length == sizeof(value) && offset % sizeof(value) == 0) {
		value = htole32(read_register(mmio, offset));
		memcpy(data, &value, sizeof(value));
	}
}

static void mmio_write(void *arg, uint64_t offset, const void *data, unsigned int length)
{
	struct virtio_mmio *mmio = arg;
	uint32_t value;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		virtio_device_write_config(mmio->device, offset - VIRTIO_MMIO_CONFIG, data, length);
	} else if (length == sizeof(value) && offset % sizeof(value) == 0) {
		memcpy(&value, data, sizeof(value));
		write_register(mmio, offset, le32toh(value));
	}
}

const struct bus_ops virtio_mmio_bus_ops = {
	.read = mmio_read,
	.write = mmio_write,
};
