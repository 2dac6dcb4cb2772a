/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara's own commands for the virtio devices: what they do, number by number. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "devices/virtio_balloon.h"
#include "devices/virtio_mem.h"
#include "vmm/qmp_command.h"

/* Past signed 64 bits JSON has no numbers; no size of a machine is. */
static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

int qmp_virtio_balloon(struct qmp_call *call)
{
	struct virtio_balloon *balloon = vm_balloon(call->vm);

	if (!balloon)
		return samara_error_set(&call->err, -ENODEV, "this VM has no balloon");
	return virtio_balloon_set_target(balloon, qmp_size(call, "size"), &call->err);
}

int qmp_virtio_balloon_stats(struct qmp_call *call)
{
	struct virtio_balloon *balloon = vm_balloon(call->vm);
	uint64_t interval_s = qmp_size(call, "interval");

	if (!balloon)
		return samara_error_set(&call->err, -ENODEV, "this VM has no balloon");
	if (interval_s > UINT32_MAX)
		return samara_error_set(&call->err, -EINVAL, "interval: %" PRIu64 " seconds",
					interval_s);
	virtio_balloon_poll_stats(balloon, (unsigned int)interval_s);
	return 0;
}

int qmp_virtio_mem(struct qmp_call *call)
{
	uint64_t index = qmp_size(call, "index");
	struct virtio_mem *mem = NULL;
	const char *id;

	if (index <= UINT32_MAX)
		mem = vm_virtio_mem_at(call->vm, (unsigned int)index, &id);
	if (!mem)
		return samara_error_set(&call->err, -ENODEV,
					"this VM has no virtio-mem device number %" PRIu64, index);
	return virtio_mem_set_requested(mem, qmp_size(call, "size"), &call->err);
}

static json_t *describe_balloon(struct virtio_balloon *balloon)
{
	struct virtio_balloon_state state;
	struct virtio_device_counters counters;
	struct virtio_balloon_stats stats;
	json_t *values = json_array();

	virtio_balloon_get(balloon, &state);
	virtio_balloon_get_stats(balloon, &stats);
	for (unsigned int i = 0; values && i < VIRTIO_BALLOON_STATS; i++)
		json_array_append_new(values, stats.values[i] == UINT64_MAX
						      ? json_null()
						      : number(stats.values[i]));
	virtio_device_get_counters(virtio_balloon_device(balloon), &counters);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "target",
			 number(state.target_bytes), "actual", number(state.actual_bytes),
			 "inflated-pages", number(state.inflated_pages), "deflated-pages",
			 number(state.deflated_pages), "reported-pages",
			 number(state.reported_pages), "hinted-pages", number(state.hinted_pages),
			 "wild-pages", number(state.wild_pages), "kept-pages",
			 number(state.kept_pages), "needed-resets", number(counters.needed_resets),
			 "work-ns", number(counters.work_ns), "stats", values, "stats-updated",
			 number(stats.updated_s));
}

static json_t *describe_mem(struct virtio_mem *mem, const char *id)
{
	struct virtio_device_counters counters;
	struct virtio_mem_state state;

	virtio_mem_get(mem, &state);
	virtio_device_get_counters(virtio_mem_device(mem), &counters);
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "id", id, "gpa", number(state.gpa), "size", number(state.size_bytes),
			 "block", number(state.block_bytes), "usable", number(state.usable_bytes),
			 "requested", number(state.requested_bytes), "plugged",
			 number(state.plugged_bytes), "plugs", number(state.plugs), "unplugs",
			 number(state.unplugs), "refused", number(state.refused), "denied",
			 number(state.denied), "busy", number(state.busy), "needed-resets",
			 number(counters.needed_resets), "work-ns", number(counters.work_ns));
}

int qmp_query_virtio(struct qmp_call *call)
{
	struct virtio_balloon *balloon = vm_balloon(call->vm);
	json_t *mems = json_array();
	struct virtio_mem *mem;
	const char *id;

	for (unsigned int i = 0; (mem = vm_virtio_mem_at(call->vm, i, &id)) != NULL; i++)
		json_array_append_new(mems, describe_mem(mem, id));
	call->result =
		json_pack("{s:o, s:o}", "balloon",
			  balloon ? describe_balloon(balloon) : json_null(), "virtio-mem", mems);
	return call->result ? 0 : samara_error_set(&call->err, -ENOMEM, "out of memory");
}
