/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "mm/operation.h"

int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	struct range range = {.operation = "discard", .gpa = gpa, .size_bytes = size_bytes};
	int ret = range_check(mm, &range, err);

	if (ret)
		return operation_refuse(mm, ret);
	lock_tree_write(mm->tree);
	ret = range_check_plugged(mm, &range, err);
	if (ret)
		goto out;
	ret = range_isolate(mm, &range);
	if (!ret)
		ret = window_discard(range.window, gpa, size_bytes);
	if (!ret)
		window_clear_present(range.window, gpa, size_bytes);
	else
		range_error(err, &range, ret, "giving the pages back: %s", strerror(-ret));
	range_merge(mm, &range);
out:
	return operation_end(mm, ret, &mm->counters.protects);
}
