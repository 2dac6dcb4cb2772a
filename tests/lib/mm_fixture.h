/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIB_MM_FIXTURE_H
#define TESTS_LIB_MM_FIXTURE_H

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <samara/guest_mm.h>

/*
 * What the tests of the guest memory manager share: one with four windows, what a guest would do by
 * raw accesses through the windows' host addresses, and operations that must succeed.
 */

#define PAGE        SAMARA_PAGE_BYTES
#define BASE        UINT64_C(0x100000000) /* the window that most tests use */
#define BASE_BYTES  (UINT64_C(64) << 20)
#define SECOND      UINT64_C(0x200000000) /* of the same backing */
#define OTHER       UINT64_C(0x300000000) /* of the other backing */
#define SMALL_BYTES (UINT64_C(16) << 20)
#define TOP         (0 - SMALL_BYTES) /* its last byte is the last one there is */

/* How each test is run. */
struct mode {
	enum guest_mm_backing backing;
	bool copy_only;
};

extern struct mode mm_modes[];

struct fixture {
	const struct mode *mode;
	struct guest_mm *mm;
	struct guest_mm_window window[4];
	unsigned int nothing_reports; /* atomic: how often a first access to nothing was told of */
	gpa_t first_nothing;          /* and where it was */
};

enum operation {
	PLUG,
	UNPLUG,
	REMAP,
	REMAP_FROM,
	PROTECT,
	POPULATE,
	DISCARD,
	OPERATIONS
};

/* A vCPU that writes one value, and may be held. */
struct writer {
	struct fixture *f;
	gpa_t gpa;
	uint64_t value;
	uint32_t done; /* atomic */
	pthread_t thread;
};

#define LISTED_MAX 64

struct listing {
	unsigned int count;
	struct guest_mm_region region[LISTED_MAX];
};

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

int setup(void **state);
int teardown(void **state);
char *hva(const struct fixture *f, gpa_t gpa);
uint64_t peek(const struct fixture *f, gpa_t gpa);
void poke(const struct fixture *f, gpa_t gpa, uint64_t value);
void settle(const struct fixture *f);
void fill(const struct fixture *f, gpa_t gpa, uint64_t size_bytes);
void expect_fill(const struct fixture *f, gpa_t gpa, uint64_t size_bytes, gpa_t was);
void expect_zeros(const struct fixture *f, gpa_t gpa, uint64_t size_bytes);
void sleep_ms(long ms);
uint32_t load(uint32_t *value);
struct guest_mm_stats stats(struct fixture *f);
void start_held(struct fixture *f, struct writer *writer, gpa_t gpa, uint64_t value);
struct listing list(struct fixture *f);
struct listing united(struct listing listing);
void assert_equal_listing(const struct listing *is, const struct listing *before);
void assert_same(struct fixture *f, const struct listing *before);
void expect_regions(struct fixture *f, const uint64_t *want);
void ok(int ret, const struct samara_error *err);
void plug(struct fixture *f, gpa_t gpa, uint64_t size_bytes, unsigned int prot);
void unplug(struct fixture *f, gpa_t gpa, uint64_t size_bytes);
void protect(struct fixture *f, gpa_t gpa, uint64_t size_bytes, unsigned int prot);
void remap(struct fixture *f, gpa_t gpa, uint64_t size_bytes, gpa_t to);
int operate(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes,
	    struct samara_error *err);
void plug_some(struct fixture *f);
void expect_some(struct fixture *f);
void expect_error(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes,
		  int code, const char *reason);
void *operator_main(void *arg);
bool is_locked(struct fixture *f, gpa_t gpa);
void start_operation(struct worker *worker);
void elsewhere(struct fixture *f, enum operation operation, gpa_t gpa, uint64_t size_bytes);
void expect_true_accounting(struct fixture *f);

/* "gpa size prot" three by three, each followed by a comma. */
#define EXPECT_REGIONS(f, ...) expect_regions(f, (const uint64_t[]){__VA_ARGS__ 0, 0, 0})

/* A test in every mode, as elements of a struct CMUnitTest []. */
#define MM_TEST(name)                                                   \
	{#name " anon", name, setup, teardown, &mm_modes[0]},           \
		{#name " memfd", name, setup, teardown, &mm_modes[1]},  \
	{                                                               \
#name " copy_only", name, setup, teardown, &mm_modes[2] \
	}

#endif
