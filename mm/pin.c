/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holding guest memory for the host's own accesses.
 *
 * Pages are populated before the pin is returned. Were they not, the holder's first access would
 * fault; the fault could wait for an operation, and the operation waits for the pin.
 */
#include <errno.h>
#include <string.h>

#include "mm/access.h"
#include "mm/mm.h"

/* Hold the next region and the pages in it. *@gpa moves behind what was added. */
static int pin_region(struct guest_mm *mm, gpa_t *gpa, gpa_t last, bool write,
		      struct guest_mm_pin *pin)
{
	struct region_guard guard;
	struct mem_region *memory;
	struct region *region;
	/* Whole pages, as large as they come. */
	const uint64_t page_mask = mm->page_bytes - 1;
	gpa_t end, first_page;
	bool busy;
	int ret;

	if (pin->iov_count == GUEST_MM_PIN_REGIONS)
		return -E2BIG;
	first_page = *gpa & ~page_mask;
	region = region_try_read_lock_range(mm->tree, *gpa, first_page, last | page_mask, &guard,
					    &busy);
	if (!region)
		return busy ? -EBUSY : -EFAULT;
	memory = mem_region_of(region);
	ret = -EFAULT;
	if (write && !(memory->prot & GUEST_MM_WRITE))
		goto fail;
	end = last < guard.last ? last : guard.last;
	first_page = *gpa & ~(SAMARA_PAGE_BYTES - 1);
	ret = populate_range(mm, memory, first_page,
			     (end | (SAMARA_PAGE_BYTES - 1)) - first_page + 1);
	if (ret)
		goto fail;
	pin->regions[pin->iov_count] = region;
	pin->slots[pin->iov_count] = guard.slot;
	pin->iov[pin->iov_count++] = (struct iovec){
		.iov_base = window_hva(memory->window, *gpa),
		.iov_len = end - *gpa + 1,
	};
	*gpa = end + 1;
	return 0;
fail:
	region_read_unlock(&guard);
	return ret;
}

static int pin_all(struct guest_mm *mm, gpa_t gpa, uint64_t length_bytes, bool write,
		   struct guest_mm_pin *pin)
{
	gpa_t last = gpa + length_bytes - 1;
	int ret;

	pin->mm = mm;
	pin->iov_count = 0;
	do {
		ret = pin_region(mm, &gpa, last, write, pin);
		if (ret)
			guest_mm_unpin(pin);
	} while (!ret && gpa - 1 != last);
	return ret;
}

int guest_mm_pin(struct guest_mm *mm, gpa_t gpa, uint64_t length_bytes, bool write,
		 struct guest_mm_pin *pin)
{
	int ret;

	pin->iov_count = 0;
	if (!length_bytes || gpa + length_bytes - 1 < gpa)
		return -EINVAL;
	ret = pin_all(mm, gpa, length_bytes, write, pin);
	while (ret == -EBUSY) {
		/*
		 * Who holds a region must not wait: the operation it would wait for may want that
		 * one.
		 */
		if (lock_thread_holds())
			return -EAGAIN;
		lock_tree_read(mm->tree);
		ret = pin_all(mm, gpa, length_bytes, write, pin);
		unlock_tree_read(mm->tree);
	}
	/* Counted in the thread's own line: pins share nothing that they write. */
	if (!ret && thread_state_get())
		thread_count(&thread_state_get()->counters[mm->tree->id].pins);
	return ret;
}

void guest_mm_unpin(struct guest_mm_pin *pin)
{
	for (unsigned int i = 0; i < pin->iov_count; i++) {
		struct region_guard guard = {
			.tree = pin->mm->tree,
			.region = pin->regions[i],
			.slot = pin->slots[i],
		};

		region_read_unlock(&guard);
	}
	pin->iov_count = 0;
}

/*
 * A short access within a page that is there (a descriptor, a ring's index): looked up, held, done.
 * One of 1, 2, 4 or 8 bytes at its natural place is one access, as the guest's own are.
 * Return: whether it was done.
 */
static bool copy_short(struct guest_mm *mm, gpa_t gpa, char *bytes, uint64_t length_bytes,
		       bool write)
{
	gpa_t page = gpa & ~(SAMARA_PAGE_BYTES - 1);
	struct region_guard guard;
	struct mem_region *memory;
	struct region *region;
	bool busy, can;
	char *hva;

	if (gpa - page + length_bytes > SAMARA_PAGE_BYTES)
		return false;
	region = region_try_read_lock_range(mm->tree, gpa, page, page | (SAMARA_PAGE_BYTES - 1),
					    &guard, &busy);
	if (!region)
		return false;
	memory = mem_region_of(region);
	can = window_present(memory->window, page) && (!write || memory->prot & GUEST_MM_WRITE);
	hva = window_hva(memory->window, gpa);
	if (can && write)
		access_store(hva, bytes, length_bytes);
	else if (can)
		access_load(bytes, hva, length_bytes);
	region_read_unlock(&guard);
	return can;
}

/* Copy piece by piece: as much as one pin takes at a time, and no more than this of one region. */
#define COPY_BYTES (UINT64_C(2) << 20)

static int copy(struct guest_mm *mm, gpa_t gpa, char *bytes, uint64_t length_bytes, bool write)
{
	struct guest_mm_pin pin;
	int ret;

	if (length_bytes && gpa + length_bytes - 1 < gpa)
		return -EINVAL;
	if (length_bytes && copy_short(mm, gpa, bytes, length_bytes, write))
		return 0;
	while (length_bytes) {
		uint64_t chunk = COPY_BYTES - (gpa & (COPY_BYTES - 1));

		if (chunk > length_bytes)
			chunk = length_bytes;
		ret = guest_mm_pin(mm, gpa, chunk, write, &pin);
		if (ret == -E2BIG) {
			chunk = SAMARA_PAGE_BYTES - (gpa & (SAMARA_PAGE_BYTES - 1));
			if (chunk > length_bytes)
				chunk = length_bytes;
			ret = guest_mm_pin(mm, gpa, chunk, write, &pin);
		}
		if (ret)
			return ret;
		for (unsigned int i = 0; i < pin.iov_count; i++) {
			if (write)
				access_store(pin.iov[i].iov_base, bytes, pin.iov[i].iov_len);
			else
				access_load(bytes, pin.iov[i].iov_base, pin.iov[i].iov_len);
			bytes += pin.iov[i].iov_len;
		}
		guest_mm_unpin(&pin);
		gpa += chunk;
		length_bytes -= chunk;
	}
	return 0;
}

int guest_mm_read(struct guest_mm *mm, gpa_t gpa, void *to, uint64_t length_bytes)
{
	return copy(mm, gpa, to, length_bytes, false);
}

int guest_mm_write(struct guest_mm *mm, gpa_t gpa, const void *from, uint64_t length_bytes)
{
	/* copy() does not write through @bytes in this direction. */
	return copy(mm, gpa, (char *)(uintptr_t)from, length_bytes, true);
}
