/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "vmm/virtio_counters.h"

static int add(json_t *object, const char *name, uint64_t value)
{
	/* JSON's (jansson's) numbers are signed; no counter gets so far. */
	return json_object_set_new(object, name, json_integer((json_int_t)value));
}

int virtio_counters_get(const struct virtio_device *device, const struct virtio_counter *counters,
			union qom_value *value, struct samara_error *err)
{
	struct virtio_device_counters common;
	json_t *object = json_object();
	int ret = 0;

	virtio_device_get_counters(device, &common);
	for (; !ret && counters->name; counters++)
		ret = add(object, counters->name, counters->value);
	if (!ret)
		ret = add(object, "needed-resets", common.needed_resets);
	if (!ret)
		ret = add(object, "works", common.works);
	if (!ret)
		ret = add(object, "work-ns", common.work_ns);
	if (ret) {
		json_decref(object);
		return samara_error_set(err, -ENOMEM, "x-samara-counters: out of memory");
	}
	value->object = object;
	return 0;
}
