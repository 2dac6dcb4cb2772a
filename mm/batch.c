/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The batch form: several operations as one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "mm/operation.h"

static const struct {
	const struct operation_kind *kind;
	const char *name;
} kinds[] = {
	[GUEST_MM_OP_PLUG] = {&plug_operation, "plug"},
	[GUEST_MM_OP_UNPLUG] = {&unplug_operation, "unplug"},
	[GUEST_MM_OP_REMAP] = {&remap_operation, "remap"},
	[GUEST_MM_OP_PROTECT] = {&protect_operation, "protect"},
	[GUEST_MM_OP_DISCARD] = {&discard_operation, "discard"},
	[GUEST_MM_OP_REBACK] = {&reback_operation, "reback"},
};

static int translate_reback(struct operation *op, struct samara_error *err)
{
	int kind = op->memory ? (int)op->memory->kind : -1;

	switch (kind) {
	case GUEST_MM_MEMORY_FILE:
	case GUEST_MM_MEMORY_OWN:
		return 0;
	case GUEST_MM_MEMORY_HUGE:
	case GUEST_MM_MEMORY_NODE:
		op->kind = &place_operation;
		return 0;
	default:
		return range_error(err, &op->range, -EINVAL, "%d is no kind of memory", kind);
	}
}

static int translate(struct operation *op, const struct guest_mm_op *from, struct samara_error *err)
{
	if ((unsigned int)from->op >= sizeof(kinds) / sizeof(kinds[0]))
		return samara_error_set(err, -EINVAL, "batch: %d is no operation", (int)from->op);
	*op = (struct operation){
		.kind = kinds[from->op].kind,
		.range = {.operation = kinds[from->op].name,
			  .gpa = from->gpa,
			  .size_bytes = from->size_bytes},
		.prot = from->prot,
		.memory = from->memory,
	};
	if (from->op == GUEST_MM_OP_REMAP)
		op->to = (struct range){.operation = "remap to",
					.gpa = from->new_gpa,
					.size_bytes = from->size_bytes};
	return from->op == GUEST_MM_OP_REBACK ? translate_reback(op, err) : 0;
}

static int no_memory(size_t count, gpa_t first, struct samara_error *err)
{
	return samara_error_set(err, -ENOMEM,
				"batch of %zu operations, the first at %#" PRIx64 ": out of memory",
				count, first);
}

static int by_gpa(const void *a, const void *b)
{
	const struct range *const *left = a, *const *right = b;

	return ((*left)->gpa > (*right)->gpa) - ((*left)->gpa < (*right)->gpa);
}

/* Each operation is undone by itself, so none may see what another does. */
static int check_apart(struct operation *ops, size_t count, struct samara_error *err)
{
	const struct range **ranges = calloc(2 * count, sizeof(*ranges));
	size_t n = 0;
	int ret = 0;

	if (!ranges)
		return no_memory(count, ops[0].range.gpa, err);
	for (size_t i = 0; i < count; i++) {
		if (ops[i].range.size_bytes)
			ranges[n++] = &ops[i].range;
		if (ops[i].to.size_bytes)
			ranges[n++] = &ops[i].to;
	}
	qsort(ranges, n, sizeof(*ranges), by_gpa);
	for (size_t i = 1; i < n && !ret; i++)
		if (ranges[i]->gpa - ranges[i - 1]->gpa < ranges[i - 1]->size_bytes)
			ret = range_error(err, ranges[i], -EINVAL,
					  "overlaps %s %#" PRIx64 "+%#" PRIx64 " in the same batch",
					  ranges[i - 1]->operation, ranges[i - 1]->gpa,
					  ranges[i - 1]->size_bytes);
	free(ranges);
	return ret;
}

int guest_mm_batch(struct guest_mm *mm, const struct guest_mm_op *list, size_t count,
		   struct samara_error *err)
{
	struct operation *ops;
	int ret = 0;

	if (!count)
		return 0;
	if (count > GUEST_MM_BATCH_MAX)
		return samara_error_set(err, -E2BIG, "batch: %zu operations, %u at most", count,
					GUEST_MM_BATCH_MAX);
	ops = calloc(count, sizeof(*ops));
	if (!ops)
		return no_memory(count, list[0].gpa, err);
	for (size_t i = 0; i < count && !ret; i++)
		ret = translate(&ops[i], &list[i], err);
	if (!ret)
		ret = check_apart(ops, count, err);
	if (ret)
		mm_count(&mm->counters.failed_operations, 1);
	else
		ret = operations_run(mm, ops, count, err);
	free(ops);
	return ret;
}
