/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/lib/interpose.h"
#include "tests/lib/mm_fixture.h"

/*
 * Other memory behind the same addresses, while vCPUs and devices write.
 */

#define PAGES 64

static int make_memfd(uint64_t pages)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	return fd;
}

static struct guest_mm_memory file(int fd, uint64_t offset_pages)
{
	return (struct guest_mm_memory){
		.kind = GUEST_MM_MEMORY_FILE, .fd = fd, .offset_bytes = offset_pages * PAGE};
}

static const struct guest_mm_memory own = {.kind = GUEST_MM_MEMORY_OWN};

static void reback(struct fixture *f, gpa_t gpa, uint64_t size_bytes,
		   const struct guest_mm_memory *memory)
{
	struct samara_error err;

	ok(guest_mm_reback(f->mm, gpa, size_bytes, memory, &err), &err);
}

static uint64_t word_of(int fd, uint64_t page)
{
	uint64_t word = 0;

	assert_int_equal(pread(fd, &word, sizeof(word), (off_t)(page * PAGE)), sizeof(word));
	return word;
}

static uint64_t allocated_pages(int fd)
{
	off_t at = 0, data, hole;
	uint64_t pages = 0;

	while ((data = lseek(fd, at, SEEK_DATA)) >= 0) {
		hole = lseek(fd, data, SEEK_HOLE);
		pages += (uint64_t)(hole - data) / PAGE;
		at = hole;
	}
	return pages;
}

/* Our count is the kernel's when each page has been touched: a file's pages are mapped by that. */
static void expect_accounting(struct fixture *f, gpa_t gpa, uint64_t size_bytes)
{
	for (uint64_t i = 0; i < size_bytes; i += PAGE)
		peek(f, gpa + i);
	expect_true_accounting(f);
}

static void test_reback_keeps_every_byte(void **state)
{
	struct fixture *f = *state;
	int first = make_memfd(2 * PAGES), second = make_memfd(PAGES);
	struct guest_mm_memory in_first = file(first, 16), in_second = file(second, 0);
	struct guest_mm_usage usage;
	struct writer held;
	struct listing before;

	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 24 * PAGE);
	fill(f, BASE + 40 * PAGE, 8 * PAGE);
	protect(f, BASE + 4 * PAGE, 4 * PAGE, GUEST_MM_READ);
	before = list(f);
	reback(f, BASE, PAGES * PAGE, &in_first);
	assert_same(f, &before);
	expect_fill(f, BASE, 24 * PAGE, BASE);
	expect_fill(f, BASE + 40 * PAGE, 8 * PAGE, BASE + 40 * PAGE);
	assert_int_equal(word_of(first, 16 + 3), BASE + 3 * PAGE);
	assert_int_equal(word_of(first, 3), 0);
	assert_int_equal(guest_mm_get_usage(f->mm, BASE, PAGES * PAGE, &usage, NULL), 0);
	assert_int_equal(usage.shared_pages, usage.populated_pages);
	/* What is written goes there now, what was not there comes as zeros, and is the file's. */
	poke(f, BASE, 77);
	assert_int_equal(word_of(first, 16), 77);
	poke(f, BASE, BASE);
	expect_zeros(f, BASE + 60 * PAGE, 4 * PAGE);
	poke(f, BASE + 60 * PAGE, 5);
	assert_int_equal(word_of(first, 16 + 60), 5);
	/* Read-only it was and is. */
	start_held(f, &held, BASE + 5 * PAGE, 99);
	assert_int_equal(peek(f, BASE + 5 * PAGE), BASE + 5 * PAGE);
	/* A part to another file, and that held write waits on. */
	reback(f, BASE + 2 * PAGE, 30 * PAGE, &in_second);
	expect_fill(f, BASE, 24 * PAGE, BASE);
	assert_int_equal(load(&held.done), 0);
	assert_int_equal(word_of(second, 1), BASE + 3 * PAGE);
	protect(f, BASE + 4 * PAGE, 4 * PAGE, GUEST_MM_RDWR);
	pthread_join(held.thread, NULL);
	assert_int_equal(word_of(second, 3), 99);
	poke(f, BASE + 5 * PAGE, BASE + 5 * PAGE);
	expect_accounting(f, BASE, PAGES * PAGE);
	/* All of it the window's own again; the files are given back. */
	reback(f, BASE, PAGES * PAGE, &own);
	expect_fill(f, BASE, 24 * PAGE, BASE);
	expect_fill(f, BASE + 40 * PAGE, 8 * PAGE, BASE + 40 * PAGE);
	assert_int_equal(peek(f, BASE + 60 * PAGE), 5);
	assert_int_equal(allocated_pages(first), 0);
	assert_int_equal(allocated_pages(second), 0);
	poke(f, BASE, 3);
	assert_int_equal(word_of(first, 16), 0);
	expect_accounting(f, BASE, PAGES * PAGE);
	close(first);
	close(second);
}

/* A file's contents become the guest's, and stay in the file when it goes. */
static void test_bare_file(void **state)
{
	struct fixture *f = *state;
	int fd = make_memfd(PAGES);
	struct guest_mm_memory in = file(fd, 0), out = own;
	struct guest_mm_pin pin;
	struct samara_error err;
	uint64_t word = 4711;

	in.bare = out.bare = true;
	assert_int_equal(pwrite(fd, &word, sizeof(word), 3 * PAGE), sizeof(word));
	assert_int_equal(pwrite(fd, &word, sizeof(word), 5 * PAGE), sizeof(word));
	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 8 * PAGE);
	reback(f, BASE, PAGES * PAGE, &in);
	/* By the guest, by a pin, and what the file does not have. */
	assert_int_equal(peek(f, BASE + 3 * PAGE), word);
	assert_int_equal(guest_mm_pin(f->mm, BASE + 5 * PAGE, PAGE, true, &pin), 0);
	assert_memory_equal(pin.iov[0].iov_base, &word, sizeof(word));
	guest_mm_unpin(&pin);
	expect_zeros(f, BASE, 3 * PAGE);
	poke(f, BASE + 7 * PAGE, 8);
	assert_int_equal(word_of(fd, 7), 8);
	/* It goes and keeps what it holds; the range starts anew. */
	reback(f, BASE, PAGES * PAGE, &out);
	expect_zeros(f, BASE, PAGES * PAGE);
	poke(f, BASE + 7 * PAGE, 9);
	ok(guest_mm_unplug(f->mm, BASE, PAGES * PAGE, &err), &err);
	assert_int_equal(word_of(fd, 7), 8);
	assert_int_equal(word_of(fd, 3), word);
	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE, PAGES * PAGE);
	expect_accounting(f, BASE, PAGES * PAGE);
	close(fd);
}

/* Operations on a range that is partly in a file. */
static void test_operations_on_rebacked(void **state)
{
	struct fixture *f = *state;
	int fd = make_memfd(PAGES);
	struct guest_mm_memory memory = file(fd, 0);
	struct samara_error err;

	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, PAGES * PAGE);
	reback(f, BASE + 8 * PAGE, 16 * PAGE, &memory);
	/* Discard, across the border. */
	ok(guest_mm_discard(f->mm, BASE + 6 * PAGE, 4 * PAGE, &err), &err);
	expect_zeros(f, BASE + 6 * PAGE, 4 * PAGE);
	expect_fill(f, BASE + 10 * PAGE, 54 * PAGE, BASE + 10 * PAGE);
	assert_int_equal(word_of(fd, 0), 0);
	/* Move it away, and something else there. */
	fill(f, BASE + 6 * PAGE, 4 * PAGE);
	remap(f, BASE, 32 * PAGE, SECOND + PAGE);
	expect_fill(f, SECOND + PAGE, 32 * PAGE, BASE);
	assert_int_equal(allocated_pages(fd), 0);
	remap(f, BASE + 32 * PAGE, 20 * PAGE, BASE + 4 * PAGE);
	expect_fill(f, BASE + 4 * PAGE, 20 * PAGE, BASE + 32 * PAGE);
	assert_int_equal(word_of(fd, 0), BASE + 36 * PAGE);
	/* Unplug, plug: zeros, and still the file. */
	unplug(f, BASE + 4 * PAGE, 20 * PAGE);
	assert_int_equal(allocated_pages(fd), 0);
	poke(f, BASE + 9 * PAGE, 0xbad); /* nothing */
	plug(f, BASE, 32 * PAGE, GUEST_MM_RDWR);
	expect_zeros(f, BASE, 32 * PAGE);
	fill(f, BASE, 32 * PAGE);
	assert_int_equal(word_of(fd, 2), BASE + 10 * PAGE);
	protect(f, BASE + 4 * PAGE, 8 * PAGE, GUEST_MM_READ);
	protect(f, BASE + 4 * PAGE, 8 * PAGE, GUEST_MM_RDWR);
	poke(f, BASE + 9 * PAGE, 1);
	expect_accounting(f, BASE, 32 * PAGE);
	close(fd);
}

static void test_reback_errors(void **state)
{
	struct fixture *f = *state;
	int fd = make_memfd(PAGES), pipes[2];
	struct guest_mm_memory memory = file(fd, 0), none = {.kind = (enum guest_mm_memory_kind)9};
	struct samara_error err;
	struct listing before;

	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, PAGES * PAGE);
	before = list(f);
	assert_int_equal(guest_mm_reback(f->mm, BASE, PAGE, &none, &err), -EINVAL);
	memory.offset_bytes = PAGE;
	assert_int_equal(guest_mm_reback(f->mm, BASE, PAGES * PAGE, &memory, &err), -EINVAL);
	assert_non_null(strstr(err.text, "reback 0x100000000+0x40000: the file has 262144 bytes"));
	memory.offset_bytes = 8;
	assert_int_equal(guest_mm_reback(f->mm, BASE, 8 * PAGE, &memory, &err), -EINVAL);
	memory.offset_bytes = 0;
	assert_int_equal(guest_mm_reback(f->mm, BASE + 60 * PAGE, 8 * PAGE, &memory, &err),
			 -ENOENT);
	assert_int_equal(guest_mm_reback(f->mm, BASE + 8, PAGE, &memory, &err), -EINVAL);
	assert_int_equal(pipe(pipes), 0);
	memory.fd = pipes[1];
	assert_int_equal(guest_mm_reback(f->mm, BASE, PAGE, &memory, &err), -ENODEV);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(guest_mm_reback(f->mm, BASE, PAGE, &memory, &err), -EBADF);
	/* Memory that is behind something already, but for the very same place. */
	memory.fd = fd;
	reback(f, BASE + 8 * PAGE, 8 * PAGE, &memory);
	reback(f, BASE + 8 * PAGE, 8 * PAGE, &memory);
	assert_int_equal(guest_mm_reback(f->mm, BASE, 4 * PAGE, &memory, &err), -EBUSY);
	assert_non_null(strstr(err.text, "behind the window at 0x100000000 already"));
	assert_int_equal(guest_mm_reback(f->mm, BASE + 7 * PAGE, 8 * PAGE, &memory, &err), -EBUSY);
	if (f->window[0].fd >= 0) {
		memory.fd = f->window[0].fd;
		assert_int_equal(guest_mm_reback(f->mm, BASE, 4 * PAGE, &memory, &err), -EBUSY);
	}
	reback(f, BASE, PAGES * PAGE, &own);
	reback(f, BASE, PAGES * PAGE, &own);
	assert_same(f, &before);
	expect_fill(f, BASE, PAGES * PAGE, BASE);
	poke(f, BASE, 1); /* nothing stays protected */
	close(fd);
}

/* ---- With vCPUs and devices at work ------------------------------------------------------------ */

struct vcpu {
	struct fixture *f;
	uint32_t stop; /* atomic */
	uint64_t added[PAGES];
	uint64_t lost;
	pthread_t thread;
};

/* Adds one to each page's counter, over and over; a device does so through pins. */
static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;

	for (unsigned int i = 0; !load(&vcpu->stop); i = (i + 7) % PAGES) {
		__atomic_fetch_add((uint64_t *)hva(vcpu->f, BASE + i * PAGE), 1, __ATOMIC_RELAXED);
		vcpu->added[i]++;
	}
	return NULL;
}

static void *device_main(void *arg)
{
	struct vcpu *vcpu = arg;
	struct guest_mm_pin pin;

	for (unsigned int i = 0; !load(&vcpu->stop); i = (i + 5) % PAGES) {
		if (guest_mm_pin(vcpu->f->mm, BASE + i * PAGE, 8, true, &pin)) {
			vcpu->lost++;
			continue;
		}
		__atomic_fetch_add((uint64_t *)pin.iov[0].iov_base, 1, __ATOMIC_RELAXED);
		vcpu->added[i]++;
		guest_mm_unpin(&pin);
	}
	return NULL;
}

static void test_reback_under_writers(void **state)
{
	struct fixture *f = *state;
	int fds[2] = {make_memfd(PAGES), make_memfd(PAGES)};
	struct vcpu vcpu[3] = {{.f = f}, {.f = f}, {.f = f}};

	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	for (unsigned int i = 0; i < 3; i++)
		pthread_create(&vcpu[i].thread, NULL, i == 2 ? device_main : vcpu_main, &vcpu[i]);
	for (unsigned int round = 0; round < 40; round++) {
		struct guest_mm_memory memory = file(fds[round & 1], 0);
		uint64_t first = round % 4 * 8, pages = PAGES - 2 * first;

		memory.offset_bytes = first * PAGE;
		reback(f, BASE + first * PAGE, pages * PAGE, round % 3 == 2 ? &own : &memory);
	}
	for (unsigned int i = 0; i < 3; i++) {
		__atomic_store_n(&vcpu[i].stop, 1, __ATOMIC_SEQ_CST);
		pthread_join(vcpu[i].thread, NULL);
		assert_int_equal(vcpu[i].lost, 0);
	}
	for (unsigned int i = 0; i < PAGES; i++)
		assert_int_equal(peek(f, BASE + i * PAGE),
				 vcpu[0].added[i] + vcpu[1].added[i] + vcpu[2].added[i]);
	assert_int_equal(stats(f).faults_nothing, 0);
	close(fds[0]);
	close(fds[1]);
}

static void test_become_huge(void **state)
{
	const struct guest_mm_memory huge = {.kind = GUEST_MM_MEMORY_HUGE};
	const uint64_t size = UINT64_C(8) << 20;
	static bool made; /* in another mode: so the host can */
	struct fixture *f = *state;
	struct guest_mm_usage usage;
	struct vcpu vcpu = {.f = f};
	struct samara_error err;
	int ret;

	plug(f, BASE, size, GUEST_MM_RDWR);
	for (uint64_t i = 0; i < size; i += 32 * PAGE) /* a page here and there */
		poke(f, BASE + i + 8, i);
	pthread_create(&vcpu.thread, NULL, vcpu_main, &vcpu);
	ret = guest_mm_reback(f->mm, BASE, size, &huge, &err);
	__atomic_store_n(&vcpu.stop, 1, __ATOMIC_SEQ_CST);
	pthread_join(vcpu.thread, NULL);
	for (unsigned int i = 0; i < PAGES; i++)
		assert_int_equal(peek(f, BASE + i * PAGE), vcpu.added[i]);
	for (uint64_t i = 0; i < size; i += 32 * PAGE)
		assert_int_equal(peek(f, BASE + i + 8), i);
	if (f->mode->backing != GUEST_MM_ANON) {
		assert_int_equal(ret, -EOPNOTSUPP);
		return;
	}
	if (ret && !made) {
		print_message("# SKIP the host makes no huge pages: %s\n", err.text);
		skip();
	}
	ok(ret, &err);
	made = true;
	assert_int_equal(guest_mm_get_usage(f->mm, BASE, size, &usage, NULL), 0);
	assert_int_equal(usage.populated_pages, size / PAGE);
	assert_int_equal(usage.huge_pages, size / PAGE);
	protect(f, BASE, PAGE, GUEST_MM_READ);
	assert_int_equal(guest_mm_reback(f->mm, BASE, PAGE, &huge, &err), -EACCES);
}

/* ---- Failures ---------------------------------------------------------------------------------- */

static void fail_everywhere(struct fixture *f, unsigned int calls, const struct guest_mm_memory *to)
{
	struct listing before;
	unsigned long nth;

	plug(f, BASE, PAGES * PAGE, GUEST_MM_RDWR);
	fill(f, BASE, 20 * PAGE);
	fill(f, BASE + 40 * PAGE, 8 * PAGE);
	protect(f, BASE + 4 * PAGE, 4 * PAGE, GUEST_MM_READ);
	settle(f);
	before = list(f);
	for (nth = 1; nth < 200; nth++) {
		struct samara_error err = {0};
		struct writer held;
		int ret;

		interpose_fail_nth(calls, nth, 1, 0);
		ret = guest_mm_reback(f->mm, BASE + PAGE, 50 * PAGE, to, &err);
		if (!interpose_end()) {
			ok(ret, &err);
			break;
		}
		expect_fill(f, BASE, 20 * PAGE, BASE);
		expect_fill(f, BASE + 40 * PAGE, 8 * PAGE, BASE + 40 * PAGE);
		poke(f, BASE + 3 * PAGE, BASE + 3 * PAGE);
		start_held(f, &held, BASE + 5 * PAGE + 16, 0);
		protect(f, BASE + 4 * PAGE, 4 * PAGE, GUEST_MM_RDWR);
		pthread_join(held.thread, NULL);
		protect(f, BASE + 4 * PAGE, 4 * PAGE, GUEST_MM_READ);
		if (ret) {
			assert_non_null(strstr(err.text, "reback 0x100001000+0x32000: "));
			assert_same(f, &before);
		}
	}
	assert_in_range(nth, 2, 199);
	expect_fill(f, BASE, 20 * PAGE, BASE);
	unplug(f, BASE, PAGES * PAGE);
}

static void test_reback_failures_are_undone(void **state)
{
	struct fixture *f = *state;
	int fd = make_memfd(PAGES);
	struct guest_mm_memory memory = file(fd, 1);

	for (unsigned int call = INTERPOSE_MALLOC; call <= INTERPOSE_MREMAP; call *= 2) {
		if (call == INTERPOSE_ZEROPAGE || call == INTERPOSE_MOVE)
			continue; /* not made on the way to a file */
		fail_everywhere(f, call, &memory);
		fail_everywhere(f, INTERPOSE_ALL & ~INTERPOSE_MADVISE, &own);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MM_TEST(test_reback_keeps_every_byte),    MM_TEST(test_bare_file),
		MM_TEST(test_operations_on_rebacked),     MM_TEST(test_reback_errors),
		MM_TEST(test_reback_under_writers),       MM_TEST(test_become_huge),
		MM_TEST(test_reback_failures_are_undone),
	};

	return cmocka_run_group_tests_name("reback", tests, NULL, NULL);
}
