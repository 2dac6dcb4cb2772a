/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/memory_devices.h"

/*
 * Lock key: [i] immutable, [L] under lock, [S] written under lock and seen, read under either.
 *
 * @lock is held while memory is plugged and unplugged, filled from a file or populated, so it may be
 * held long; who must not wait (vCPU threads, getters of properties) does without. @seen is for who
 * only looks what devices there are: it is taken after @lock, and held for a moment.
 */
struct memory_devices {
	struct memory_devices_config config; /* [i] */
	pthread_mutex_t lock, seen;
	struct memory_backend *backends; /* [L] */
	struct memory_device *devices;   /* [S] in the order of their addresses */
	unsigned int anonymous;          /* [L] devices without an id that there were */
	_Atomic uint64_t plugged_bytes;  /* of all devices */
};

static int no_memory(const char *what, struct samara_error *err)
{
	return samara_error_set(err, -ENOMEM, "%s: out of memory", what);
}

int memory_devices_create(const struct memory_devices_config *config, struct memory_devices **out,
			  struct samara_error *err)
{
	struct memory_devices *devices = calloc(1, sizeof(*devices));

	if (!devices)
		return no_memory("memory devices", err);
	devices->config = *config;
	pthread_mutex_init(&devices->lock, NULL);
	pthread_mutex_init(&devices->seen, NULL);
	*out = devices;
	return 0;
}

static void free_backend(struct memory_devices *devices, struct memory_backend *backend)
{
	char path[128];

	snprintf(path, sizeof(path), "/objects/%s", backend->config.id);
	qom_remove(devices->config.qom, path);
	memory_backend_destroy(backend);
}

void memory_devices_destroy(struct memory_devices *devices)
{
	struct memory_device *device;
	struct memory_backend *backend;

	if (!devices)
		return;
	while ((device = devices->devices)) {
		memory_device_remove(device);
		device->ops->destroy(device);
	}
	while ((backend = devices->backends)) {
		devices->backends = backend->next;
		free_backend(devices, backend);
	}
	pthread_mutex_destroy(&devices->seen);
	pthread_mutex_destroy(&devices->lock);
	free(devices);
}

const struct memory_devices_config *memory_devices_config(const struct memory_devices *devices)
{
	return &devices->config;
}

void memory_devices_notify(struct memory_devices *devices, const struct vm_notice *notice)
{
	devices->config.notify(notice, devices->config.arg);
}

void memory_devices_lock(struct memory_devices *devices)
{
	pthread_mutex_lock(&devices->lock);
}

void memory_devices_unlock(struct memory_devices *devices)
{
	pthread_mutex_unlock(&devices->lock);
}

/* ---- Backends -------------------------------------------------------------------------------- */

static struct memory_backend *find_backend(const struct memory_devices *devices, const char *id)
{
	struct memory_backend *backend;

	for (backend = devices->backends; backend; backend = backend->next)
		if (!strcmp(backend->config.id, id))
			return backend;
	return NULL;
}

static int backend_get_size(void *object, union qom_value *value, struct samara_error *err)
{
	const struct memory_backend *backend = object;

	(void)err;
	value->size = backend->config.size_bytes;
	return 0;
}

static int backend_get_share(void *object, union qom_value *value, struct samara_error *err)
{
	const struct memory_backend *backend = object;

	(void)err;
	value->boolean = backend->config.share;
	return 0;
}

static int backend_get_prealloc(void *object, union qom_value *value, struct samara_error *err)
{
	const struct memory_backend *backend = object;

	(void)err;
	value->boolean = backend->config.prealloc;
	return 0;
}

static const struct qom_property backend_properties[] = {
	{"size", QOM_SIZE, backend_get_size, NULL},
	{"share", QOM_BOOL, backend_get_share, NULL},
	{"prealloc", QOM_BOOL, backend_get_prealloc, NULL},
	{NULL, 0, NULL, NULL},
};

/* Ids become parts of paths. As QEMU has them: a letter, then letters, digits and "-._". */
static int check_id(const char *id, struct samara_error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t length =
		strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");

	if (*id && strchr(letters, *id) && !id[length] && length <= 64)
		return 0;
	return samara_error_set(err, -EINVAL,
				"Parameter 'id' expects an identifier: a letter, then letters, "
				"digits, '-', '.', '_', 64 in all");
}

static int add_backend(struct memory_devices *devices, const struct memory_backend_config *config,
		       struct samara_error *err)
{
	struct memory_backend *backend;
	char path[128];
	int ret;

	if (find_backend(devices, config->id))
		return samara_error_set(err, -EEXIST,
					"attempt to add duplicate property '%s' to object (type "
					"'container')",
					config->id);
	ret = memory_backend_create(config, devices->config.backing, &backend, err);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/objects/%s", config->id);
	ret = qom_add(devices->config.qom, path, memory_backend_type(backend), backend_properties,
		      backend, err);
	if (ret) {
		memory_backend_destroy(backend);
		return ret;
	}
	backend->next = devices->backends;
	devices->backends = backend;
	return 0;
}

int memory_devices_add_backend(struct memory_devices *devices,
			       const struct memory_backend_config *config, struct samara_error *err)
{
	int ret = check_id(config->id, err);

	if (ret)
		return ret;
	memory_devices_lock(devices);
	ret = add_backend(devices, config, err);
	memory_devices_unlock(devices);
	return ret;
}

int memory_devices_remove_backend(struct memory_devices *devices, const char *id,
				  struct samara_error *err)
{
	struct memory_backend **link, *backend;
	int ret = 0;

	memory_devices_lock(devices);
	for (link = &devices->backends; *link; link = &(*link)->next)
		if (!strcmp((*link)->config.id, id))
			break;
	backend = *link;
	if (!backend)
		ret = samara_error_set(err, -ENOENT, "object '%.64s' not found", id);
	else if (backend->used)
		ret = samara_error_set(err, -EBUSY, "object '%s' is in use, can not be deleted",
				       id);
	if (!ret) {
		*link = backend->next;
		free_backend(devices, backend);
	}
	memory_devices_unlock(devices);
	return ret;
}

/* ---- Devices: their place -------------------------------------------------------------------- */

static gpa_t align_up(gpa_t gpa, uint64_t align_bytes)
{
	return (gpa + align_bytes - 1) & ~(align_bytes - 1);
}

struct range {
	gpa_t first, end;
	gpa_t taken_until; /* of what was found in it, 0: nothing */
};

static int find_region(const struct guest_mm_region *region, void *arg)
{
	struct range *range = arg;

	if (region->gpa >= range->end || region->gpa + region->size_bytes <= range->first)
		return 0;
	range->taken_until = region->gpa + region->size_bytes;
	return 1;
}

/* Where what is in the way ends: a device, or memory that has none; 0: nothing is. */
static gpa_t taken_until(struct memory_devices *devices, gpa_t gpa, uint64_t size_bytes)
{
	struct range range = {.first = gpa, .end = gpa + size_bytes};
	const struct memory_device *device;

	for (device = devices->devices; device; device = device->next)
		if (device->gpa < range.end && device->gpa + device->size_bytes > gpa)
			return device->gpa + device->size_bytes;
	guest_mm_for_each_region(devices->config.mm, find_region, &range);
	return range.taken_until;
}

static uint64_t total_bytes(const struct memory_devices *devices, unsigned int *count)
{
	const struct memory_device *device;
	uint64_t total = 0;

	*count = 0;
	for (device = devices->devices; device; device = device->next) {
		total += device->own_place ? 0 : device->size_bytes;
		++*count;
	}
	return total;
}

static int check_free(struct memory_devices *devices, const struct memory_device *device,
		      struct samara_error *err)
{
	if (!taken_until(devices, device->gpa, device->size_bytes))
		return 0;
	return samara_error_set(
		err, -EEXIST, "address range 0x%" PRIx64 "-0x%" PRIx64 " is in use by other memory",
		device->gpa, device->gpa + device->size_bytes - 1);
}

static int check_given_place(struct memory_devices *devices, struct memory_device *device,
			     uint64_t align_bytes, struct samara_error *err)
{
	const struct layout *layout = devices->config.layout;

	if (device->gpa % align_bytes)
		return samara_error_set(err, -EINVAL,
					"address must be aligned to 0x%" PRIx64 " bytes",
					align_bytes);
	if (device->gpa < layout->hotplug_gpa ||
	    device->gpa - layout->hotplug_gpa > layout->hotplug_bytes ||
	    layout->hotplug_bytes - (device->gpa - layout->hotplug_gpa) < device->size_bytes)
		return samara_error_set(err, -EINVAL,
					"can't add memory device [0x%" PRIx64 ":0x%" PRIx64
					"], usable range for memory devices [0x%" PRIx64
					":0x%" PRIx64 "]",
					device->gpa, device->size_bytes, layout->hotplug_gpa,
					layout->hotplug_bytes);
	return check_free(devices, device, err);
}

static int find_place(struct memory_devices *devices, struct memory_device *device,
		      uint64_t align_bytes, struct samara_error *err)
{
	const struct layout *layout = devices->config.layout;
	gpa_t gpa = align_up(layout->hotplug_gpa, align_bytes);
	gpa_t end = layout->hotplug_gpa + layout->hotplug_bytes, until;

	while (gpa < end && end - gpa >= device->size_bytes) {
		until = taken_until(devices, gpa, device->size_bytes);
		if (!until) {
			device->gpa = gpa;
			return 0;
		}
		gpa = align_up(until, align_bytes);
	}
	return samara_error_set(err, -ENOSPC,
				"could not find position in guest address space for memory device "
				"- memory fragmented due to alignments");
}

static int place(struct memory_devices *devices, struct memory_device *device,
		 const struct memory_device_request *request, struct samara_error *err)
{
	unsigned int count;
	uint64_t max_bytes = devices->config.max_bytes, used_bytes = total_bytes(devices, &count);

	if (count == MEMORY_MAP_HOLES)
		return samara_error_set(err, -ENOSPC,
					"there are %u memory devices, as many as can be", count);
	device->gpa = request->gpa;
	if (request->own_place)
		return check_free(devices, device, err);
	if (device->size_bytes > max_bytes - used_bytes)
		return samara_error_set(err, -ENOSPC,
					"not enough space, currently 0x%" PRIx64
					" in use of total space for memory devices 0x%" PRIx64
					" (--memory SIZE,max=SIZE sets it)",
					used_bytes, max_bytes);
	if (request->gpa == MEMORY_DEVICES_ANYWHERE)
		return find_place(devices, device, request->align_bytes, err);
	return check_given_place(devices, device, request->align_bytes, err);
}

/* ---- Devices --------------------------------------------------------------------------------- */

static struct memory_device *find_device(const struct memory_devices *devices, const char *id)
{
	struct memory_device *device;

	for (device = devices->devices; device; device = device->next)
		if (!strcmp(device->path, id) || (device->id && !strcmp(device->id, id)))
			return device;
	return NULL;
}

static int take_backend(struct memory_devices *devices, struct memory_device *device,
			const char *memdev, struct samara_error *err)
{
	struct memory_backend *backend = find_backend(devices, memdev);

	if (!backend)
		return samara_error_set(err, -ENODEV, "Device '%.64s' not found", memdev);
	if (backend->used)
		return samara_error_set(err, -EBUSY, "can't use already busy memdev: %s", memdev);
	device->backend = backend;
	device->size_bytes = backend->config.size_bytes;
	return 0;
}

static int name_device(struct memory_devices *devices, struct memory_device *device, const char *id)
{
	int length;

	if (id) {
		device->id = strdup(id);
		if (!device->id)
			return -ENOMEM;
		length = asprintf(&device->path, "/machine/peripheral/%s", id);
	} else {
		length = asprintf(&device->path, "/machine/peripheral-anon/device[%u]",
				  devices->anonymous++);
	}
	if (length >= 0)
		return 0;
	device->path = NULL;
	return -ENOMEM;
}

int memory_device_init(struct memory_devices *devices, struct memory_device *device,
		       const struct memory_device_request *request, struct samara_error *err)
{
	int ret = request->id ? check_id(request->id, err) : 0;

	if (ret)
		return ret;
	if (request->id && find_device(devices, request->id))
		return samara_error_set(err, -EEXIST, "Duplicate device ID '%s'", request->id);
	if (request->node >= devices->config.nodes)
		return samara_error_set(err, -EINVAL,
					"property node has value %" PRIu32
					", which exceeds the number of NUMA nodes: %u",
					request->node, devices->config.nodes);
	device->owner = devices;
	device->node = request->node;
	device->slot = -1;
	device->hotplugged = request->hotplugged;
	device->own_place = request->own_place;
	ret = take_backend(devices, device, request->memdev, err);
	if (!ret)
		ret = place(devices, device, request, err);
	if (!ret && name_device(devices, device, request->id))
		ret = no_memory(request->memdev, err);
	if (ret)
		memory_device_fini(device);
	return ret;
}

void memory_device_fini(struct memory_device *device)
{
	free(device->id);
	free(device->path);
	device->id = NULL;
	device->path = NULL;
}

int memory_device_add(struct memory_device *device, const char *type,
		      const struct qom_property *properties, struct samara_error *err)
{
	struct memory_devices *devices = device->owner;
	struct memory_device **link = &devices->devices;
	int ret = qom_add(devices->config.qom, device->path, type, properties, device, err);

	if (ret)
		return ret;
	while (*link && (*link)->gpa < device->gpa)
		link = &(*link)->next;
	device->next = *link;
	pthread_mutex_lock(&devices->seen);
	*link = device;
	pthread_mutex_unlock(&devices->seen);
	device->backend->used = true;
	return 0;
}

void memory_device_set_plugged(struct memory_device *device, uint64_t bytes)
{
	uint64_t before = atomic_exchange(&device->plugged_bytes, bytes);

	atomic_fetch_add(&device->owner->plugged_bytes, bytes - before);
}

void memory_device_remove(struct memory_device *device)
{
	struct memory_devices *devices = device->owner;
	struct memory_device **link = &devices->devices;

	while (*link != device)
		link = &(*link)->next;
	pthread_mutex_lock(&devices->seen);
	*link = device->next;
	pthread_mutex_unlock(&devices->seen);
	device->backend->used = false;
	memory_device_set_plugged(device, 0);
	qom_remove(devices->config.qom, device->path);
}

int memory_devices_unplug(struct memory_devices *devices, const char *id, struct samara_error *err)
{
	struct memory_device *device;
	int ret;

	memory_devices_lock(devices);
	device = find_device(devices, id);
	if (device)
		ret = device->ops->request_unplug(device, err);
	else
		ret = samara_error_set(err, -ENODEV, "Device '%.64s' not found", id);
	memory_devices_unlock(devices);
	return ret;
}

int memory_devices_for_each(struct memory_devices *devices,
			    int (*visit)(const struct memory_device *device, void *arg), void *arg)
{
	struct memory_device *device;
	int ret = 0;

	pthread_mutex_lock(&devices->seen);
	for (device = devices->devices; device && !ret; device = device->next)
		ret = visit(device, arg);
	pthread_mutex_unlock(&devices->seen);
	return ret;
}

uint64_t memory_devices_plugged_bytes(const struct memory_devices *devices)
{
	return atomic_load(&devices->plugged_bytes);
}

void memory_devices_begin_reset(struct memory_devices *devices)
{
	struct memory_device *device, *next;

	memory_devices_lock(devices);
	for (device = devices->devices; device; device = next) {
		next = device->next;
		device->ops->reset(device);
	}
}

void memory_devices_end_reset(struct memory_devices *devices)
{
	memory_devices_unlock(devices);
}

unsigned int memory_devices_ranges(struct memory_devices *devices, struct memory_map_hole *ranges)
{
	const struct memory_device *device;
	unsigned int count = 0;

	for (device = devices->devices; device && count < MEMORY_MAP_HOLES; device = device->next)
		ranges[count++] = (struct memory_map_hole){device->gpa, device->size_bytes};
	return count;
}

/* ---- Properties ------------------------------------------------------------------------------ */

int memory_device_get_id(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->string = ((struct memory_device *)object)->id;
	return 0;
}

int memory_device_get_memdev(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->string = ((struct memory_device *)object)->backend->config.id;
	return 0;
}

int memory_device_get_node(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->size = ((struct memory_device *)object)->node;
	return 0;
}

int memory_device_get_gpa(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->size = ((struct memory_device *)object)->gpa;
	return 0;
}

int memory_device_get_size(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->size = ((struct memory_device *)object)->size_bytes;
	return 0;
}

int memory_device_get_hotplugged(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->boolean = ((struct memory_device *)object)->hotplugged;
	return 0;
}

int memory_device_get_pluggable(void *object, union qom_value *value, struct samara_error *err)
{
	(void)object;
	(void)err;
	value->boolean = true;
	return 0;
}
