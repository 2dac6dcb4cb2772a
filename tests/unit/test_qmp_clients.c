/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket with clients that are slow, hostile, or many. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/straw_mm.h"
#include "vmm/qmp.h"

static void a_waiting_command_holds_up_nobody_else(void **state)
{
	int slow = peer_greet(), other = peer_greet(), i;
	json_t *event;

	(void)state;
	peer_say(slow, "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":\"0xb10c000\","
		       "\"size\":4096},\"id\":\"late\"}");
	straw_wait_for(&straw_mm.waiting, 1);
	for (i = 0; i < 100; i++)
		peer_expect_ok(other, "{\"execute\":\"x-samara-regions\"}");
	peer_expect_ok(other, "{\"execute\":\"stop\"}");
	/* It hears of events meanwhile, */
	event = peer_hear(slow);
	assert_string_equal(peer_text_at(event, "event", NULL), "STOP");
	json_decref(event);
	/* and what it asks next is answered in order. */
	peer_say(slow, "{\"execute\":\"query-name\",\"id\":\"next\"}");
	straw_mm.release = true;
	event = peer_hear(slow);
	assert_string_equal(peer_text_at(event, "id", NULL), "late");
	json_decref(event);
	event = peer_hear(slow);
	assert_string_equal(peer_text_at(event, "id", NULL), "next");
	json_decref(event);
	close(slow);
	close(other);
}

static void a_client_may_leave_in_the_middle_of_its_command(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		int fd = peer_greet();

		peer_say(fd,
			 "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":\"0xb10c000\","
			 "\"size\":4096}}");
		straw_wait_for(&straw_mm.waiting, i + 1);
		close(fd);
	}
	peer_expect_alive();
	straw_mm.release = true;
	straw_wait_for(&straw_mm.waiting, 0);
	peer_expect_alive();
}

static void stop_waits_for_a_command(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_say(fd, "{\"execute\":\"x-samara-unplug\",\"arguments\":{\"gpa\":\"0xb10c000\","
		     "\"size\":4096},\"id\":1}");
	straw_wait_for(&straw_mm.waiting, 1);
	straw_teardown(state);
	assert_int_equal(straw_mm.waiting, 0);
	json_decref(peer_hear(fd)); /* its reply was sent */
	peer_expect_end(fd);
	close(fd);
	assert_int_equal(straw_setup(state), 0);
}

static void a_client_that_never_reads_is_dropped(void **state)
{
	int fd = peer_greet(), i;

	(void)state;
	/* 1 MiB of backlog and the socket's buffer, with some 90 bytes per event. */
	for (i = 0; i < 40000; i++)
		straw_tell(&(struct vm_notice){.event = VM_EVENT_STOP}, &straw);
	peer_expect_alive();
	peer_expect_end(fd);
	close(fd);
}

/* One that asks and asks without reading is not read any further; nothing piles up. */
static void questions_without_reading_are_held_back(void **state)
{
	const char *question = "{\"execute\":\"x-samara-regions\"}";
	int fd = peer_greet(), flags = fcntl(fd, F_GETFL), sent = 0;

	(void)state;
	straw_mm.region_count = 1000;
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	for (;;) {
		struct pollfd out = {.fd = fd, .events = POLLOUT};

		if (send(fd, question, strlen(question), MSG_NOSIGNAL) == (ssize_t)strlen(question))
			sent++;
		else if (!poll(&out, 1, 200))
			break;
		assert_true(sent < 1000000);
	}
	peer_expect_alive();
	close(fd);
	peer_expect_alive();
}

static void garbage_is_answered_then_dropped(void **state)
{
	int fd = peer_dial(), lines = 0, i;
	char *line;

	(void)state;
	json_decref(peer_hear(fd));
	for (i = 0; i < 50; i++)
		if (send(fd, "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL) != 16)
			break;
	while ((line = peer_hear_line(fd))) {
		assert_non_null(strstr(line, "JSON parse error"));
		lines++;
	}
	assert_in_range(lines, 1, 8);
	close(fd);
	peer_expect_alive();
}

static void random_bytes_do_no_harm(void **state)
{
	static const char alphabet[] = "{}[]\":,\\\n\r\0\x80 etrue";
	unsigned int seed = 20260, i, round;

	(void)state;
	for (round = 0; round < 50; round++) {
		int fd = round % 2 ? peer_greet() : peer_dial();

		for (i = 0; i < 2000; i++) {
			char byte = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];

			if (send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
				break;
		}
		close(fd);
	}
	peer_expect_alive();
}

static void a_line_of_ten_megabytes_is_dropped(void **state)
{
	char block[65536];
	int fd = peer_greet(), i;
	ssize_t sent = 0;

	(void)state;
	memset(block, 'a', sizeof(block));
	memcpy(block, "{\"execute\":\"", 12);
	for (i = 0; i < 160 && sent >= 0; i++) {
		sent = send(fd, block, sizeof(block), MSG_NOSIGNAL);
		memset(block, 'a', sizeof(block));
	}
	assert_true(sent < 0); /* it was cut off on the way */
	close(fd);
	peer_expect_alive();
}

static void half_a_line_waits(void **state)
{
	int fd = peer_greet(), mute = peer_greet();
	json_t *reply;

	(void)state;
	peer_say(mute, "{\"execute\":\"qu");
	peer_expect_ok(fd, "{\"execute\":\"query-status\"}");
	peer_say(mute, "ery-status\"}");
	reply = peer_hear(mute);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
	close(mute);
	close(fd);
}

static void deep_nesting_is_dropped(void **state)
{
	int fd = peer_greet(), i;
	json_t *reply;

	(void)state;
	peer_say(fd, "{\"execute\":\"query-status\",\"id\":");
	for (i = 0; i < 1000; i++)
		if (send(fd, "[", 1, MSG_NOSIGNAL) != 1)
			break;
	reply = peer_hear(fd);
	assert_non_null(strstr(peer_text_at(reply, "error", "desc"), "nested"));
	json_decref(reply);
	peer_expect_end(fd);
	close(fd);
	peer_expect_alive();
}

/* What was sent before the sender's side was closed is carried out and answered. */
static void a_half_closed_client_gets_its_replies(void **state)
{
	int fd = peer_dial(), lines = 0;

	(void)state;
	peer_say(fd, "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"query-name\"}"
		     "{\"execute\":\"system_reset\"}");
	shutdown(fd, SHUT_WR);
	while (peer_hear_line(fd))
		lines++;
	assert_int_equal(lines, 5); /* greeting, three replies, RESET */
	assert_int_equal(straw.resets, 1);
	close(fd);
}

static void clients_are_limited(void **state)
{
	int fds[QMP_CLIENTS_MAX], late, last;
	unsigned int i;
	json_t *message;

	(void)state;
	for (i = 0; i < QMP_CLIENTS_MAX; i++)
		fds[i] = peer_greet();
	late = peer_dial();
	message = peer_hear(late);
	assert_non_null(strstr(peer_text_at(message, "error", "desc"), "too many clients"));
	json_decref(message);
	peer_expect_end(late);
	peer_expect_ok(fds[0], "{\"execute\":\"query-status\"}");
	close(fds[1]);
	/* The place is free again, a moment later. */
	for (i = 0, last = -1; i < 60000 && last < 0; i++) {
		last = peer_dial();
		message = peer_hear(last);
		if (!json_object_get(message, "QMP")) {
			close(last);
			last = -1;
			usleep(1000);
		}
		json_decref(message);
	}
	assert_true(last >= 0);
	close(last);
	close(late);
	close(fds[0]);
	for (i = 2; i < QMP_CLIENTS_MAX; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QMP_TEST(a_waiting_command_holds_up_nobody_else),
		QMP_TEST(a_client_may_leave_in_the_middle_of_its_command),
		QMP_TEST(stop_waits_for_a_command),
		QMP_TEST(a_client_that_never_reads_is_dropped),
		QMP_TEST(questions_without_reading_are_held_back),
		QMP_TEST(garbage_is_answered_then_dropped),
		QMP_TEST(random_bytes_do_no_harm),
		QMP_TEST(a_line_of_ten_megabytes_is_dropped),
		QMP_TEST(half_a_line_waits),
		QMP_TEST(deep_nesting_is_dropped),
		QMP_TEST(a_half_closed_client_gets_its_replies),
		QMP_TEST(clients_are_limited),
	};

	return cmocka_run_group_tests_name("qmp clients", tests, make_folder, remove_folder);
}
