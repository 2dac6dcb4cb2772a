/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x-samara-stats: what the VM counts, as one JSON object.
 */
#include "vmm/qmp_command.h"
#include "vmm/stats.h"

json_t *qmp_stats(struct vm *vm)
{
	const struct stat_info *info;
	struct stats stats;
	json_t *result;

	stats_read(vm, &stats);
	result = json_pack("{s:s}", "lock", stats.mm.lock);
	for (info = stats_list; result && info->name; info++) {
		if (json_object_set_new(result, info->name,
					qmp_number(stats_value(&stats, info)))) {
			json_decref(result);
			result = NULL;
		}
	}
	return result;
}
