/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "mm/phase_lock.h"

/*
 * The fair reader-writer lock: exclusion, the try, and that neither side starves the other. Order
 * of events is asserted, never time.
 */

static uint32_t load(uint32_t *value)
{
	return __atomic_load_n(value, __ATOMIC_SEQ_CST);
}

static void wait_until(uint32_t *value, uint32_t at_least)
{
	struct timespec pause = {.tv_nsec = 100000};

	while (load(value) < at_least)
		nanosleep(&pause, NULL);
}

static void sleep_ms(long ms)
{
	struct timespec pause = {.tv_nsec = ms * 1000000};

	nanosleep(&pause, NULL);
}

/* ---- One thread ------------------------------------------------------------------------------ */

static void test_trylock(void **state)
{
	struct phase_lock lock = {0};

	(void)state;
	assert_true(phase_read_trylock(&lock));
	assert_true(phase_read_trylock(&lock)); /* readers share */
	phase_read_unlock(&lock);
	phase_read_unlock(&lock);
	phase_write_lock(&lock);
	assert_false(phase_read_trylock(&lock));
	phase_write_unlock(&lock);
	assert_true(phase_read_trylock(&lock));
	phase_read_unlock(&lock);
}

/* The counters wrap around: start just below. */
static void test_counters_wrap(void **state)
{
	struct phase_lock lock = {.rin = 0xfffffd00u,
				  .rout = 0xfffffd00u,
				  .win = UINT32_MAX - 2,
				  .wout = UINT32_MAX - 2};

	(void)state;
	for (int i = 0; i < 8; i++) {
		phase_read_lock(&lock);
		phase_read_lock(&lock);
		phase_read_unlock(&lock);
		phase_read_unlock(&lock);
		phase_write_lock(&lock);
		assert_false(phase_read_trylock(&lock));
		phase_write_unlock(&lock);
	}
}

/* ---- A writer that waits turns new readers away, and comes before them ----------------------- */

struct scene {
	struct phase_lock lock;
	uint32_t writer_in, reader_in, go; /* atomic */
};

static void *scene_writer(void *arg)
{
	struct scene *scene = arg;

	phase_write_lock(&scene->lock);
	/* The reader that came later is not in. */
	__atomic_store_n(&scene->writer_in, load(&scene->reader_in) ? 2 : 1, __ATOMIC_SEQ_CST);
	phase_write_unlock(&scene->lock);
	return NULL;
}

static void *scene_reader(void *arg)
{
	struct scene *scene = arg;

	phase_read_lock(&scene->lock);
	__atomic_store_n(&scene->reader_in, load(&scene->writer_in) ? 1 : 2, __ATOMIC_SEQ_CST);
	phase_read_unlock(&scene->lock);
	return NULL;
}

static void test_waiting_writer_goes_first(void **state)
{
	struct scene scene = {0};
	pthread_t writer, reader;

	(void)state;
	phase_read_lock(&scene.lock);
	pthread_create(&writer, NULL, scene_writer, &scene);
	while (phase_read_trylock(&scene.lock)) /* until the writer waits */
		phase_read_unlock(&scene.lock);
	pthread_create(&reader, NULL, scene_reader, &scene);
	sleep_ms(20);
	assert_int_equal(load(&scene.writer_in), 0);
	assert_int_equal(load(&scene.reader_in), 0);
	phase_read_unlock(&scene.lock);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(scene.writer_in, 1);
	assert_int_equal(scene.reader_in, 1);
}

/* A reader that waits for one writer goes before the next writer, though that one came earlier. */
static void *second_writer(void *arg)
{
	struct scene *scene = arg;

	phase_write_lock(&scene->lock);
	__atomic_store_n(&scene->writer_in, load(&scene->reader_in) ? 1 : 2, __ATOMIC_SEQ_CST);
	phase_write_unlock(&scene->lock);
	return NULL;
}

static void *patient_reader(void *arg)
{
	struct scene *scene = arg;

	phase_read_lock(&scene->lock);
	__atomic_store_n(&scene->reader_in, 1, __ATOMIC_SEQ_CST);
	wait_until(&scene->go, 1);
	phase_read_unlock(&scene->lock);
	return NULL;
}

static void test_reader_waits_for_one_writer_only(void **state)
{
	struct scene scene = {0};
	pthread_t writer, reader;

	(void)state;
	phase_write_lock(&scene.lock);
	pthread_create(&writer, NULL, second_writer, &scene);
	while (load(&scene.lock.win) != 2) /* its ticket is drawn */
		sleep_ms(1);
	pthread_create(&reader, NULL, patient_reader, &scene);
	while (load(&scene.lock.rin) < 0x100) /* it has announced itself */
		sleep_ms(1);
	phase_write_unlock(&scene.lock);
	wait_until(&scene.reader_in, 1);
	assert_int_equal(load(&scene.writer_in), 0);
	__atomic_store_n(&scene.go, 1, __ATOMIC_SEQ_CST);
	pthread_join(writer, NULL);
	pthread_join(reader, NULL);
	assert_int_equal(scene.writer_in, 1);
}

/* ---- Many threads ---------------------------------------------------------------------------- */

#define READERS 6
#define WRITERS 3

struct crowd {
	struct phase_lock lock;
	uint64_t a, b;            /* protected by lock: equal whenever it is free */
	uint32_t stop, broken;    /* atomic */
	uint32_t writes[WRITERS]; /* atomic */
	uint32_t reads[READERS];  /* atomic */
	uint32_t next_reader, next_writer;
};

static void *crowd_reader(void *arg)
{
	struct crowd *crowd = arg;
	uint32_t *own = &crowd->reads[__atomic_fetch_add(&crowd->next_reader, 1, __ATOMIC_RELAXED)];

	while (!load(&crowd->stop)) {
		if (*own % 4 == 0 && phase_read_trylock(&crowd->lock))
			;
		else
			phase_read_lock(&crowd->lock);
		if (crowd->a != crowd->b)
			__atomic_store_n(&crowd->broken, 1, __ATOMIC_SEQ_CST);
		phase_read_unlock(&crowd->lock);
		__atomic_fetch_add(own, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *crowd_writer(void *arg)
{
	struct crowd *crowd = arg;
	uint32_t *own =
		&crowd->writes[__atomic_fetch_add(&crowd->next_writer, 1, __ATOMIC_RELAXED)];

	while (!load(&crowd->stop)) {
		phase_write_lock(&crowd->lock);
		if (crowd->a != crowd->b)
			__atomic_store_n(&crowd->broken, 1, __ATOMIC_SEQ_CST);
		crowd->a++;
		for (volatile int i = 0; i < 20; i++)
			;
		crowd->b++;
		phase_write_unlock(&crowd->lock);
		__atomic_fetch_add(own, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * Nobody pauses: readers always overlap, writers always queue. Each thread must get in again and
 * again; with a lock that prefers one side this test does not end.
 */
static void test_crowd_excludes_and_starves_nobody(void **state)
{
	static struct crowd crowd;
	pthread_t thread[READERS + WRITERS];
	uint64_t total = 0;

	(void)state;
	for (int i = 0; i < READERS; i++)
		pthread_create(&thread[i], NULL, crowd_reader, &crowd);
	for (int i = 0; i < WRITERS; i++)
		pthread_create(&thread[READERS + i], NULL, crowd_writer, &crowd);
	for (int i = 0; i < READERS; i++)
		wait_until(&crowd.reads[i], 200);
	for (int i = 0; i < WRITERS; i++)
		wait_until(&crowd.writes[i], 200);
	__atomic_store_n(&crowd.stop, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < READERS + WRITERS; i++)
		pthread_join(thread[i], NULL);
	assert_false(crowd.broken);
	for (int i = 0; i < WRITERS; i++)
		total += crowd.writes[i];
	assert_int_equal(crowd.a, total);
	assert_int_equal(crowd.b, total);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trylock),
		cmocka_unit_test(test_counters_wrap),
		cmocka_unit_test(test_waiting_writer_goes_first),
		cmocka_unit_test(test_reader_waits_for_one_writer_only),
		cmocka_unit_test(test_crowd_excludes_and_starves_nobody),
	};

	return cmocka_run_group_tests_name("phase lock", tests, NULL, NULL);
}
