/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

#include "mm/backing.h"

static const struct {
	const struct backing_ops *ops;
	bool shared;
} kinds[] = {
	[GUEST_MM_ANON] = {&backing_anon_ops, false},
	[GUEST_MM_MEMFD] = {&backing_shared_ops, true},
	[GUEST_MM_HUGETLB] = {&backing_hugetlb_ops, true},
	[GUEST_MM_FILE_SHARED] = {&backing_shared_ops, true},
	[GUEST_MM_FILE_PRIVATE] = {&backing_private_ops, false},
};

int backing_open(struct backing *backing, const struct guest_mm_window_config *config,
		 struct samara_error *err)
{
	if ((unsigned int)config->backing >= sizeof(kinds) / sizeof(kinds[0]))
		return samara_error_set(err, -EINVAL, "%d is no kind of backing",
					(int)config->backing);
	*backing = (struct backing){
		.ops = kinds[config->backing].ops,
		.kind = config->backing,
		.gpa = config->gpa,
		.size_bytes = config->size_bytes,
		.fd = -1,
		.page_bytes = SAMARA_PAGE_BYTES,
		.shared = kinds[config->backing].shared,
		.placement = config->placement,
	};
	return backing->ops->open(backing, config, err);
}

void backing_close(struct backing *backing)
{
	if (backing->fd >= 0)
		close(backing->fd);
	backing->fd = -1;
}
