/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages that the guest gives up: into the balloon (virtio 1.2, 5.5.6), or as free pages that it
 * reports (5.5.6.7).
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <linux/virtio_balloon.h>

#include "devices/broken.h"
#include "devices/virtio_balloon_internal.h"

/*
 * What is done between two looks at whether the device is to stop: so many page numbers, each of
 * which may take an operation of its own (Linux and FreeBSD send as many in a list; virtio 1.2, 5.5.6
 * sets no limit); or that much of a reported range, aligned so that no page of the host is cut.
 */
#define BATCH       256
#define PIECE_BYTES (UINT64_C(1) << 30)

static void complain(struct virtio_balloon *balloon, enum balloon_complaint complaint, gpa_t gpa,
		     const char *what)
{
	if (balloon->complained & complaint)
		return;
	balloon->complained |= complaint;
	virtio_device_report(balloon->device, "%s, the first at %#" PRIx64 " (told once, counted)",
			     what, gpa);
}

/* How pages are given up: guest_mm_lend() into the balloon, guest_mm_discard() what is free. */
typedef int give_up_fn(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		       struct samara_error *err);

/* Discard pages that follow each other. Return: whether they are memory to write to, all of them. */
static bool discard(struct virtio_balloon *balloon, give_up_fn *give_up, gpa_t gpa, uint64_t pages)
{
	int ret = 0;

	if (!BROKEN_BALLOON)
		ret = give_up(balloon->config.mm, gpa, pages << SAMARA_PAGE_SHIFT, NULL);
	if (ret == -ENOENT || ret == -ERANGE || ret == -EINVAL || ret == -EACCES)
		return false;
	if (ret) {
		atomic_fetch_add(&balloon->kept_pages, pages);
		complain(balloon, BALLOON_KEPT_PAGES, gpa,
			 "the host cannot take pages of the balloon back");
	}
	return true;
}

static void inflate_run(struct virtio_balloon *balloon, uint32_t first, uint32_t count)
{
	if (discard(balloon, guest_mm_lend, (gpa_t)first << SAMARA_PAGE_SHIFT, count))
		return;
	/* One bad number does not spoil the others. */
	for (uint32_t i = 0; i < count; i++) {
		gpa_t gpa = ((gpa_t)first + i) << SAMARA_PAGE_SHIFT;

		if (count > 1 && discard(balloon, guest_mm_lend, gpa, 1))
			continue;
		atomic_fetch_add(&balloon->wild_pages, 1);
		complain(balloon, BALLOON_WILD_PAGES, gpa,
			 "the driver names pages where there is no memory");
	}
}

static int compare(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return a < b ? -1 : a > b;
}

static void deflate_run(struct virtio_balloon *balloon, uint32_t first, uint32_t count)
{
	guest_mm_take_back(balloon->config.mm, (gpa_t)first << SAMARA_PAGE_SHIFT,
			   (uint64_t)count << SAMARA_PAGE_SHIFT);
}

/* A guest names pages in the order it found them: neighbours are looked after in one go. */
static void for_each_run(struct virtio_balloon *balloon, uint32_t *numbers, size_t count,
			 void (*visit)(struct virtio_balloon *balloon, uint32_t first,
				       uint32_t count))
{
	size_t first = 0;

	for (size_t i = 0; i < count; i++)
		numbers[i] = le32toh(numbers[i]);
	qsort(numbers, count, sizeof(*numbers), compare);
	for (size_t i = 1; i <= count; i++) {
		/* The same number again belongs to the run. */
		if (i < count && numbers[i] - numbers[i - 1] <= 1)
			continue;
		visit(balloon, numbers[first], numbers[i - 1] - numbers[first] + 1);
		first = i;
	}
}

/* Take a list of page numbers, by runs; from @taken on, which is how many were taken before. */
static int take_list(struct virtio_balloon *balloon, struct descriptor_chain *chain,
		     void (*visit)(struct virtio_balloon *balloon, uint32_t first, uint32_t count),
		     uint64_t *taken, atomic_uint_fast64_t *counter, struct samara_error *err)
{
	uint64_t total = chain->readable_bytes / sizeof(uint32_t);
	uint32_t numbers[BATCH];

	while (*taken < total) {
		size_t count = total - *taken < BATCH ? total - *taken : BATCH;
		int ret = chain_read(chain, *taken * sizeof(*numbers), numbers,
				     count * sizeof(*numbers), err);

		if (ret)
			return ret;
		for_each_run(balloon, numbers, count, visit);
		atomic_fetch_add(counter, count);
		*taken += count;
		if (*taken < total && virtio_device_stopping(balloon->device))
			return VIRTIO_SERVE_LATER;
	}
	*taken = 0;
	return VIRTIO_SERVE_DONE;
}

static int inflate(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		   struct samara_error *err)
{
	struct virtio_balloon *balloon = arg;

	(void)written_bytes;
	return take_list(balloon, chain, inflate_run, &balloon->progress.inflated,
			 &balloon->inflated_pages, err);
}

/* The pages are there already, for whoever touches them. */
static int deflate(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		   struct samara_error *err)
{
	struct virtio_balloon *balloon = arg;

	(void)written_bytes;
	return take_list(balloon, chain, deflate_run, &balloon->progress.deflated,
			 &balloon->deflated_pages, err);
}

/* Whether the driver counts on what it wrote to its free pages; zeros they are anyway. */
static bool pages_are_poisoned(struct virtio_balloon *balloon)
{
	uint32_t poison;

	virtio_device_get_config(balloon->device,
				 offsetof(struct virtio_balloon_config, poison_val), &poison,
				 sizeof(poison));
	return virtio_device_has(balloon->device, VIRTIO_BALLOON_F_PAGE_POISON) && poison;
}

static void report(struct virtio_balloon *balloon, gpa_t gpa, uint64_t pages)
{
	if (discard(balloon, guest_mm_discard, gpa, pages)) {
		atomic_fetch_add(&balloon->reported_pages, pages);
		return;
	}
	atomic_fetch_add(&balloon->wild_pages, pages);
	complain(balloon, BALLOON_WILD_PAGES, gpa,
		 "the driver names pages where there is no memory");
}

/* The next piece of a reported range, from @from on, 0: its start. Return: whether it is the last. */
static bool report_piece(struct virtio_balloon *balloon, const struct chain_segment *range,
			 gpa_t *from)
{
	/* Only pages that are reported as a whole. */
	gpa_t first = (range->gpa + (SAMARA_PAGE_BYTES - 1)) & ~(SAMARA_PAGE_BYTES - 1);
	gpa_t end = (range->gpa + range->length_bytes) & ~(SAMARA_PAGE_BYTES - 1), next;

	if (first < range->gpa)
		return true;
	if (*from > first)
		first = *from;
	if (first >= end)
		return true;
	next = (first & ~(PIECE_BYTES - 1)) + PIECE_BYTES;
	if (end - first < next - first)
		next = end;
	report(balloon, first, (next - first) >> SAMARA_PAGE_SHIFT);
	*from = next;
	return next == end;
}

static int take_report(void *arg, struct descriptor_chain *chain, uint32_t *written_bytes,
		       struct samara_error *err)
{
	struct virtio_balloon *balloon = arg;
	const struct chain_segment *ranges = chain_writable(chain);
	struct balloon_progress *progress = &balloon->progress;
	bool wanted = !pages_are_poisoned(balloon);

	(void)written_bytes;
	(void)err;
	while (wanted && progress->reported < chain->writable_count) {
		if (report_piece(balloon, &ranges[progress->reported], &progress->next)) {
			progress->reported++;
			progress->next = 0;
		}
		if (progress->reported < chain->writable_count &&
		    virtio_device_stopping(balloon->device))
			return VIRTIO_SERVE_LATER;
	}
	progress->reported = 0;
	progress->next = 0;
	return VIRTIO_SERVE_DONE;
}

int balloon_pages_work(struct virtio_balloon *balloon, struct samara_error *err)
{
	int ret;

	ret = virtio_device_serve(balloon->device, BALLOON_INFLATE, inflate, balloon, err);
	if (!ret)
		ret = virtio_device_serve(balloon->device, BALLOON_DEFLATE, deflate, balloon, err);
	if (!ret && virtio_device_has(balloon->device, VIRTIO_BALLOON_F_REPORTING))
		ret = virtio_device_serve(balloon->device, BALLOON_REPORTS, take_report, balloon,
					  err);
	return ret;
}
