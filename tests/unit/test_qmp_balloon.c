/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x-samara-free-pages and samara ctl free, with a guest that answers, or does not. */
#include <pthread.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/memory_vm.h"
#include "tests/lib/virtio_driver.h"
#include "vmm/balloon.h"
#include "vmm/free_pages.h"

#define BIT(n) (UINT64_C(1) << (n))
#define FEATURES                                                      \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | \
	 BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT))
#define HINTS   3             /* the queue's number */
#define RING    (1 * MIB)     /* its place */
#define TABLE   (3 * MIB / 2) /* of indirect descriptors */
#define MESSAGE (2 * MIB)     /* what the driver says */
#define FREE    (4 * MIB)     /* free memory is from here on */
#define PAGE    SAMARA_PAGE_BYTES

#define ASK     "{\"execute\":\"x-samara-free-pages\"}"
#define ASK_FOR(seconds) \
	"{\"execute\":\"x-samara-free-pages\",\"arguments\":{\"timeout\":" seconds "}}"

/* ---- The VM and its driver --------------------------------------------------------------------- */

static struct {
	struct guest guest;
	struct balloon_options options;
	struct balloon *balloon;
	struct virtio_mmio mmio;
	struct driver_queue queue;
	int irq;
	pthread_t thread;
	const struct driver_buffer *hints; /* what the thread names */
	unsigned int hint_count;
} straw_guest;

static struct virtio_device *device(void)
{
	return virtio_balloon_device(balloon_device(straw_guest.balloon));
}

static void no_report(void *arg, const char *line)
{
	(void)arg;
	print_message("# %s\n", line);
}

static int start_balloon(void **state)
{
	struct balloon_config config = {
		.options = &straw_guest.options,
		.memory_bytes = 64 * MIB,
		.report = no_report,
	};
	struct samara_error err = {0};
	int ret = memory_vm_setup(state);

	memset(&straw_guest, 0, sizeof(straw_guest));
	straw_guest.irq = eventfd(0, EFD_NONBLOCK);
	straw_guest.options.present = true;
	config.devices = straw.devices;
	config.irq.eventfd = straw_guest.irq;
	if (!ret)
		ret = balloon_create(&config, &straw_guest.balloon, &err);
	if (ret) {
		print_error("%s\n", err.text);
		return ret;
	}
	straw.balloon = balloon_control(straw_guest.balloon);
	straw_guest.guest.mm = straw.mm;
	virtio_mmio_init(&straw_guest.mmio, device());
	return guest_mm_get_window(straw.mm, 0, &straw_guest.guest.window);
}

/* As a VM does it when it ends. */
static void end_vm(void)
{
	straw.state = VM_SHUTDOWN;
	virtio_device_pause(device());
	socket_close();
}

static int stop_balloon(void **state)
{
	end_vm();
	balloon_destroy(straw_guest.balloon);
	close(straw_guest.irq);
	return memory_vm_teardown(state);
}

static void load_driver(void)
{
	assert_true(driver_negotiate(&straw_guest.mmio, FEATURES));
	driver_queue_init(&straw_guest.queue, &straw_guest.guest, RING, 64, false, false);
	driver_setup_queue(&straw_guest.mmio, HINTS, &straw_guest.queue);
	driver_ok(&straw_guest.mmio);
}

/* What the device wants to have, or that it wants no more. */
static uint32_t command(void)
{
	return (uint32_t)driver_config(
		&straw_guest.mmio, offsetof(struct virtio_balloon_config, free_page_hint_cmd_id),
		4);
}

static uint32_t wait_round(void)
{
	while (command() <= VIRTIO_BALLOON_CMD_ID_DONE)
		usleep(1000);
	return command();
}

/* However a round ends, this is what lets the guest have its pages back. */
static void wait_done(void)
{
	for (int i = 0; command() != VIRTIO_BALLOON_CMD_ID_DONE; i++) {
		assert_true(i < 60000);
		usleep(1000);
	}
}

static void hand_over(const struct driver_buffer *buffers, unsigned int count, gpa_t table)
{
	struct pollfd irq = {.fd = straw_guest.irq, .events = POLLIN};
	uint32_t id, length;
	eventfd_t edges;

	driver_add(&straw_guest.queue, buffers, count, table);
	driver_write(&straw_guest.mmio, VIRTIO_MMIO_QUEUE_NOTIFY, HINTS);
	while (!driver_take(&straw_guest.queue, &id, &length)) {
		assert_true(poll(&irq, 1, 60000) > 0);
		eventfd_read(straw_guest.irq, &edges);
		driver_write(&straw_guest.mmio, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	}
}

static void say_id(uint32_t id)
{
	const struct driver_buffer buffer = {MESSAGE, sizeof(id), false};

	memcpy(guest_at(&straw_guest.guest, MESSAGE), &id, sizeof(id));
	hand_over(&buffer, 1, 0);
}

/* One round, as Linux does it. */
static void *name_pages(void *arg)
{
	(void)arg;
	say_id(wait_round());
	for (unsigned int i = 0; i < straw_guest.hint_count; i++)
		hand_over(&straw_guest.hints[i], 1, 0);
	say_id(VIRTIO_BALLOON_CMD_ID_STOP);
	wait_done();
	return NULL;
}

static void start_naming(const struct driver_buffer *hints, unsigned int count)
{
	straw_guest.hints = hints;
	straw_guest.hint_count = count;
	assert_int_equal(pthread_create(&straw_guest.thread, NULL, name_pages, NULL), 0);
}

static void join_naming(void)
{
	pthread_join(straw_guest.thread, NULL);
}

/* ---- What is asked and heard ------------------------------------------------------------------- */

static uint64_t number_in(const json_t *object, const char *key)
{
	assert_true(json_is_integer(json_object_get(object, key)));
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* The next reply must be an error that says so. */
static void hear_error(int fd, const char *part)
{
	json_t *reply = peer_hear(fd);
	const char *text = peer_text_at(reply, "error", "desc");

	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
	json_decref(reply);
}

/* The guest names three pages, and they are what is answered. */
static void expect_round(int fd)
{
	static const struct driver_buffer hint = {FREE, 3 * PAGE, true};
	json_t *result;

	start_naming(&hint, 1);
	result = peer_query(fd, "x-samara-free-pages");
	assert_int_equal(number_in(result, "free"), 3 * PAGE);
	json_decref(result);
	join_naming();
}

/* ---- A round ----------------------------------------------------------------------------------- */

static void what_is_named_is_added_up(void **state)
{
	static const struct driver_buffer hints[] = {
		{FREE + 8 * PAGE, 4 * PAGE, true},
		{FREE + 4 * PAGE, 4 * PAGE, true},      /* below it */
		{FREE + 12 * PAGE, 2 * PAGE, true},     /* above it */
		{FREE + 10 * PAGE, 6 * PAGE, true},     /* again, and more */
		{FREE + 64 * PAGE + 1, 3 * PAGE, true}, /* two as a whole */
		{FREE + 100 * PAGE + 1, PAGE, true},    /* none */
		{64 * MIB - PAGE, 2 * PAGE, true},      /* over the end of memory */
		{512 * MIB, MIB, true},                 /* where none is */
		{UINT64_MAX - PAGE + 1, PAGE, true},
		{UINT64_MAX - 2 * PAGE + 1, 2 * PAGE, true},
	};
	struct samara_error err;
	int fd = peer_greet();
	struct virtio_balloon_state counted;
	json_t *result;

	(void)state;
	load_driver();
	assert_int_equal(guest_mm_populate(straw.mm, FREE, 14 * PAGE, &err), 0);
	memset(guest_at(&straw_guest.guest, FREE), 0x5a, 14 * PAGE);
	start_naming(hints, sizeof(hints) / sizeof(hints[0]));
	result = peer_query(fd, "x-samara-free-pages");
	join_naming();
	assert_int_equal(number_in(result, "free"), (12 + 2 + 1) * PAGE);
	assert_int_equal(number_in(result, "ranges"), 3);
	assert_int_equal(number_in(result, "largest"), 12 * PAGE);
	/* As in the guest's memory, a page beside may have come along with one that was touched. */
	assert_in_range(number_in(result, "populated"), 10 * PAGE, 15 * PAGE);
	json_decref(result);
	/* It is a question, and nothing else. */
	for (unsigned int i = 0; i < 14; i++)
		assert_int_equal(*(uint8_t *)guest_at(&straw_guest.guest, FREE + i * PAGE), 0x5a);
	virtio_balloon_get(balloon_device(straw_guest.balloon), &counted);
	assert_true(counted.hinted_pages > 0);
	assert_int_equal(counted.reported_pages, 0);
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	expect_round(fd);
	expect_round(fd);
	close(fd);
}

static void a_guest_may_have_none(void **state)
{
	int fd = peer_greet();
	json_t *result;

	(void)state;
	load_driver();
	start_naming(NULL, 0);
	result = peer_query(fd, "x-samara-free-pages");
	join_naming();
	assert_int_equal(number_in(result, "free"), 0);
	assert_int_equal(number_in(result, "ranges"), 0);
	assert_int_equal(number_in(result, "largest"), 0);
	json_decref(result);
	close(fd);
}

/* A TiB, in pieces that touch: what of it is memory counts. */
static void more_than_there_is_may_be_named(void **state)
{
	struct driver_buffer hints[256];
	int fd = peer_greet();
	json_t *reply;

	(void)state;
	load_driver();
	for (unsigned int i = 0; i < 256; i++)
		hints[i] = (struct driver_buffer){i * UINT64_C(0xfffff000), 0xfffff000, true};
	start_naming(hints, 256);
	reply = peer_query(fd, "x-samara-free-pages");
	join_naming();
	assert_int_equal(number_in(reply, "free"), 64 * MIB);
	assert_int_equal(number_in(reply, "ranges"), 1);
	json_decref(reply);
	close(fd);
}

/* ---- Rounds that come to nothing --------------------------------------------------------------- */

static void what_can_not_be_is_refused(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_error(fd, ASK, "GenericError", "no driver that names its free pages");
	assert_true(driver_negotiate(&straw_guest.mmio, BIT(VIRTIO_F_VERSION_1)));
	driver_ok(&straw_guest.mmio);
	peer_expect_error(fd, ASK, "GenericError", "no driver that names its free pages");
	load_driver();
	peer_expect_error(fd, ASK_FOR("0"), "GenericError", "seconds from 1 to 3600, not 0");
	peer_expect_error(fd, ASK_FOR("3601"), "GenericError", "seconds from 1 to 3600");
	peer_expect_error(fd, ASK_FOR("true"), "GenericError", "timeout");
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_STOP);
	straw.balloon = NULL;
	peer_expect_error(fd, ASK, "DeviceNotActive", "No balloon device");
	close(fd);
}

static void a_guest_that_says_nothing_is_not_waited_for(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_driver();
	peer_expect_error(fd, ASK_FOR("1"), "GenericError", "within 1000 ms");
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	/* In the middle of it. */
	peer_say(fd, ASK_FOR("1"));
	say_id(wait_round());
	hear_error(fd, "within 1000 ms");
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	expect_round(fd);
	close(fd);
}

static void one_round_at_a_time(void **state)
{
	int fd = peer_greet(), other = peer_greet();
	uint32_t id;

	(void)state;
	load_driver();
	peer_say(fd, ASK);
	id = wait_round();
	/* Nobody else waits, and the round goes on. */
	peer_expect_error(other, ASK, "GenericError", "naming its free pages already");
	peer_expect_ok(other, "{\"execute\":\"query-status\"}");
	assert_int_equal(command(), id);
	say_id(id);
	say_id(VIRTIO_BALLOON_CMD_ID_STOP);
	json_decref(peer_hear(fd));
	expect_round(other);
	close(other);
	close(fd);
}

static void a_reset_ends_it(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_driver();
	peer_say(fd, ASK);
	say_id(wait_round());
	virtio_device_reset(device());
	hear_error(fd, "reset meanwhile");
	/* By the driver: it is unbound, or its kernel boots anew. */
	load_driver();
	peer_say(fd, ASK);
	wait_round();
	load_driver();
	hear_error(fd, "reset meanwhile");
	expect_round(fd);
	close(fd);
}

static void a_driver_that_breaks_the_rules_is_not_waited_for(void **state)
{
	static const struct driver_buffer over_the_end = {UINT64_MAX - PAGE + 1, 2 * PAGE, true};
	int fd = peer_greet();

	(void)state;
	load_driver();
	peer_say(fd, ASK_FOR("3600"));
	say_id(wait_round());
	driver_add(&straw_guest.queue, &over_the_end, 1, 0);
	driver_write(&straw_guest.mmio, VIRTIO_MMIO_QUEUE_NOTIFY, HINTS);
	hear_error(fd, "broke the rules");
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	peer_expect_error(fd, ASK_FOR("3600"), "GenericError", "broke the rules");
	load_driver();
	expect_round(fd);
	close(fd);
}

static void a_guest_that_is_stopped_names_nothing(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_driver();
	straw.state = VM_PAUSED;
	peer_expect_error(fd, ASK, "GenericError", "guest is stopped");
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_STOP);
	straw.state = VM_RUNNING;
	peer_say(fd, ASK);
	wait_round();
	straw.state = VM_PAUSED;
	hear_error(fd, "guest is stopped");
	/* It finds that when it runs on. */
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	straw.state = VM_RUNNING;
	expect_round(fd);
	close(fd);
}

static void a_client_that_is_gone_leaves_no_round(void **state)
{
	int fd = peer_greet(), other = peer_greet();

	(void)state;
	load_driver();
	peer_say(fd, ASK_FOR("3600"));
	say_id(wait_round());
	close(fd);
	wait_done();
	expect_round(other);
	/* One that says no more may listen still. */
	peer_say(other, ASK);
	say_id(wait_round());
	shutdown(other, SHUT_WR);
	usleep(200000);
	assert_true(command() > VIRTIO_BALLOON_CMD_ID_DONE);
	say_id(VIRTIO_BALLOON_CMD_ID_STOP);
	json_decref(peer_hear(other));
	wait_done();
	close(other);
}

static void the_end_of_the_vm_is_the_end_of_it(void **state)
{
	int fd = peer_greet();

	(void)state;
	load_driver();
	peer_say(fd, ASK_FOR("3600"));
	say_id(wait_round());
	end_vm();
	hear_error(fd, "the VM has ended");
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
	close(fd);
}

/* More ranges than any guest of a sensible size has: no memory without end is spent on them. */
static void ranges_without_end_are_refused(void **state)
{
	static struct driver_buffer hints[256];
	uint64_t named = 0;
	int fd = peer_greet();

	(void)state;
	load_driver();
	peer_say(fd, ASK_FOR("3600"));
	say_id(wait_round());
	/* They are not memory; each is named twice, so many are put together to be one. */
	while (command() > VIRTIO_BALLOON_CMD_ID_DONE) {
		for (unsigned int i = 0; i < 256; i++)
			hints[i] = (struct driver_buffer){BIT(40) + (named + i) / 2 * 2 * PAGE,
							  PAGE, true};
		hand_over(hints, 256, TABLE);
		named += 256;
		assert_true(named < 10 * FREE_PAGES_RANGES_MAX);
	}
	assert_in_range(named, 2 * FREE_PAGES_RANGES_MAX, 8 * FREE_PAGES_RANGES_MAX);
	hear_error(fd, "more than 65536 ranges");
	say_id(VIRTIO_BALLOON_CMD_ID_STOP);
	expect_round(fd);
	close(fd);
}

/* ---- samara ctl -------------------------------------------------------------------------------- */

static void ctl_asks(void **state)
{
	static const struct driver_buffer hint = {FREE, 4 * MIB, true};

	(void)state;
	assert_int_equal(ctl("free", NULL, NULL, NULL), SAMARA_EXIT_FAILURE);
	load_driver();
	start_naming(&hint, 1);
	assert_int_equal(ctl("free", NULL, NULL, NULL), 0);
	join_naming();
	start_naming(&hint, 1);
	assert_int_equal(ctl("free", "--json", "--timeout", "60"), 0);
	join_naming();
	assert_int_equal(ctl("free", "--timeout", "1", NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("free", "--timeout", "0", NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("free", "--timeout", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("free", "--node", "1", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(command(), VIRTIO_BALLOON_CMD_ID_DONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_balloon, stop_balloon)
	const struct CMUnitTest tests[] = {
		TEST(what_is_named_is_added_up),
		TEST(a_guest_may_have_none),
		TEST(more_than_there_is_may_be_named),
		TEST(what_can_not_be_is_refused),
		TEST(a_guest_that_says_nothing_is_not_waited_for),
		TEST(one_round_at_a_time),
		TEST(a_reset_ends_it),
		TEST(a_driver_that_breaks_the_rules_is_not_waited_for),
		TEST(a_guest_that_is_stopped_names_nothing),
		TEST(a_client_that_is_gone_leaves_no_round),
		TEST(the_end_of_the_vm_is_the_end_of_it),
		TEST(ranges_without_end_are_refused),
		TEST(ctl_asks),
	};

	return cmocka_run_group_tests_name("qmp balloon", tests, make_folder, remove_folder);
}
