/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private anonymous memory. Zeros come in two ways: UFFDIO_COPY of a page of zeros, any number of
 * pages; or, where 2 MiB are wholly free, a huge page that the kernel makes in a staging area and
 * UFFDIO_MOVE brings here as it is. The second takes a fifth of the first's time, and the guest
 * has a huge page.
 */
#include <errno.h>
#include <sys/mman.h>

#include "mm/backing.h"
#include "mm/mm.h"
#include "mm/stage.h"

static int anon_open(struct backing *backing, const struct guest_mm_window_config *config,
		     struct samara_error *err)
{
	(void)backing;
	(void)config;
	(void)err;
	return 0;
}

int anon_map(const struct backing *backing, void *hva, uint64_t size_bytes, uint64_t offset)
{
	(void)backing;
	(void)offset;
	return mmap(hva, size_bytes, PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
		       ? -errno
		       : 0;
}

/*
 * UFFDIO_MOVE makes pages writable, so what shall be protected is copied. And the staging area's pages
 * come from where the window's do. To where a table is, it would move 512 small pages one by one,
 * and leave a table in the staging area, which would then have no huge page ever again.
 */
static bool anon_comes_huge(const struct backing *backing, const struct fill *fill)
{
	struct window *window = fill->window;

	return !fill->protect && fill->gpa % HUGE_BYTES == 0 && fill->size_bytes >= HUGE_BYTES &&
	       backing_same_placement(backing, &window->own) &&
	       !page_bitmap_test(&window->tables, fill->gpa) && stage_may_fill(&window->stage);
}

static int anon_fill(const struct backing *backing, const struct fill *fill, uint64_t *done)
{
	struct guest_mm *mm = fill->mm;
	uint64_t size_bytes = fill->size_bytes, next_huge = HUGE_BYTES - fill->gpa % HUGE_BYTES;
	bool there;
	int ret;

	if (anon_comes_huge(backing, fill) && !stage_fill(fill, backing_hva(backing, fill->gpa))) {
		*done = HUGE_BYTES;
		return 0;
	}
	/* Up to where a huge page could be next. */
	if (fill->window->stage.area && next_huge < size_bytes)
		size_bytes = next_huge;
	/*
	 * A page that is there already, as one of several faults on it, needs no table: it may be
	 * part of a huge page, which must not count as small ones from then on.
	 */
	there = window_present(fill->window, fill->gpa);
	if (!there)
		window_note_table(fill->window, fill->gpa);
	ret = uffd_copy(window_uffd(fill->window, fill->gpa), backing_hva(backing, fill->gpa),
			mm->zeros, size_bytes, fill->protect, done);
	if (there && ret != -EEXIST)
		window_note_table(fill->window, fill->gpa);
	return ret;
}

int anon_discard(const struct backing *backing, gpa_t gpa, uint64_t size_bytes)
{
	return madvise(backing_hva(backing, gpa), size_bytes, MADV_DONTNEED) ? -errno : 0;
}

const struct backing_ops backing_anon_ops = {
	.open = anon_open,
	.map = anon_map,
	.fill = anon_fill,
	.comes_huge = anon_comes_huge,
	.discard = anon_discard,
};
