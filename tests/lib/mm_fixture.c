/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/asleep.h"
#include "tests/lib/mm_fixture.h"

struct mode mm_modes[] = {{GUEST_MM_ANON, false}, {GUEST_MM_MEMFD, false}, {GUEST_MM_ANON, true}};

static void count_nothing(gpa_t gpa, void *arg)
{
	struct fixture *f = arg;

	f->first_nothing = gpa;
	__atomic_fetch_add(&f->nothing_reports, 1, __ATOMIC_RELEASE);
}

int setup(void **state)
{
	const struct mode *mode = *state;
	struct guest_mm_config config = {
		.fault_around_pages = 16,
		.copy_only = mode->copy_only,
		.first_nothing = count_nothing,
	};
	enum guest_mm_backing other =
		mode->backing == GUEST_MM_ANON ? GUEST_MM_MEMFD : GUEST_MM_ANON;
	struct fixture *f = calloc(1, sizeof(*f));
	struct samara_error err;

	f->mode = mode;
	config.nothing_arg = f;
	*state = f;
	if (guest_mm_create(&config, &f->mm, &err) ||
	    guest_mm_add_window(f->mm, BASE, BASE_BYTES, mode->backing, &err) ||
	    guest_mm_add_window(f->mm, SECOND, SMALL_BYTES, mode->backing, &err) ||
	    guest_mm_add_window(f->mm, OTHER, SMALL_BYTES, other, &err) ||
	    guest_mm_add_window(f->mm, TOP, SMALL_BYTES, mode->backing, &err)) {
		print_error("%s\n", err.text);
		return -1;
	}
	for (unsigned int i = 0; i < 4; i++)
		guest_mm_get_window(f->mm, i, &f->window[i]);
	return 0;
}

int teardown(void **state)
{
	struct fixture *f = *state;

	guest_mm_destroy(f->mm);
	free(f);
	return 0;
}

/* ---- What the guest does --------------------------------------------------------------------- */

char *hva(const struct fixture *f, gpa_t gpa)
{
	for (unsigned int i = 0; i < 4; i++)
		if (gpa - f->window[i].gpa < f->window[i].size_bytes)
			return (char *)f->window[i].hva + (gpa - f->window[i].gpa);
	fail_msg("%#" PRIx64 " is in no window", gpa);
	return NULL;
}

uint64_t peek(const struct fixture *f, gpa_t gpa)
{
	return __atomic_load_n((uint64_t *)hva(f, gpa), __ATOMIC_RELAXED);
}

void poke(const struct fixture *f, gpa_t gpa, uint64_t value)
{
	__atomic_store_n((uint64_t *)hva(f, gpa), value, __ATOMIC_RELAXED);
}

static int settle_region(const struct guest_mm_region *region, void *arg)
{
	struct guest_mm_region *regions = arg;

	while (regions->size_bytes)
		regions++;
	*regions = *region;
	return 0;
}

/*
 * A handler counts what it populated after it has woken who waits. An operation waits for the
 * handlers in its regions: one that changes nothing makes the counters true.
 */
void settle(const struct fixture *f)
{
	struct guest_mm_region regions[65] = {0};
	struct samara_error err;

	guest_mm_for_each_region(f->mm, settle_region, regions);
	for (unsigned int i = 0; regions[i].size_bytes; i++)
		if (guest_mm_protect(f->mm, regions[i].gpa, regions[i].size_bytes, regions[i].prot,
				     &err))
			fail_msg("%s", err.text);
}

/* Write what names the place, at both ends of each page. */
void fill(const struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	for (gpa_t at = gpa; at != gpa + size_bytes; at += PAGE) {
		poke(f, at, at);
		poke(f, at + PAGE - 8, ~at);
	}
}

/* Expect at @gpa what fill() wrote at @was. */
void expect_fill(const struct fixture *f, gpa_t gpa, uint64_t size_bytes, gpa_t was)
{
	for (uint64_t i = 0; i < size_bytes; i += PAGE) {
		assert_int_equal(peek(f, gpa + i), was + i);
		assert_int_equal(peek(f, gpa + i + PAGE - 8), ~(was + i));
	}
}

void expect_zeros(const struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	for (uint64_t i = 0; i < size_bytes; i += PAGE) {
		assert_int_equal(peek(f, gpa + i), 0);
		assert_int_equal(peek(f, gpa + i + PAGE - 8), 0);
	}
}

void sleep_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

uint32_t load(uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void *writer_main(void *arg)
{
	struct writer *writer = arg;

	poke(writer->f, writer->gpa, writer->value);
	__atomic_store_n(&writer->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

struct guest_mm_stats stats(struct fixture *f)
{
	struct guest_mm_stats s;

	guest_mm_get_stats(f->mm, &s);
	return s;
}

/*
 * Start a write, and come back when it is held. It is not counted if an earlier one at that page is
 * still waiting to be looked at again; so do not wait for the counter for ever.
 */
void start_held(struct fixture *f, struct writer *writer, gpa_t gpa, uint64_t value)
{
	uint64_t held = stats(f).faults_held;

	*writer = (struct writer){.f = f, .gpa = gpa, .value = value};
	pthread_create(&writer->thread, NULL, writer_main, writer);
	for (int i = 0; i < 200 && stats(f).faults_held == held && !load(&writer->done); i++)
		sleep_ms(1);
	assert_int_equal(load(&writer->done), 0);
}

/* ---- The listing ----------------------------------------------------------------------------- */

static int note(const struct guest_mm_region *region, void *arg)
{
	struct listing *listing = arg;

	if (listing->count == LISTED_MAX)
		return -E2BIG;
	listing->region[listing->count++] = *region;
	return 0;
}

struct listing list(struct fixture *f)
{
	struct listing listing = {0};

	assert_int_equal(guest_mm_for_each_region(f->mm, note, &listing), 0);
	return listing;
}

/* Unite neighbours that are alike. */
struct listing united(struct listing listing)
{
	unsigned int n = 0;

	for (unsigned int i = 1; i < listing.count; i++) {
		struct guest_mm_region *low = &listing.region[n], *high = &listing.region[i];

		if (low->gpa + low->size_bytes == high->gpa && low->prot == high->prot) {
			low->size_bytes += high->size_bytes;
			low->populated_pages += high->populated_pages;
		} else {
			listing.region[++n] = *high;
		}
	}
	listing.count = listing.count ? n + 1 : 0;
	return listing;
}

void assert_equal_listing(const struct listing *is, const struct listing *before)
{
	struct listing now = *is;

	assert_int_equal(now.count, before->count);
	for (unsigned int i = 0; i < now.count; i++) {
		assert_int_equal(now.region[i].gpa, before->region[i].gpa);
		assert_int_equal(now.region[i].size_bytes, before->region[i].size_bytes);
		assert_int_equal(now.region[i].prot, before->region[i].prot);
		assert_int_equal(now.region[i].backing, before->region[i].backing);
		assert_int_equal(now.region[i].populated_pages, before->region[i].populated_pages);
		assert_false(now.region[i].locked);
	}
}

void assert_same(struct fixture *f, const struct listing *before)
{
	struct listing now = list(f);

	assert_equal_listing(&now, before);
}

/* Expect exactly these regions: "gpa size prot" three by three, gpa 0 ends. */
void expect_regions(struct fixture *f, const uint64_t *want)
{
	struct listing now = list(f);
	unsigned int i = 0;

	for (; want[3 * i + 1]; i++) {
		assert_true(i < now.count);
		assert_int_equal(now.region[i].gpa, want[3 * i]);
		assert_int_equal(now.region[i].size_bytes, want[3 * i + 1]);
		assert_int_equal(now.region[i].prot, want[3 * i + 2]);
	}
	assert_int_equal(now.count, i);
	assert_int_equal(stats(f).regions, i);
}

void ok(int ret, const struct samara_error *err)
{
	if (ret)
		fail_msg("%d: %s", ret, err->text);
}

void plug(struct fixture *f, gpa_t gpa, uint64_t size_bytes, unsigned int prot)
{
	struct samara_error err;

	ok(guest_mm_plug(f->mm, gpa, size_bytes, prot, &err), &err);
}

void unplug(struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	struct samara_error err;

	ok(guest_mm_unplug(f->mm, gpa, size_bytes, &err), &err);
}

void protect(struct fixture *f, gpa_t gpa, uint64_t size_bytes, unsigned int prot)
{
	struct samara_error err;

	ok(guest_mm_protect(f->mm, gpa, size_bytes, prot, &err), &err);
}

void remap(struct fixture *f, gpa_t gpa, uint64_t size_bytes, gpa_t to)
{
	struct samara_error err;

	ok(guest_mm_remap(f->mm, gpa, size_bytes, to, &err), &err);
}

/* ---- Operations ------------------------------------------------------------------------------ */

/* Do it; REMAP tries the range as the target, REMAP_FROM as the source. */
int operate(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes,
	    struct samara_error *err)
{
	switch (operation) {
	case PLUG:
		return guest_mm_plug(f->mm, gpa, size_bytes, GUEST_MM_RDWR, err);
	case UNPLUG:
		return guest_mm_unplug(f->mm, gpa, size_bytes, err);
	case REMAP:
		return guest_mm_remap(f->mm, BASE, size_bytes, gpa, err);
	case REMAP_FROM:
		return guest_mm_remap(f->mm, gpa, size_bytes, BASE + 0x2000000, err);
	case PROTECT:
		return guest_mm_protect(f->mm, gpa, size_bytes, GUEST_MM_READ, err);
	case DISCARD:
		return guest_mm_discard(f->mm, gpa, size_bytes, err);
	default:
		return guest_mm_populate(f->mm, gpa, size_bytes, err);
	}
}

/* Plugged: [0, 16) pages read-write, [16, 24) read-only, a hole, [32, 40) read-write. */
void plug_some(struct fixture *f)
{
	plug(f, BASE, 16 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 32 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 20 * PAGE);
	fill(f, BASE + 32 * PAGE, 8 * PAGE);
	protect(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_READ);
	settle(f);
}

void expect_some(struct fixture *f)
{
	expect_fill(f, BASE, 20 * PAGE, BASE);
	expect_fill(f, BASE + 32 * PAGE, 8 * PAGE, BASE + 32 * PAGE);
}

void *operator_main(void *arg)
{
	struct worker *worker = arg;

	worker->ret = operate(worker->f, worker->operation, worker->gpa, worker->size_bytes, NULL);
	__atomic_store_n(&worker->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

bool is_locked(struct fixture *f, gpa_t gpa)
{
	struct listing now = list(f);

	for (unsigned int i = 0; i < now.count; i++)
		if (gpa - now.region[i].gpa < now.region[i].size_bytes)
			return now.region[i].locked;
	return false;
}

/* Start an operation, and come back when it waits for a pin. */
void start_operation(struct worker *worker)
{
	pthread_create(&worker->thread, NULL, operator_main, worker);
	if (!strcmp(stats(worker->f).lock, "single"))
		wait_asleep(worker->thread);
	else
		while (!is_locked(worker->f, worker->gpa))
			sleep_ms(1);
	sleep_ms(10);
	assert_int_equal(load(&worker->done), 0);
}

/* In a thread of its own, from start to end: the caller holds a pin. */
void elsewhere(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes)
{
	struct worker worker = {
		.f = f, .operation = operation, .gpa = gpa, .size_bytes = size_bytes};

	pthread_create(&worker.thread, NULL, operator_main, &worker);
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
}

static const char *const operation_name[] = {"plug",    "unplug",   "remap to", "remap",
					     "protect", "populate", "discard"};

void expect_error(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes,
		  int code, const char *reason)
{
	struct listing before = list(f);
	uint64_t failed = stats(f).failed_operations;
	struct samara_error err = {0};
	char range[80];
	int ret = operate(f, operation, gpa, size_bytes, &err);

	/* A remap whose size is wrong is named by its source, which is looked at first. */
	snprintf(range, sizeof(range), "%s %#" PRIx64 "+%#" PRIx64 ": ",
		 code == -EINVAL && operation == REMAP ? "remap" : operation_name[operation],
		 code == -EINVAL && operation == REMAP ? BASE : gpa, size_bytes);
	if (ret != code)
		fail_msg("%s%d (%s), not %d", range, ret, err.text, code);
	assert_int_equal(err.code, code);
	if (!strstr(err.text, reason))
		fail_msg("%s does not tell of: %s", err.text, reason);
	if (!strstr(err.text, range) && !(operation == REMAP && strstr(err.text, "remap")))
		fail_msg("%s does not name: %s", err.text, range);
	assert_same(f, &before);
	assert_int_equal(operate(f, operation, gpa, size_bytes, NULL), code);
	if (operation != POPULATE)
		assert_int_equal(stats(f).failed_operations, failed + 2);
}

/* ---- Accounting ------------------------------------------------------------------------------ */

static bool kernel_has(int pagemap, const struct fixture *f, gpa_t gpa)
{
	uint64_t entry;
	off_t offset = (off_t)((uintptr_t)hva(f, gpa) / PAGE * sizeof(entry));

	assert_int_equal(pread(pagemap, &entry, sizeof(entry), offset), sizeof(entry));
	/* Present. Bit 62, swapped, is also set for the marks of write protection. */
	return entry >> 63;
}

/* Pages present by the kernel's view, in the regions (as listed) and in all windows. */
static uint64_t count_kernel(const struct fixture *f, const struct listing *now, uint64_t *in_all)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t in_regions = 0;

	assert_true(pagemap >= 0);
	for (unsigned int i = 0; i < now->count; i++) {
		uint64_t here = 0;

		for (uint64_t k = 0; k < now->region[i].size_bytes; k += PAGE)
			here += kernel_has(pagemap, f, now->region[i].gpa + k);
		assert_int_equal(here, now->region[i].populated_pages);
		in_regions += here;
	}
	*in_all = 0;
	for (unsigned int w = 0; w < 4; w++)
		for (uint64_t k = 0; k < f->window[w].size_bytes; k += PAGE)
			*in_all += kernel_has(pagemap, f, f->window[w].gpa + k);
	close(pagemap);
	return in_regions;
}

/* Our count of what is present, by page and in all, is the kernel's; stray pages go in time. */
void expect_true_accounting(struct fixture *f)
{
	uint64_t in_regions, in_all;
	struct listing now;

	settle(f);
	now = list(f);
	for (unsigned int tries = 0; tries < 3000; tries++) {
		in_regions = count_kernel(f, &now, &in_all);
		if (in_regions == in_all)
			break;
		sleep_ms(2 * GUEST_MM_STRAY_MS);
	}
	assert_int_equal(in_all, in_regions);
	assert_int_equal(stats(f).populated_bytes, in_regions * PAGE);
}
