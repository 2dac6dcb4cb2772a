/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <samara/guest_mm.h>

#include "mm/lock.h"
#include "tests/lib/interpose.h"

/*
 * The guest memory manager, function by function, on each kind of backing. What the guest would do
 * is done by raw accesses through the windows' host addresses.
 */

#define PAGE        SAMARA_PAGE_BYTES
#define BASE        UINT64_C(0x100000000) /* the window that most tests use */
#define BASE_BYTES  (UINT64_C(64) << 20)
#define SECOND      UINT64_C(0x200000000) /* of the same backing */
#define OTHER       UINT64_C(0x300000000) /* of the other backing */
#define SMALL_BYTES (UINT64_C(16) << 20)
#define TOP         (0 - SMALL_BYTES) /* its last byte is the last one there is */

struct mode {
	enum guest_mm_backing backing;
	bool copy_only;
};

static struct mode modes[] = {
	{GUEST_MM_ANON, false}, {GUEST_MM_MEMFD, false}, {GUEST_MM_ANON, true}};

struct fixture {
	const struct mode *mode;
	struct guest_mm *mm;
	struct guest_mm_window window[4];
};

static int setup(void **state)
{
	const struct mode *mode = *state;
	struct guest_mm_config config = {.fault_around_pages = 16, .copy_only = mode->copy_only};
	enum guest_mm_backing other =
		mode->backing == GUEST_MM_ANON ? GUEST_MM_MEMFD : GUEST_MM_ANON;
	struct fixture *f = calloc(1, sizeof(*f));
	struct samara_error err;

	f->mode = mode;
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

static int teardown(void **state)
{
	struct fixture *f = *state;

	guest_mm_destroy(f->mm);
	free(f);
	return 0;
}

/* ---- What the guest does --------------------------------------------------------------------- */

static char *hva(const struct fixture *f, gpa_t gpa)
{
	for (unsigned int i = 0; i < 4; i++)
		if (gpa - f->window[i].gpa < f->window[i].size_bytes)
			return (char *)f->window[i].hva + (gpa - f->window[i].gpa);
	fail_msg("%#" PRIx64 " is in no window", gpa);
	return NULL;
}

static uint64_t peek(const struct fixture *f, gpa_t gpa)
{
	return __atomic_load_n((uint64_t *)hva(f, gpa), __ATOMIC_RELAXED);
}

static void poke(const struct fixture *f, gpa_t gpa, uint64_t value)
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
static void settle(const struct fixture *f)
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
static void fill(const struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	for (gpa_t at = gpa; at != gpa + size_bytes; at += PAGE) {
		poke(f, at, at);
		poke(f, at + PAGE - 8, ~at);
	}
}

/* Expect at @gpa what fill() wrote at @was. */
static void expect_fill(const struct fixture *f, gpa_t gpa, uint64_t size_bytes, gpa_t was)
{
	for (uint64_t i = 0; i < size_bytes; i += PAGE) {
		assert_int_equal(peek(f, gpa + i), was + i);
		assert_int_equal(peek(f, gpa + i + PAGE - 8), ~(was + i));
	}
}

static void expect_zeros(const struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	for (uint64_t i = 0; i < size_bytes; i += PAGE) {
		assert_int_equal(peek(f, gpa + i), 0);
		assert_int_equal(peek(f, gpa + i + PAGE - 8), 0);
	}
}

static void sleep_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

static uint32_t load(uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

/* A vCPU that writes one value, and may be held. */
struct writer {
	struct fixture *f;
	gpa_t gpa;
	uint64_t value;
	uint32_t done; /* atomic */
	pthread_t thread;
};

static void *writer_main(void *arg)
{
	struct writer *writer = arg;

	poke(writer->f, writer->gpa, writer->value);
	__atomic_store_n(&writer->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static struct guest_mm_stats stats(struct fixture *f)
{
	struct guest_mm_stats s;

	guest_mm_get_stats(f->mm, &s);
	return s;
}

/*
 * Start a write, and come back when it is held. It is not counted if an earlier one at that page is
 * still waiting to be looked at again; so do not wait for the counter for ever.
 */
static void start_held(struct fixture *f, struct writer *writer, gpa_t gpa, uint64_t value)
{
	uint64_t held = stats(f).faults_held;

	*writer = (struct writer){.f = f, .gpa = gpa, .value = value};
	pthread_create(&writer->thread, NULL, writer_main, writer);
	for (int i = 0; i < 50 && stats(f).faults_held == held && !load(&writer->done); i++)
		sleep_ms(1);
	assert_int_equal(load(&writer->done), 0);
}

/* ---- The listing ----------------------------------------------------------------------------- */

#define LISTED_MAX 64

struct listing {
	unsigned int count;
	struct guest_mm_region region[LISTED_MAX];
};

static int note(const struct guest_mm_region *region, void *arg)
{
	struct listing *listing = arg;

	if (listing->count == LISTED_MAX)
		return -E2BIG;
	listing->region[listing->count++] = *region;
	return 0;
}

static struct listing list(struct fixture *f)
{
	struct listing listing = {0};

	assert_int_equal(guest_mm_for_each_region(f->mm, note, &listing), 0);
	return listing;
}

/* Unite neighbours that are alike. */
static struct listing united(struct listing listing)
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

static void assert_equal_listing(const struct listing *is, const struct listing *before)
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

static void assert_same(struct fixture *f, const struct listing *before)
{
	struct listing now = list(f);

	assert_equal_listing(&now, before);
}

/* Expect exactly these regions: "gpa size prot" three by three, gpa 0 ends. */
static void expect_regions(struct fixture *f, const uint64_t *want)
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

#define EXPECT_REGIONS(f, ...) expect_regions(f, (const uint64_t[]){__VA_ARGS__ 0, 0, 0})

static void ok(int ret, const struct samara_error *err)
{
	if (ret)
		fail_msg("%d: %s", ret, err->text);
}

static void plug(struct fixture *f, gpa_t gpa, uint64_t size_bytes, unsigned int prot)
{
	struct samara_error err;

	ok(guest_mm_plug(f->mm, gpa, size_bytes, prot, &err), &err);
}

static void unplug(struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	struct samara_error err;

	ok(guest_mm_unplug(f->mm, gpa, size_bytes, &err), &err);
}

static void protect(struct fixture *f, gpa_t gpa, uint64_t size_bytes, unsigned int prot)
{
	struct samara_error err;

	ok(guest_mm_protect(f->mm, gpa, size_bytes, prot, &err), &err);
}

static void remap(struct fixture *f, gpa_t gpa, uint64_t size_bytes, gpa_t to)
{
	struct samara_error err;

	ok(guest_mm_remap(f->mm, gpa, size_bytes, to, &err), &err);
}

/* ---- Making one ------------------------------------------------------------------------------ */

static void test_create(void **state)
{
	struct guest_mm_config odd = {.fault_around_pages = 3},
			       huge = {.fault_around_pages = 1u << 31};
	struct samara_error err = {0};
	struct guest_mm *mm;

	(void)state;
	guest_mm_destroy(NULL);
	assert_int_equal(guest_mm_create(&odd, &mm, &err), -EINVAL);
	assert_non_null(strstr(err.text, "fault_around_pages 3 "));
	assert_int_equal(guest_mm_create(&huge, &mm, NULL), -EINVAL);
	for (unsigned long nth = 1;; nth++) {
		int ret;

		interpose_fail_nth(INTERPOSE_MALLOC | INTERPOSE_MMAP, nth, 1, 0);
		ret = guest_mm_create(NULL, &mm, &err);
		if (!interpose_end()) {
			assert_int_equal(ret, 0);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		assert_true(err.text[0]);
	}
	guest_mm_destroy(mm);
}

static void test_windows(void **state)
{
	struct guest_mm_window window;
	struct samara_error err = {0};
	struct guest_mm *mm;

	(void)state;
	assert_int_equal(guest_mm_create(NULL, &mm, &err), 0);
	assert_int_equal(guest_mm_get_window(mm, 0, &window), -ENOENT);
	assert_int_equal(guest_mm_get_window(mm, UINT32_MAX, &window), -ENOENT);
	assert_int_equal(guest_mm_add_window(mm, 0x1001, PAGE, GUEST_MM_ANON, &err), -EINVAL);
	assert_non_null(strstr(err.text, "window 0x1001+0x1000: "));
	assert_int_equal(guest_mm_add_window(mm, 0x1000, PAGE + 1, GUEST_MM_ANON, &err), -EINVAL);
	assert_int_equal(guest_mm_add_window(mm, 0x1000, 0, GUEST_MM_ANON, &err), -EINVAL);
	assert_int_equal(guest_mm_add_window(mm, 0 - PAGE, 2 * PAGE, GUEST_MM_ANON, &err), -EINVAL);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(guest_mm_add_window(mm, (i + 1) * 0x10000, 0x8000,
						     i & 1 ? GUEST_MM_MEMFD : GUEST_MM_ANON, &err),
				 0);
	assert_int_equal(guest_mm_add_window(mm, 0x17000, PAGE, GUEST_MM_ANON, &err), -EEXIST);
	assert_non_null(strstr(err.text, "0x10000"));
	assert_int_equal(guest_mm_add_window(mm, 0x1000, 0x20000, GUEST_MM_ANON, &err), -EEXIST);
	assert_int_equal(guest_mm_add_window(mm, 0x100000, PAGE, GUEST_MM_ANON, &err), -ENOSPC);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(guest_mm_get_window(mm, i, &window), 0);
		assert_int_equal(window.gpa, (i + 1) * 0x10000);
		assert_int_equal(window.size_bytes, 0x8000);
		assert_int_equal(window.fd >= 0, i & 1);
		assert_int_equal(window.backing, i & 1 ? GUEST_MM_MEMFD : GUEST_MM_ANON);
	}
	assert_int_equal(guest_mm_get_window(mm, 8, &window), -ENOENT);
	guest_mm_destroy(mm);
}

/* ---- Errors ---------------------------------------------------------------------------------- */

enum operation {
	PLUG,
	UNPLUG,
	REMAP,
	REMAP_FROM,
	PROTECT,
	POPULATE,
	OPERATIONS
};

static const char *const operation_name[] = {"plug",  "unplug",  "remap to",
					     "remap", "protect", "populate"};

/* Do it; REMAP tries the range as the target, REMAP_FROM as the source. */
static int operate(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes,
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
	default:
		return guest_mm_populate(f->mm, gpa, size_bytes, err);
	}
}

/* Plugged: [0, 16) pages read-write, [16, 24) read-only, a hole, [32, 40) read-write. */
static void plug_some(struct fixture *f)
{
	plug(f, BASE, 16 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 32 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 20 * PAGE);
	fill(f, BASE + 32 * PAGE, 8 * PAGE);
	protect(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_READ);
	settle(f);
}

static void expect_some(struct fixture *f)
{
	expect_fill(f, BASE, 20 * PAGE, BASE);
	expect_fill(f, BASE + 32 * PAGE, 8 * PAGE, BASE + 32 * PAGE);
}

static void expect_error(struct fixture *f, enum operation operation, gpa_t gpa,
			 uint64_t size_bytes, int code, const char *reason)
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

static void test_bad_ranges(void **state)
{
	struct fixture *f = *state;

	plug_some(f);
	for (enum operation o = PLUG; o < OPERATIONS; o++) {
		expect_error(f, o, BASE + 64 * PAGE, 0, -EINVAL, "empty");
		expect_error(f, o, BASE + 64 * PAGE, PAGE + 8, -EINVAL, "aligned");
		if (o != REMAP) {
			expect_error(f, o, BASE + 64 * PAGE + 1, PAGE, -EINVAL, "aligned");
			expect_error(f, o, BASE, 0 - PAGE, -EINVAL, "end of the address space");
			expect_error(f, o, TOP + SMALL_BYTES - PAGE, 2 * PAGE, -EINVAL,
				     "end of the address space");
		}
		expect_error(f, o, 0, PAGE, -ERANGE, "window");
		expect_error(f, o, BASE - PAGE, PAGE, -ERANGE, "window");
		expect_error(f, o, BASE - PAGE, 2 * PAGE, -ERANGE, "window");
		expect_error(f, o, BASE + BASE_BYTES - PAGE, 2 * PAGE, -ERANGE, "window");
		expect_error(f, o, BASE + BASE_BYTES, PAGE, -ERANGE, "window");
	}
	for (enum operation o = UNPLUG; o < OPERATIONS; o++) {
		if (o == REMAP)
			continue;
		expect_error(f, o, BASE + 64 * PAGE, PAGE, -ENOENT, "0x100040000");
		expect_error(f, o, BASE + 23 * PAGE, 2 * PAGE, -ENOENT, "0x100018000");
		expect_error(f, o, BASE + 31 * PAGE, 2 * PAGE, -ENOENT, "0x10001f000");
		expect_error(f, o, BASE, 40 * PAGE, -ENOENT, "0x100018000");
		expect_error(f, o, BASE + 39 * PAGE, 2 * PAGE, -ENOENT, "0x100028000");
	}
	for (enum operation o = PLUG; o <= REMAP; o++) {
		if (o == UNPLUG)
			continue;
		expect_error(f, o, BASE + 35 * PAGE, PAGE, -EEXIST, "0x100020000+0x8000");
		expect_error(f, o, BASE + 31 * PAGE, 2 * PAGE, -EEXIST, "0x100020000+0x8000");
		expect_error(f, o, BASE + 39 * PAGE, 2 * PAGE, -EEXIST, "0x100020000+0x8000");
		expect_error(f, o, BASE + 31 * PAGE, 10 * PAGE, -EEXIST, "0x100020000+0x8000");
	}
	expect_some(f);
}

static void test_bad_arguments(void **state)
{
	struct fixture *f = *state;
	struct samara_error err = {0};
	struct listing before;

	plug_some(f);
	before = list(f);
	for (unsigned int prot = 0; prot < 8; prot++) {
		if (prot == GUEST_MM_READ || prot == GUEST_MM_RDWR)
			continue;
		assert_int_equal(guest_mm_plug(f->mm, BASE + 64 * PAGE, PAGE, prot, &err), -EINVAL);
		assert_non_null(strstr(err.text, "plug 0x100040000+0x1000: protection"));
		assert_int_equal(guest_mm_protect(f->mm, BASE, PAGE, prot, &err), -EINVAL);
	}
	/* Remap onto itself, and onto a window of another kind. */
	assert_int_equal(guest_mm_remap(f->mm, BASE, 8 * PAGE, BASE, &err), -EINVAL);
	assert_non_null(strstr(err.text, "overlaps"));
	assert_int_equal(guest_mm_remap(f->mm, BASE + 32 * PAGE, 8 * PAGE, BASE + 39 * PAGE, &err),
			 -EINVAL);
	assert_int_equal(guest_mm_remap(f->mm, BASE + 32 * PAGE, 8 * PAGE, BASE + 25 * PAGE, &err),
			 -EINVAL);
	assert_int_equal(guest_mm_remap(f->mm, BASE, 8 * PAGE, OTHER, &err), -EXDEV);
	assert_non_null(strstr(err.text, "remap 0x100000000+0x8000: "));
	assert_same(f, &before);
	expect_some(f);
}

/* ---- Split and merge ------------------------------------------------------------------------- */

/* Each part of a region of eight pages goes, comes back, is protected, is moved away and back. */
static void test_split_and_merge(void **state)
{
	struct fixture *f = *state;
	const gpa_t base = BASE + 5 * PAGE;

	for (uint64_t a = 0; a < 8; a++) {
		for (uint64_t b = a + 1; b <= 8; b++) {
			gpa_t from = base + a * PAGE, to = base + b * PAGE,
			      away = BASE + 100 * PAGE;
			uint64_t size = to - from;
			uint64_t parts[16] = {0}, n = 0;

			plug(f, base, 8 * PAGE, GUEST_MM_RDWR);
			fill(f, base, 8 * PAGE);
			protect(f, from, size, GUEST_MM_READ);
			if (a)
				memcpy(parts + 3 * n++, (uint64_t[]){base, a * PAGE, 3}, 24);
			memcpy(parts + 3 * n++, (uint64_t[]){from, size, 1}, 24);
			if (b < 8)
				memcpy(parts + 3 * n++, (uint64_t[]){to, (8 - b) * PAGE, 3}, 24);
			expect_regions(f, parts);
			expect_fill(f, base, 8 * PAGE, base);
			protect(f, from, size, GUEST_MM_RDWR);
			EXPECT_REGIONS(f, base, 8 * PAGE, 3, );
			expect_fill(f, base, 8 * PAGE, base);

			remap(f, from, size, away);
			expect_fill(f, away, size, from);
			n = 0;
			memset(parts, 0, sizeof(parts));
			if (a)
				memcpy(parts + 3 * n++, (uint64_t[]){base, a * PAGE, 3}, 24);
			if (b < 8)
				memcpy(parts + 3 * n++, (uint64_t[]){to, (8 - b) * PAGE, 3}, 24);
			memcpy(parts + 3 * n, (uint64_t[]){away, size, 3}, 24);
			expect_regions(f, parts);
			remap(f, away, size, from);
			EXPECT_REGIONS(f, base, 8 * PAGE, 3, );
			expect_fill(f, base, 8 * PAGE, base);

			unplug(f, from, size);
			memset(parts + 3 * n, 0, 24);
			expect_regions(f, parts);
			if (a)
				expect_fill(f, base, a * PAGE, base);
			if (b < 8)
				expect_fill(f, to, (8 - b) * PAGE, to);
			plug(f, from, size, GUEST_MM_RDWR);
			EXPECT_REGIONS(f, base, 8 * PAGE, 3, );
			expect_zeros(f, from, size);
			unplug(f, base, 8 * PAGE);
			EXPECT_REGIONS(f, );
		}
	}
	assert_int_equal(stats(f).populated_bytes, 0);
	assert_int_equal(stats(f).plugged_bytes, 0);
}

/* Neighbours of different protection, or of different windows, stay apart. */
static void test_no_merge(void **state)
{
	struct fixture *f = *state;

	plug(f, BASE, PAGE, GUEST_MM_RDWR);
	plug(f, BASE + PAGE, PAGE, GUEST_MM_READ);
	plug(f, BASE + 2 * PAGE, PAGE, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, BASE, PAGE, 3, BASE + PAGE, PAGE, 1, BASE + 2 * PAGE, PAGE, 3, );
	/* The middle one comes to be like both. */
	protect(f, BASE + PAGE, PAGE, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, BASE, 3 * PAGE, 3, );
	protect(f, BASE, 3 * PAGE, GUEST_MM_READ);
	EXPECT_REGIONS(f, BASE, 3 * PAGE, 1, );
}

static void test_unplug_over_several_regions(void **state)
{
	struct fixture *f = *state;

	plug_some(f);
	protect(f, BASE + 4 * PAGE, PAGE, GUEST_MM_READ);
	unplug(f, BASE + 2 * PAGE, 20 * PAGE);
	EXPECT_REGIONS(f, BASE, 2 * PAGE, 3, BASE + 22 * PAGE, 2 * PAGE, 1, BASE + 32 * PAGE,
		       8 * PAGE, 3, );
	expect_fill(f, BASE, 2 * PAGE, BASE);
	plug(f, BASE + 2 * PAGE, 20 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE + 2 * PAGE, 20 * PAGE);
	unplug(f, BASE, 24 * PAGE);
	expect_fill(f, BASE + 32 * PAGE, 8 * PAGE, BASE + 32 * PAGE);
	EXPECT_REGIONS(f, BASE + 32 * PAGE, 8 * PAGE, 3, );
}

/* ---- Accesses to nothing --------------------------------------------------------------------- */

/* In GUEST_MM_STRAY_MS; far more only where the machine is busy with something else. */
static void expect_forgotten(const struct fixture *f, gpa_t gpa)
{
	for (unsigned int i = 0; i < 500 && peek(f, gpa); i++)
		sleep_ms(GUEST_MM_STRAY_MS);
	assert_int_equal(peek(f, gpa), 0);
}

static void test_stray(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_stats before = stats(f), after;

	plug(f, BASE, PAGE, GUEST_MM_RDWR);
	fill(f, BASE, PAGE);
	assert_int_equal(peek(f, BASE + PAGE + 8), 0);
	do
		after = stats(f); /* counted after the access goes on */
	while (after.last_nothing_gpa == before.last_nothing_gpa);
	assert_int_equal(after.faults_nothing, before.faults_nothing + 1);
	assert_int_equal(after.last_nothing_gpa & ~(PAGE - 1), BASE + PAGE);
	poke(f, BASE + 10 * PAGE, 77);
	expect_forgotten(f, BASE + 10 * PAGE);
	assert_int_equal(stats(f).populated_bytes, PAGE);
	/* Many more than there are stray pages at once. */
	for (uint64_t i = 20; i < 400; i++) {
		poke(f, BASE + i * PAGE, 5);
		assert_true(peek(f, BASE + i * PAGE) == 5 || peek(f, BASE + i * PAGE) == 0);
	}
	for (uint64_t i = 20; i < 400; i++)
		expect_forgotten(f, BASE + i * PAGE);
	/* After an unplug as well, and the old contents are not there. */
	unplug(f, BASE, PAGE);
	assert_int_equal(peek(f, BASE), 0);
	assert_int_equal(guest_mm_read(f->mm, BASE, &after, 8), -EFAULT);
}

/* A stray page never becomes a region's: what was written to nothing is not there, what is written
 * to the region stays, whenever the stray page would have expired. */
static void test_plug_over_stray(void **state)
{
	struct fixture *f = *state;

	for (unsigned int round = 0; round < 30; round++) {
		gpa_t at = BASE + round * 4 * PAGE, from = SECOND + round * 4 * PAGE;

		poke(f, at + PAGE, 0xbad);
		plug(f, at, 4 * PAGE, GUEST_MM_RDWR);
		expect_zeros(f, at, 4 * PAGE);
		fill(f, at, 4 * PAGE);
		/* The same for the target of a remap. */
		poke(f, from + 2 * PAGE, 0xbad);
		remap(f, at, 4 * PAGE, from);
		expect_fill(f, from, 4 * PAGE, at);
		poke(f, at, 0xbad);
		if (round % 8 == 7)
			sleep_ms(3 * GUEST_MM_STRAY_MS);
		expect_fill(f, from, 4 * PAGE, at);
	}
	sleep_ms(3 * GUEST_MM_STRAY_MS);
	for (unsigned int round = 0; round < 30; round++)
		expect_fill(f, SECOND + round * 4 * PAGE, 4 * PAGE, BASE + round * 4 * PAGE);
}

/* ---- Protection ------------------------------------------------------------------------------ */

static void prepare_read_only(struct fixture *f)
{
	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 4 * PAGE); /* fault-around brings all eight */
	protect(f, BASE, 8 * PAGE, GUEST_MM_READ);
}

static void test_protect_holds_writers(void **state)
{
	struct fixture *f = *state;
	struct writer writer, missing;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	expect_fill(f, BASE, 4 * PAGE, BASE); /* readers go on */
	sleep_ms(20);
	assert_int_equal(load(&writer.done), 0);
	assert_int_equal(peek(f, BASE + PAGE), BASE + PAGE);
	/* Operations elsewhere do not let it through, nor do strays. */
	plug(f, BASE + 64 * PAGE, PAGE, GUEST_MM_RDWR);
	poke(f, BASE + 80 * PAGE, 1);
	sleep_ms(20);
	assert_int_equal(load(&writer.done), 0);
	protect(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	pthread_join(writer.thread, NULL);
	assert_int_equal(peek(f, BASE + PAGE), 99);
	/* A page that is not there yet is brought in read-only. */
	plug(f, BASE + 16 * PAGE, 4 * PAGE, GUEST_MM_READ);
	start_held(f, &missing, BASE + 17 * PAGE, 98);
	expect_zeros(f, BASE + 16 * PAGE, 4 * PAGE);
	protect(f, BASE + 17 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(missing.thread, NULL);
	assert_int_equal(peek(f, BASE + 17 * PAGE), 98);
}

static void test_let_go_releases_held(void **state)
{
	struct fixture *f = *state;
	struct writer writer;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	guest_mm_let_go(f->mm);
	pthread_join(writer.thread, NULL);
	assert_int_equal(peek(f, BASE + PAGE), 99);
	poke(f, BASE + 2 * PAGE, 98); /* nor is a later one held */
	assert_int_equal(peek(f, BASE + 2 * PAGE), 98);
	assert_int_equal(guest_mm_hold_again(f->mm, NULL), 0);
	start_held(f, &writer, BASE + PAGE, 97);
	assert_int_equal(peek(f, BASE + PAGE), 99);
	protect(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	pthread_join(writer.thread, NULL);
}

static void test_unplug_releases_held(void **state)
{
	struct fixture *f = *state;
	struct writer writer;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	unplug(f, BASE, 8 * PAGE);
	pthread_join(writer.thread, NULL);
	/* It wrote into nothing. */
	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE, 8 * PAGE);
}

static void test_remap_releases_held(void **state)
{
	struct fixture *f = *state;
	struct writer writer, again;

	prepare_read_only(f);
	start_held(f, &writer, BASE + PAGE, 99);
	remap(f, BASE, 8 * PAGE, BASE + 64 * PAGE);
	pthread_join(writer.thread, NULL);
	expect_fill(f, BASE + 64 * PAGE, 4 * PAGE, BASE);
	EXPECT_REGIONS(f, BASE + 64 * PAGE, 8 * PAGE, 1, );
	/* At the new place it is read-only as before: what was there and what is faulted in. */
	start_held(f, &again, BASE + 65 * PAGE, 99);
	sleep_ms(5);
	assert_int_equal(load(&again.done), 0);
	assert_int_equal(peek(f, BASE + 65 * PAGE), BASE + PAGE);
	protect(f, BASE + 64 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	pthread_join(again.thread, NULL);
	assert_int_equal(peek(f, BASE + 65 * PAGE), 99);
}

/* Two regions of different protection move together; each stays what it was. */
static void test_remap_keeps_protection(void **state)
{
	struct fixture *f = *state;
	struct writer held;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 24 * PAGE);
	protect(f, BASE + 8 * PAGE, 30 * PAGE, GUEST_MM_READ);
	remap(f, BASE + 4 * PAGE, 50 * PAGE, SECOND + PAGE);
	EXPECT_REGIONS(f, BASE, 4 * PAGE, 3, BASE + 54 * PAGE, 10 * PAGE, 3, SECOND + PAGE,
		       4 * PAGE, 3, SECOND + 5 * PAGE, 30 * PAGE, 1, SECOND + 35 * PAGE, 16 * PAGE,
		       3, );
	expect_fill(f, SECOND + PAGE, 20 * PAGE, BASE + 4 * PAGE);
	poke(f, SECOND + PAGE, 1);
	poke(f, SECOND + 40 * PAGE, 1);
	start_held(f, &held, SECOND + 5 * PAGE, 5); /* moved */
	protect(f, SECOND + 5 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	start_held(f, &held, SECOND + 34 * PAGE, 5); /* faulted in */
	protect(f, SECOND + 34 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
}

/* ---- Remap ----------------------------------------------------------------------------------- */

/* Populated and missing pages in turns, over and over, within a window and between two. */
static void test_remap_keeps_every_byte(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = 308 * PAGE;
	gpa_t at = BASE + 7 * PAGE;
	unsigned char *bytes = malloc(size), *back = malloc(size);

	plug(f, at, size, GUEST_MM_RDWR);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)((i >> 12) * 31 + i * 7 + (i >> 8));
	for (uint64_t i = 0; i < size; i += 3 * 32 * PAGE)
		assert_int_equal(guest_mm_write(f->mm, at + i, bytes + i, 20 * PAGE), 0);
	for (uint64_t i = 0; i < size; i += PAGE)
		if (i / PAGE % 96 >= 20)
			memset(bytes + i, 0, PAGE);
	for (unsigned int round = 0; round < 12; round++) {
		gpa_t to = round & 1 ? BASE + (7 + round * 310) * PAGE : SECOND + round * PAGE;
		uint64_t populated = stats(f).populated_bytes;

		remap(f, at, size, to);
		assert_int_equal(stats(f).populated_bytes, populated);
		assert_int_equal(guest_mm_read(f->mm, at, back, 8), -EFAULT);
		at = to;
		if (round != 5 && round != 11)
			continue;
		memset(back, 0x5a, size);
		assert_int_equal(guest_mm_read(f->mm, at, back, size), 0);
		assert_memory_equal(back, bytes, size);
		for (uint64_t i = 0; i < size; i += 8) {
			uint64_t want;

			memcpy(&want, bytes + i, 8);
			assert_int_equal(peek(f, at + i), want);
		}
	}
	free(bytes);
	free(back);
	EXPECT_REGIONS(f, at, size, 3, );
}

/* ---- Pins ------------------------------------------------------------------------------------ */

static void test_pin_errors(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin;

	plug_some(f);
	assert_int_equal(guest_mm_pin(f->mm, BASE, 0, false, &pin), -EINVAL);
	assert_int_equal(pin.iov_count, 0);
	assert_int_equal(guest_mm_pin(f->mm, BASE, UINT64_MAX, false, &pin), -EINVAL);
	assert_int_equal(guest_mm_pin(f->mm, UINT64_MAX, 2, false, &pin), -EINVAL);
	assert_int_equal(guest_mm_pin(f->mm, 0, 1, false, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 24 * PAGE, 1, false, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 24 * PAGE - 1, 2, false, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 15 * PAGE, 2 * PAGE, true, &pin), -EFAULT);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 15 * PAGE, 2 * PAGE, false, &pin), 0);
	assert_int_equal(pin.iov_count, 2);
	guest_mm_unpin(&pin);
	guest_mm_unpin(&pin);       /* of nothing: nothing */
	unplug(f, BASE, 24 * PAGE); /* no failed pin holds anything */
	unplug(f, BASE + 32 * PAGE, 8 * PAGE);
}

static void test_pin_over_regions(void **state)
{
	struct fixture *f = *state;
	const unsigned int max = GUEST_MM_PIN_REGIONS;
	struct guest_mm_pin pin;
	gpa_t at = BASE;

	/* Alternate protections: every page a region of its own. */
	plug(f, BASE, (max + 1) * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, (max + 1) * PAGE);
	for (unsigned int i = 0; i <= max; i += 2)
		protect(f, BASE + i * PAGE, PAGE, GUEST_MM_READ);
	assert_int_equal(guest_mm_pin(f->mm, BASE, (max + 1) * PAGE, false, &pin), -E2BIG);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 5, max * PAGE - 5 + 1, false, &pin), -E2BIG);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 5, max * PAGE - 5, false, &pin), 0);
	assert_int_equal(pin.iov_count, max);
	for (unsigned int i = 0; i < max; i++) {
		uint64_t skip = i ? 0 : 5;

		assert_ptr_equal(pin.iov[i].iov_base, hva(f, at + skip));
		assert_int_equal(pin.iov[i].iov_len, PAGE - skip);
		at += PAGE;
	}
	guest_mm_unpin(&pin);
	unplug(f, BASE, (max + 1) * PAGE);
}

/* The pages of a pin are there before it is: the host's access never faults. */
static void test_pin_populates(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin;
	uint64_t faults;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 3 * PAGE + 100, 20 * PAGE, true, &pin), 0);
	faults = stats(f).faults;
	assert_int_equal(stats(f).populated_bytes, 21 * PAGE);
	memset(pin.iov[0].iov_base, 7, pin.iov[0].iov_len);
	assert_int_equal(stats(f).faults, faults);
	guest_mm_unpin(&pin);
	assert_int_equal(peek(f, BASE + 4 * PAGE), UINT64_C(0x0707070707070707));
	assert_int_equal(stats(f).pins, 1);
}

/* An operation in a thread of its own. */
struct worker {
	struct fixture *f;
	enum operation operation;
	gpa_t gpa;
	uint64_t size_bytes;
	uint32_t done; /* atomic */
	int ret;
	pthread_t thread;
};

static void *operator_main(void *arg)
{
	struct worker *worker = arg;

	worker->ret = operate(worker->f, worker->operation, worker->gpa, worker->size_bytes, NULL);
	__atomic_store_n(&worker->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static bool is_locked(struct fixture *f, gpa_t gpa)
{
	struct listing now = list(f);

	for (unsigned int i = 0; i < now.count; i++)
		if (gpa - now.region[i].gpa < now.region[i].size_bytes)
			return now.region[i].locked;
	return false;
}

/* Start an operation, and come back when it waits for a pin. */
static void start_operation(struct worker *worker)
{
	pthread_create(&worker->thread, NULL, operator_main, worker);
	if (!strcmp(stats(worker->f).lock, "single"))
		sleep_ms(30);
	else
		while (!is_locked(worker->f, worker->gpa))
			sleep_ms(1);
	sleep_ms(10);
	assert_int_equal(load(&worker->done), 0);
}

static void test_operations_wait_for_pins(void **state)
{
	struct fixture *f = *state;

	for (enum operation o = UNPLUG; o <= PROTECT; o++) {
		struct worker worker = {.f = f, .operation = o, .size_bytes = 8 * PAGE};
		struct guest_mm_pin pin;

		if (o == REMAP)
			continue;
		worker.gpa = BASE + (uint64_t)o * 100 * PAGE;
		plug(f, worker.gpa, 8 * PAGE, GUEST_MM_RDWR);
		assert_int_equal(guest_mm_pin(f->mm, worker.gpa + 2 * PAGE, 16, true, &pin), 0);
		start_operation(&worker);
		/* The pin holds what it held: the DMA lands. */
		memset(pin.iov[0].iov_base, 0x11, 16);
		assert_int_equal(((volatile char *)pin.iov[0].iov_base)[3], 0x11);
		guest_mm_unpin(&pin);
		pthread_join(worker.thread, NULL);
		assert_int_equal(worker.ret, 0);
	}
	assert_int_equal(peek(f, BASE + 0x2000000 + 2 * PAGE), UINT64_C(0x1111111111111111));
}

/* With a pin held elsewhere all the time, every operation goes through. */
static void test_operations_wait_for_no_other_pins(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin;

	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	plug(f, BASE + 16 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	if (!strcmp(stats(f).lock, "single")) {
		print_message("# SKIP LOCK=single: every operation waits for every pin\n");
		skip();
	}
	assert_int_equal(guest_mm_pin(f->mm, BASE, 8 * PAGE, true, &pin), 0);
	for (unsigned int round = 0; round < 20; round++) {
		struct worker worker = {.f = f, .size_bytes = 8 * PAGE};

		/* Another thread: this one holds a pin. */
		for (enum operation o = PLUG; o < OPERATIONS; o++) {
			static const enum operation order[] = {POPULATE, PROTECT,    UNPLUG,
							       PLUG,     REMAP_FROM, UNPLUG};

			worker.operation = order[o];
			worker.gpa = o == 5 ? BASE + 0x2000000 : BASE + 16 * PAGE;
			pthread_create(&worker.thread, NULL, operator_main, &worker);
			pthread_join(worker.thread, NULL);
			assert_int_equal(worker.ret, 0);
		}
		worker.operation = PLUG;
		worker.gpa = BASE + 16 * PAGE;
		pthread_create(&worker.thread, NULL, operator_main, &worker);
		pthread_join(worker.thread, NULL);
		assert_int_equal(worker.ret, 0);
	}
	guest_mm_unpin(&pin);
}

/* In a thread of its own, from start to end: the caller holds a pin. */
static void elsewhere(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes)
{
	struct worker worker = {
		.f = f, .operation = operation, .gpa = gpa, .size_bytes = size_bytes};

	pthread_create(&worker.thread, NULL, operator_main, &worker);
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
}

/*
 * A region that is held delays nobody: a change of nothing waits for none. Where holders are known by
 * their range it is merged, else it is left alone.
 */
static void test_merge_waits_for_nobody(void **state)
{
	struct fixture *f = *state;
	bool by_range = !strncmp(stats(f).lock, "region", 6) || !strcmp(stats(f).lock, "range");
	struct guest_mm_pin pin;

	plug(f, BASE, 4 * PAGE, GUEST_MM_RDWR);
	if (!strcmp(stats(f).lock, "single")) {
		print_message("# SKIP LOCK=single: every operation waits for every pin\n");
		skip();
	}
	assert_int_equal(guest_mm_pin(f->mm, BASE, PAGE, true, &pin), 0);
	elsewhere(f, PLUG, BASE + 4 * PAGE, 4 * PAGE);
	if (by_range)
		EXPECT_REGIONS(f, BASE, 8 * PAGE, 3, );
	else
		EXPECT_REGIONS(f, BASE, 4 * PAGE, 3, BASE + 4 * PAGE, 4 * PAGE, 3, );
	elsewhere(f, UNPLUG, BASE + 6 * PAGE, 2 * PAGE);
	guest_mm_unpin(&pin);
	/* The next operation there unites them. */
	plug(f, BASE + 6 * PAGE, 2 * PAGE, GUEST_MM_RDWR);
	protect(f, BASE, 8 * PAGE, GUEST_MM_READ);
	EXPECT_REGIONS(f, BASE, 8 * PAGE, 1, );
}

/* Who holds a pin gets -EAGAIN where it would have to wait, and a circle cannot close. */
static void test_pin_again(void **state)
{
	struct fixture *f = *state;
	struct worker worker = {.f = f, .operation = UNPLUG, .gpa = BASE, .size_bytes = 8 * PAGE};
	struct guest_mm_pin pin, second;

	plug(f, BASE, 8 * PAGE, GUEST_MM_RDWR);
	plug(f, SECOND, 8 * PAGE, GUEST_MM_RDWR);
	assert_int_equal(guest_mm_pin(f->mm, BASE, PAGE, true, &pin), 0);
	start_operation(&worker);
	if (strcmp(stats(f).lock, "single")) {
		assert_int_equal(guest_mm_pin(f->mm, BASE + PAGE, PAGE, true, &second), -EAGAIN);
		assert_int_equal(second.iov_count, 0);
		assert_int_equal(guest_mm_read(f->mm, BASE + PAGE, &second, 8), -EAGAIN);
	}
	/* Elsewhere there is nothing to wait for. */
	assert_int_equal(guest_mm_pin(f->mm, SECOND, PAGE, true, &second), 0);
	assert_int_equal(load(&worker.done), 0);
	guest_mm_unpin(&second);
	guest_mm_unpin(&pin);
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
	assert_int_equal(guest_mm_pin(f->mm, BASE, PAGE, true, &pin), -EFAULT);
}

/* More pins than a thread has slots. */
static void test_many_pins(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_pin pin[40];

	for (unsigned int i = 0; i < 40; i++) {
		plug(f, BASE + 2 * i * PAGE, PAGE, GUEST_MM_RDWR);
		poke(f, BASE + 2 * i * PAGE, i);
	}
	for (unsigned int i = 0; i < 40; i++)
		assert_int_equal(guest_mm_pin(f->mm, BASE + 2 * i * PAGE, 8, true, &pin[i]), 0);
	for (unsigned int i = 0; i < 40; i++) {
		assert_int_equal(*(uint64_t *)pin[i * 7 % 40].iov[0].iov_base, i * 7 % 40);
		guest_mm_unpin(&pin[i * 7 % 40]);
	}
	for (unsigned int i = 0; i < 40; i++)
		unplug(f, BASE + 2 * i * PAGE, PAGE);
}

static void test_read_and_write(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = 40 * PAGE;
	unsigned char *bytes = malloc(size), *back = malloc(size);

	plug(f, BASE, size, GUEST_MM_RDWR);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 13 + (i >> 9));
	assert_int_equal(guest_mm_write(f->mm, BASE, bytes, size), 0);
	/* More regions than a pin has room for; reading goes over all of them. */
	for (unsigned int i = 0; i < 30; i += 2)
		protect(f, BASE + i * PAGE, PAGE, GUEST_MM_READ);
	for (uint64_t from = 0; from < 3 * PAGE; from += 1111)
		for (uint64_t length = 1; length < size - from; length = length * 3 + 777) {
			memset(back, 0, length);
			assert_int_equal(guest_mm_read(f->mm, BASE + from, back, length), 0);
			assert_memory_equal(back, bytes + from, length);
		}
	assert_int_equal(guest_mm_read(f->mm, BASE, back, 0), 0);
	assert_int_equal(guest_mm_write(f->mm, BASE + PAGE - 1, bytes, 2), 0 - EFAULT);
	assert_int_equal(guest_mm_write(f->mm, BASE + PAGE, "samara", 6), 0);
	assert_int_equal(guest_mm_read(f->mm, BASE + PAGE, back, 6), 0);
	assert_memory_equal(back, "samara", 6);
	assert_int_equal(guest_mm_read(f->mm, BASE + size - 1, back, 2), -EFAULT);
	assert_int_equal(guest_mm_read(f->mm, UINT64_MAX, back, 2), -EINVAL);
	assert_int_equal(guest_mm_write(f->mm, 0, back, 2), -EFAULT);
	free(bytes);
	free(back);
}

/* ---- Population and accounting --------------------------------------------------------------- */

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
static void expect_true_accounting(struct fixture *f)
{
	uint64_t in_regions, in_all;
	struct listing now;

	settle(f);
	now = list(f);
	for (unsigned int tries = 0; tries < 100; tries++) {
		in_regions = count_kernel(f, &now, &in_all);
		if (in_regions == in_all)
			break;
		sleep_ms(2 * GUEST_MM_STRAY_MS);
	}
	assert_int_equal(in_all, in_regions);
	assert_int_equal(stats(f).populated_bytes, in_regions * PAGE);
}

static void test_accounting(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;

	plug_some(f);
	expect_true_accounting(f);
	poke(f, BASE + 28 * PAGE, 1); /* stray */
	plug(f, SECOND, 100 * PAGE, GUEST_MM_READ);
	peek(f, SECOND + 50 * PAGE);
	expect_true_accounting(f);
	ok(guest_mm_populate(f->mm, SECOND + PAGE, 98 * PAGE, &err), &err);
	assert_int_equal(stats(f).populated_bytes, (24 + 8 + 98) * PAGE);
	expect_true_accounting(f);
	remap(f, SECOND + 20 * PAGE, 50 * PAGE, BASE + 200 * PAGE);
	expect_true_accounting(f);
	remap(f, BASE + 3 * PAGE, 20 * PAGE, BASE + 300 * PAGE);
	expect_true_accounting(f);
	unplug(f, BASE + 210 * PAGE, 10 * PAGE);
	expect_true_accounting(f);
	assert_int_equal(stats(f).plugged_bytes, (16 + 8 + 8 + 100 - 10) * PAGE);
	assert_int_equal(stats(f).windows, 4);
}

/* Populating: all of it, over several regions, read-only ones too; nobody waits afterwards. */
static void test_populate(void **state)
{
	struct fixture *f = *state;
	struct samara_error err;
	uint64_t faults;

	plug_some(f);
	plug(f, BASE + 24 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	ok(guest_mm_populate(f->mm, BASE, 40 * PAGE, &err), &err);
	assert_int_equal(stats(f).populated_bytes, 40 * PAGE);
	faults = stats(f).faults;
	expect_some(f);
	expect_zeros(f, BASE + 24 * PAGE, 8 * PAGE);
	assert_int_equal(stats(f).faults, faults);
	ok(guest_mm_populate(f->mm, BASE, 40 * PAGE, &err), &err);
	expect_error(f, POPULATE, BASE + 30 * PAGE, 20 * PAGE, -ENOENT, "0x100028000");
}

static uint64_t resident_bytes(void)
{
	unsigned long size, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return pages * PAGE;
}

static void test_unplug_gives_memory_back(void **state)
{
	struct fixture *f = *state;
	const uint64_t size = UINT64_C(48) << 20;
	uint64_t before, full;
	struct samara_error err;

	plug(f, BASE, size, GUEST_MM_RDWR);
	before = resident_bytes();
	ok(guest_mm_populate(f->mm, BASE, size, &err), &err);
	full = resident_bytes();
	assert_true(full > before + size / 2);
	unplug(f, BASE, size);
	assert_true(resident_bytes() < full - size / 2);
	assert_int_equal(stats(f).populated_bytes, 0);
}

/* ---- Shared memory --------------------------------------------------------------------------- */

static void test_memfd_is_shared(void **state)
{
	struct fixture *f = *state;
	unsigned int w = f->mode->backing == GUEST_MM_MEMFD ? 0 : 2;
	gpa_t base = f->window[w].gpa;
	volatile uint64_t *other;

	other = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f->window[w].fd, 0);
	assert_true(other != MAP_FAILED);
	plug(f, base, 8 * PAGE, GUEST_MM_RDWR);
	fill(f, base, 8 * PAGE);
	assert_int_equal(other[0], base);
	assert_int_equal(other[3 * PAGE / 8], base + 3 * PAGE);
	other[PAGE / 8 + 1] = 4711;
	assert_int_equal(peek(f, base + PAGE + 8), 4711);
	remap(f, base, 8 * PAGE, base + 32 * PAGE);
	assert_int_equal(other[33 * PAGE / 8], base + PAGE);
	assert_int_equal(peek(f, base + 33 * PAGE + 8), 4711);
	unplug(f, base + 32 * PAGE, 8 * PAGE);
	assert_int_equal(other[33 * PAGE / 8], 0);
	/* What another process left where nothing is plugged does not become memory. */
	other[10 * PAGE / 8] = 666;
	other[41 * PAGE / 8] = 666;
	plug(f, base + 8 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, base + 8 * PAGE, 8 * PAGE);
	fill(f, base + 8 * PAGE, 8 * PAGE);
	remap(f, base + 8 * PAGE, 8 * PAGE, base + 40 * PAGE);
	expect_fill(f, base + 40 * PAGE, 8 * PAGE, base + 8 * PAGE);
	munmap((void *)(uintptr_t)other, 64 * PAGE);
}

/* ---- The end of the address space ------------------------------------------------------------ */

static void test_last_byte_of_the_address_space(void **state)
{
	struct fixture *f = *state;
	const gpa_t last = 0 - PAGE;
	struct guest_mm_pin pin;
	struct samara_error err;

	plug(f, TOP, SMALL_BYTES, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES, 3, );
	for (gpa_t at = TOP; at != TOP + SMALL_BYTES; at += 64 * PAGE)
		fill(f, at, PAGE);
	fill(f, last, PAGE);
	assert_int_equal(peek(f, last + PAGE - 8), ~last);
	protect(f, last, PAGE, GUEST_MM_READ);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES - PAGE, 3, last, PAGE, 1, );
	protect(f, last, PAGE, GUEST_MM_RDWR);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES, 3, );
	ok(guest_mm_populate(f->mm, TOP, SMALL_BYTES, &err), &err);
	assert_int_equal(guest_mm_pin(f->mm, last - 5, PAGE + 5, true, &pin), 0);
	assert_int_equal(pin.iov[0].iov_len, PAGE + 5);
	guest_mm_unpin(&pin);
	remap(f, last, PAGE, SECOND);
	expect_fill(f, SECOND, PAGE, last);
	remap(f, SECOND, PAGE, last);
	expect_fill(f, last, PAGE, last);
	EXPECT_REGIONS(f, TOP, SMALL_BYTES, 3, );
	remap(f, TOP, SMALL_BYTES, BASE);
	expect_fill(f, BASE + SMALL_BYTES - PAGE, PAGE, last);
	remap(f, BASE, SMALL_BYTES, TOP);
	unplug(f, TOP, SMALL_BYTES);
	assert_int_equal(peek(f, last), 0);
	EXPECT_REGIONS(f, );
}

/* ---- The fault entry ------------------------------------------------------------------------- */

static void test_fault(void **state)
{
	struct fixture *f = *state;
	struct worker worker = {.f = f, .operation = UNPLUG, .gpa = BASE, .size_bytes = 8 * PAGE};
	struct guest_mm_pin pin;

	plug_some(f);
	assert_int_equal(guest_mm_fault(f->mm, 0, 0), -ERANGE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 5, 0), GUEST_MM_FAULT_DONE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 22 * PAGE, GUEST_MM_FAULT_NOWAIT),
			 GUEST_MM_FAULT_DONE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 17 * PAGE,
					GUEST_MM_FAULT_WRITE | GUEST_MM_FAULT_PROTECT),
			 GUEST_MM_FAULT_HELD);
	assert_int_equal(
		guest_mm_fault(f->mm, BASE + PAGE, GUEST_MM_FAULT_WRITE | GUEST_MM_FAULT_PROTECT),
		GUEST_MM_FAULT_DONE);
	assert_int_equal(guest_mm_fault(f->mm, BASE + 28 * PAGE + 3, 0), GUEST_MM_FAULT_NOTHING);
	assert_int_equal(stats(f).last_nothing_gpa, BASE + 28 * PAGE + 3);
	assert_int_equal(guest_mm_pin(f->mm, BASE, 1, false, &pin), 0);
	start_operation(&worker);
	if (strcmp(stats(f).lock, "single"))
		assert_int_equal(guest_mm_fault(f->mm, BASE, GUEST_MM_FAULT_NOWAIT),
				 GUEST_MM_FAULT_BUSY);
	guest_mm_unpin(&pin);
	assert_true(guest_mm_fault(f->mm, BASE, 0) >= 0); /* waits, if it is quick enough */
	pthread_join(worker.thread, NULL);
	assert_int_equal(worker.ret, 0);
	assert_int_equal(guest_mm_fault(f->mm, BASE, 0), GUEST_MM_FAULT_NOTHING);
}

/* One fault for one block, and no page of it counted twice. */
static void test_fault_counters(void **state)
{
	struct fixture *f = *state;

	plug(f, BASE, 256 * PAGE, GUEST_MM_RDWR);
	for (unsigned int i = 0; i < 256; i++)
		poke(f, BASE + i * PAGE, 1);
	settle(f);
	assert_int_equal(stats(f).fault_pages, 256);
	while (stats(f).faults < 16) /* counted last of all */
		sleep_ms(1);
	assert_int_equal(stats(f).faults_nothing, 0);
	assert_int_equal(stats(f).faults_held, 0);
}

static int stop_at_second(const struct guest_mm_region *region, void *arg)
{
	unsigned int *count = arg;

	(void)region;
	return ++*count == 2 ? 4711 : 0;
}

static void test_listing_ends_early(void **state)
{
	struct fixture *f = *state;
	unsigned int count = 0;

	assert_int_equal(guest_mm_for_each_region(f->mm, stop_at_second, &count), 0);
	assert_int_equal(count, 0);
	plug_some(f);
	assert_int_equal(guest_mm_for_each_region(f->mm, stop_at_second, &count), 4711);
	assert_int_equal(count, 2);
}

static void test_fresh_counters(void **state)
{
	struct fixture *f = *state;
	struct guest_mm_stats s = stats(f);

	assert_string_equal(s.lock, lock_design);
	assert_int_equal(s.lock_success + s.lock_abort + s.lock_retry + s.lock_miss, 0);
	assert_int_equal(s.faults + s.pins + s.plugs + s.failed_operations, 0);
}

/* ---- Failures -------------------------------------------------------------------------------- */

/* What plug_some() made is split and protected further, so that operations have much to do. */
#define MESS (40 * PAGE)

static void make_mess(struct fixture *f)
{
	plug_some(f);
	plug(f, BASE + 24 * PAGE, 8 * PAGE, GUEST_MM_READ);
	protect(f, BASE + 4 * PAGE, PAGE, GUEST_MM_READ);
	peek(f, BASE + 30 * PAGE);
	settle(f);
}

/* The read-only pages are read-only still, the others can be written. */
static void expect_mess(struct fixture *f, gpa_t base)
{
	struct writer held;

	expect_fill(f, base, 20 * PAGE, BASE);
	expect_fill(f, base + 32 * PAGE, 8 * PAGE, BASE + 32 * PAGE);
	expect_zeros(f, base + 20 * PAGE, 12 * PAGE);
	start_held(f, &held, base + 18 * PAGE + 16, 0);
	poke(f, base + 3 * PAGE, BASE + 3 * PAGE);
	poke(f, base + 33 * PAGE, BASE + 33 * PAGE);
	protect(f, base + 18 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	protect(f, base + 18 * PAGE, PAGE, GUEST_MM_READ);
	start_held(f, &held, base + 4 * PAGE + 16, 0);
	protect(f, base + 4 * PAGE, PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	protect(f, base + 4 * PAGE, PAGE, GUEST_MM_READ);
}

struct attempt {
	const char *name;
	gpa_t gpa, to;
	uint64_t size_bytes;
	enum operation operation, undo;
	unsigned int prot;
};

static int try_once(struct fixture *f, const struct attempt *a, struct samara_error *err)
{
	switch (a->operation) {
	case PLUG:
		return guest_mm_plug(f->mm, a->gpa, a->size_bytes, a->prot, err);
	case UNPLUG:
		return guest_mm_unplug(f->mm, a->gpa, a->size_bytes, err);
	case PROTECT:
		return guest_mm_protect(f->mm, a->gpa, a->size_bytes, a->prot, err);
	default:
		return guest_mm_remap(f->mm, a->gpa, a->size_bytes, a->to, err);
	}
}

/*
 * The n-th of @calls fails, @times in a row, for every n until the operation succeeds without. Each
 * failure leaves listing, contents and protections as they were, and the next try is not disturbed.
 */
static void fail_everywhere(struct fixture *f, const struct attempt *a, unsigned int calls,
			    unsigned long times)
{
	/* Where even what was cut cannot be united again, it is the same map all the same. */
	bool alike = calls == INTERPOSE_MALLOC && times > 1;
	struct listing before = list(f);
	unsigned long nth, failed = 0;

	for (nth = 1; nth < 500; nth++) {
		struct samara_error err = {0};
		unsigned long hits;
		int ret;

		interpose_fail_nth(calls, nth, times, 0);
		ret = try_once(f, a, &err);
		hits = interpose_end();
		if (!ret)
			break; /* past the last, or a failure that could be coped with */
		if (!hits)
			fail_msg("%s: %s though nothing failed", a->name, err.text);
		failed++;
		assert_true(err.text[0]);
		if (alike) {
			struct listing want = united(before), now = united(list(f));

			assert_equal_listing(&now, &want);
		} else {
			assert_same(f, &before);
		}
		if (nth % 3 == 1)
			expect_mess(f, BASE);
	}
	if (nth == 500)
		fail_msg("%s fails for ever", a->name);
	print_message("%s: %lu failures undone\n", a->name, failed);
}

static void test_failures_are_undone(unsigned int calls, unsigned long times, struct fixture *f)
{
	const struct attempt attempts[] = {
		{"plug", BASE + 40 * PAGE, 0, 8 * PAGE, PLUG, UNPLUG, GUEST_MM_RDWR},
		{"protect", BASE + 2 * PAGE, 0, 33 * PAGE, PROTECT, 0, GUEST_MM_READ},
		{"unprotect", BASE + 2 * PAGE, 0, 33 * PAGE, PROTECT, 0, GUEST_MM_RDWR},
		{"remap", BASE + PAGE, BASE + 100 * PAGE, 38 * PAGE, REMAP, 0, 0},
		{"remap to another window", BASE, SECOND + 3 * PAGE, 40 * PAGE, REMAP, 0, 0},
		{"unplug", BASE + 2 * PAGE, 0, 33 * PAGE, UNPLUG, 0, 0},
	};

	for (unsigned int i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		struct listing now;

		make_mess(f);
		if (attempts[i].operation == PLUG) /* a stray page is in the way */
			poke(f, attempts[i].gpa + PAGE, 1);
		if (attempts[i].operation == REMAP)
			poke(f, attempts[i].to + PAGE, 1);
		fail_everywhere(f, &attempts[i], calls, times);
		if (attempts[i].operation == REMAP && attempts[i].size_bytes == MESS)
			expect_mess(f, attempts[i].to);
		now = list(f);
		for (unsigned int k = 0; k < now.count; k++)
			unplug(f, now.region[k].gpa, now.region[k].size_bytes);
		expect_true_accounting(f);
	}
}

static void test_each_allocation_fails(void **state)
{
	test_failures_are_undone(INTERPOSE_MALLOC, 1, *state);
}

static void test_no_memory_from_the_nth_on(void **state)
{
	test_failures_are_undone(INTERPOSE_MALLOC, 2, *state);
}

static void test_each_system_call_fails(void **state)
{
	test_failures_are_undone(INTERPOSE_MADVISE | INTERPOSE_FALLOCATE | INTERPOSE_COPY |
					 INTERPOSE_MOVE | INTERPOSE_PROTECT,
				 1, *state);
}

/* A page that cannot be moved is copied; where that fails too, all of it goes back. */
static void test_moves_fail(void **state)
{
	test_failures_are_undone(INTERPOSE_MOVE | INTERPOSE_COPY, 22, *state);
}

static void test_fault_without_memory(void **state)
{
	struct fixture *f = *state;

	plug(f, BASE, 64 * PAGE, GUEST_MM_RDWR);
	/* In all threads: the handlers meet it. Faults are late, none is lost. */
	interpose_fail_randomly(INTERPOSE_COPY | INTERPOSE_ZEROPAGE | INTERPOSE_MALLOC, 2);
	for (unsigned int i = 0; i < 64; i++)
		poke(f, BASE + i * PAGE, i + 1);
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(peek(f, BASE + (100 + i) * PAGE), 0);
	interpose_fail_randomly(0, 0);
	for (unsigned int i = 0; i < 64; i++)
		assert_int_equal(peek(f, BASE + i * PAGE), i + 1);
}

int main(void)
{
#define TEST(name)                                                   \
	{#name " anon", name, setup, teardown, &modes[0]},           \
		{#name " memfd", name, setup, teardown, &modes[1]},  \
	{                                                            \
#name " copy_only", name, setup, teardown, &modes[2] \
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_windows),
		TEST(test_fresh_counters),
		TEST(test_bad_ranges),
		TEST(test_bad_arguments),
		TEST(test_split_and_merge),
		TEST(test_no_merge),
		TEST(test_merge_waits_for_nobody),
		TEST(test_unplug_over_several_regions),
		TEST(test_stray),
		TEST(test_plug_over_stray),
		TEST(test_protect_holds_writers),
		TEST(test_let_go_releases_held),
		TEST(test_unplug_releases_held),
		TEST(test_remap_releases_held),
		TEST(test_remap_keeps_protection),
		TEST(test_remap_keeps_every_byte),
		TEST(test_pin_errors),
		TEST(test_pin_over_regions),
		TEST(test_pin_populates),
		TEST(test_operations_wait_for_pins),
		TEST(test_operations_wait_for_no_other_pins),
		TEST(test_pin_again),
		TEST(test_many_pins),
		TEST(test_read_and_write),
		TEST(test_accounting),
		TEST(test_populate),
		TEST(test_unplug_gives_memory_back),
		TEST(test_memfd_is_shared),
		TEST(test_last_byte_of_the_address_space),
		TEST(test_fault),
		TEST(test_fault_counters),
		TEST(test_listing_ends_early),
		TEST(test_each_allocation_fails),
		TEST(test_no_memory_from_the_nth_on),
		TEST(test_each_system_call_fails),
		TEST(test_moves_fail),
		TEST(test_fault_without_memory),
	};

	return cmocka_run_group_tests_name("guest memory manager", tests, NULL, NULL);
}
