/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara's own commands for the virtio devices: what they do, number by number. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "devices/virtio_balloon.h"
#include "devices/virtio_mem.h"
#include "vmm/qmp_command.h"

static int set_balloon(struct qmp_call *call)
{
	struct virtio_balloon *balloon = vm_balloon(call->vm);

	if (!balloon)
		return samara_error_set(&call->err, -ENODEV, "this VM has no balloon");
	return virtio_balloon_set_target(balloon, qmp_size(call, "size"), &call->err);
}

static int poll_stats(struct qmp_call *call)
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

static int set_mem(struct qmp_call *call)
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
						      : qmp_number(stats.values[i]));
	virtio_device_get_counters(virtio_balloon_device(balloon), &counters);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "target",
			 qmp_number(state.target_bytes), "actual", qmp_number(state.actual_bytes),
			 "inflated-pages", qmp_number(state.inflated_pages), "deflated-pages",
			 qmp_number(state.deflated_pages), "reported-pages",
			 qmp_number(state.reported_pages), "hinted-pages",
			 qmp_number(state.hinted_pages), "wild-pages", qmp_number(state.wild_pages),
			 "kept-pages", qmp_number(state.kept_pages), "needed-resets",
			 qmp_number(counters.needed_resets), "work-ns",
			 qmp_number(counters.work_ns), "stats", values, "stats-updated",
			 qmp_number(stats.updated_s));
}

static json_t *describe_mem(struct virtio_mem *mem, const char *id)
{
	struct virtio_device_counters counters;
	struct virtio_mem_state state;

	virtio_mem_get(mem, &state);
	virtio_device_get_counters(virtio_mem_device(mem), &counters);
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", id,
		"gpa", qmp_number(state.gpa), "size", qmp_number(state.size_bytes), "block",
		qmp_number(state.block_bytes), "usable", qmp_number(state.usable_bytes),
		"requested", qmp_number(state.requested_bytes), "plugged",
		qmp_number(state.plugged_bytes), "plugs", qmp_number(state.plugs), "unplugs",
		qmp_number(state.unplugs), "refused", qmp_number(state.refused), "denied",
		qmp_number(state.denied), "busy", qmp_number(state.busy), "needed-resets",
		qmp_number(counters.needed_resets), "work-ns", qmp_number(counters.work_ns));
}

static int query(struct qmp_call *call)
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

static const struct qmp_arg balloon_args[] = {
	{"size", QMP_ARG_SIZE, false, NULL, NULL},
	{NULL, 0, false, NULL, NULL},
};

static const struct qmp_arg stats_args[] = {
	{"interval", QMP_ARG_SIZE, false, NULL, NULL},
	{NULL, 0, false, NULL, NULL},
};

static const struct qmp_arg mem_args[] = {
	{"index", QMP_ARG_SIZE, false, NULL, NULL},
	{"size", QMP_ARG_SIZE, false, NULL, NULL},
	{NULL, 0, false, NULL, NULL},
};

static const struct qmp_arg any_result = {NULL, QMP_ARG_ANY, false, NULL, NULL};

const struct qmp_command qmp_virtio_commands[] = {
	{"x-samara-balloon", balloon_args, false, set_balloon, NULL, NULL, NULL},
	{"x-samara-balloon-stats", stats_args, false, poll_stats, NULL, NULL, NULL},
	{"x-samara-virtio-mem", mem_args, false, set_mem, NULL, NULL, NULL},
	{"x-samara-query-virtio", NULL, false, query, &any_result, NULL, NULL},
	{NULL, NULL, false, NULL, NULL, NULL, NULL},
};
