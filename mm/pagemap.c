/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <linux/types.h>
#include <sys/ioctl.h>

#include <samara/types.h>

#include "mm/pagemap.h"

/* Linux include/uapi/linux/fs.h, 6.7 */
#ifndef PAGEMAP_SCAN
#define PAGE_IS_PRESENT (1 << 3)
#define PAGE_IS_HUGE    (1 << 6)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#endif

int pagemap_open(void)
{
	return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

int64_t pagemap_huge_pages(int pagemap, const void *hva, uint64_t size_bytes)
{
	struct page_region found[64];
	uint64_t at = (uintptr_t)hva, end = at + size_bytes;
	int64_t pages = 0;

	if (pagemap < 0)
		return -1;
	while (at < end) {
		struct pm_scan_arg scan = {
			.size = sizeof(scan),
			.start = at,
			.end = end,
			.vec = (uintptr_t)found,
			.vec_len = sizeof(found) / sizeof(found[0]),
			.category_mask = PAGE_IS_HUGE | PAGE_IS_PRESENT,
			.return_mask = PAGE_IS_HUGE,
		};
		int count = ioctl(pagemap, PAGEMAP_SCAN, &scan);

		if (count < 0)
			return -1;
		for (int i = 0; i < count; i++)
			pages += (int64_t)((found[i].end - found[i].start) >> SAMARA_PAGE_SHIFT);
		at = scan.walk_end > at ? scan.walk_end : end;
	}
	return pages;
}
