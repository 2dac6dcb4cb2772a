/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent of a Linux guest says, and what a guest says that wants to do harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/stress_linux_agent.h"
#include "vmm/stress_rng.h"

#define HELLO "hello version=1 cpus=2 mmio=1 mem=1 balloon=0 release=6.12.1-cloud\n"
#define READY HELLO "own gpa=0x1000000 bytes=8192\nready\n"
#define COUNT                                                                   \
	"count tsc=100 checked=4096 written=8192 released=0 faults=3 visits=5 " \
	"least=2 errors=0 total=400000000\n"

static struct stress_agent agent;

static void say(const char *text)
{
	stress_agent_feed(&agent, (const uint8_t *)text, strlen(text));
}

static void begin(const char *text)
{
	memset(&agent, 0, sizeof(agent));
	say(text);
}

static void test_says_everything(void **state)
{
	(void)state;
	begin(HELLO);
	assert_int_equal(agent.state, STRESS_AGENT_HELLO);
	assert_int_equal(agent.cpus, 2);
	assert_true(agent.mmio && agent.mem && !agent.balloon);
	assert_string_equal(agent.release, "6.12.1-cloud");
	say("own gpa=0x1000000 bytes=8192\n");
	assert_int_equal(agent.own_count, 1);
	assert_int_equal(agent.own[0].gpa, 0x1000000);
	assert_int_equal(agent.own[0].size_bytes, 8192);
	say("ready\n" COUNT "touch 7:2 4863:1 7:1\n");
	assert_int_equal(agent.state, STRESS_AGENT_READY);
	assert_int_equal(agent.counts.checked_bytes, 4096);
	assert_int_equal(agent.counts.least_visits, 2);
	assert_int_equal(agent.counts.total_bytes, 400000000);
	assert_int_equal(agent.touches[7], 3);
	assert_int_equal(agent.touches[STRESS_BUCKETS - 1], 1);
	say("wrong kind=pattern cpu=1 va=0x7f0000001008 gpa=0x2008 generation=9 "
	    "expected=0xffffffffffffffff found=0\n");
	assert_int_equal(agent.wrong_count, 1);
	assert_string_equal(agent.wrong[0].what, "contents were not kept");
	assert_int_equal(agent.wrong[0].gpa, 0x2008);
	assert_true(agent.wrong[0].expected == UINT64_MAX);
	say("done\n");
	assert_int_equal(agent.state, STRESS_AGENT_DONE);
	/* That was its last word. */
	say("fail no more\nrubbish\n");
	assert_int_equal(agent.state, STRESS_AGENT_DONE);
}

static void test_bytes_come_one_by_one(void **state)
{
	const char text[] = READY COUNT;

	(void)state;
	begin("");
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		stress_agent_feed(&agent, (const uint8_t *)text + i, 1);
	assert_int_equal(agent.state, STRESS_AGENT_READY);
	assert_int_equal(agent.lines, 4);
}

/* A port that is probed, or used by another program first, is not an agent that is ill. */
static void test_noise_before_the_first_line(void **state)
{
	(void)state;
	begin("\xff\x01login:\r\n\n");
	assert_int_equal(agent.state, STRESS_AGENT_SILENT);
	say(HELLO);
	assert_int_equal(agent.state, STRESS_AGENT_HELLO);
}

static void test_says_why_it_failed(void **state)
{
	(void)state;
	begin(HELLO "fail memory for the areas: Cannot allocate memory\n");
	assert_int_equal(agent.state, STRESS_AGENT_FAILED);
	assert_string_equal(agent.text, "memory for the areas: Cannot allocate memory");
	begin("fail\n");
	assert_int_equal(agent.state, STRESS_AGENT_FAILED);
	assert_true(agent.text[0]);
}

/* Each after the line before it; none is what the agent says. */
static void test_refuses_what_makes_no_sense(void **state)
{
	static const struct {
		const char *before, *line;
	} wrong[] = {
		{HELLO, "\n"},
		{HELLO, "hello version=1 cpus=2 mmio=1 mem=1 balloon=0 release=again\n"},
		{HELLO, "ready now\n"},
		{HELLO, "readyy\n"},
		{HELLO, COUNT},
		{HELLO, "touch 1:1\n"},
		{HELLO, "done\n"},
		{HELLO, "own gpa=0x1001 bytes=4096\n"},
		{HELLO, "own gpa=0x1000 bytes=0\n"},
		{HELLO, "own gpa=0x1000 bytes=4097\n"},
		{HELLO, "own gpa=0x1000 bytes=0x100000000\n"},
		{HELLO, "own gpa=0xfffffffffffff000 bytes=4096\n"},
		{HELLO, "own gpa=-4096 bytes=4096\n"},
		{HELLO, "own gpa=0x1000 bytes=4096 more\n"},
		{HELLO, "own bytes=4096 gpa=0x1000\n"},
		{READY, "own gpa=0x1000 bytes=4096\n"},
		{READY, "count tsc=1\n"},
		{READY, "count tsc=99999999999999999999 checked=0 written=0 released=0 faults=0 "
			"visits=0 least=0 errors=0 total=1\n"},
		{READY COUNT,
		 "count tsc=200 checked=4095 written=8192 released=0 faults=3 visits=5 "
		 "least=2 errors=0 total=1\n"},
		{READY, "touch\n"},
		{READY, "touch 4864:1\n"},
		{READY, "touch 1:0\n"},
		{READY, "touch 1:4294967296\n"},
		{READY, "touch 1 2\n"},
		{READY, "touch 1:1 \n"},
		{READY, "wrong kind=pattern cpu=1\n"},
		{READY, "wrong kind=%n cpu=0 va=1 gpa=1 generation=1 expected=1 found=1\n"},
		{READY,
		 "wrong kind=pattern cpu=65536 va=1 gpa=1 generation=1 expected=1 found=2\n"},
		{READY, "sudo\n"},
		{READY, "\033[2J\n"},
		{READY, "done \n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		begin(wrong[i].before);
		assert_true(agent.state < STRESS_AGENT_DONE);
		say(wrong[i].line);
		if (agent.state != STRESS_AGENT_GARBLED)
			fail_msg("taken: %s", wrong[i].line);
		for (const char *c = agent.text; *c; c++)
			assert_in_range((unsigned char)*c, ' ', '~');
	}
	/* The first line alone is waited for, so a bad one is noise. */
	begin("hello version=2 cpus=2 mmio=1 mem=1 balloon=0 release=x\n"
	      "hello version=1 cpus=0 mmio=1 mem=1 balloon=0 release=x\n"
	      "hello version=1 cpus=255 mmio=1 mem=1 balloon=0 release=x\n"
	      "hello version=1 cpus=2 mmio=2 mem=1 balloon=0 release=x\n");
	assert_int_equal(agent.state, STRESS_AGENT_SILENT);
}

/* Time and memory may go back: CPUs differ in the one, DIMMs leave with the other. */
static void test_time_and_memory_go_back(void **state)
{
	(void)state;
	begin(READY COUNT "count tsc=50 checked=4096 written=8192 released=0 faults=3 visits=5 "
			  "least=2 errors=0 total=300000000\n");
	assert_int_equal(agent.state, STRESS_AGENT_READY);
	assert_int_equal(agent.counts.tsc, 50);
	assert_int_equal(agent.counts.total_bytes, 300000000);
}

static void test_a_line_without_an_end(void **state)
{
	(void)state;
	begin(READY);
	for (unsigned int i = 0; i < 100000; i++)
		say("aaaaaaaaaaaaaaaa");
	assert_int_equal(agent.state, STRESS_AGENT_READY);
	assert_int_equal(agent.length, AGENT_LINE_BYTES);
	say("\n");
	assert_int_equal(agent.state, STRESS_AGENT_GARBLED);
	assert_non_null(strstr(agent.text, "without an end"));
}

static void test_a_release_without_an_end(void **state)
{
	char line[AGENT_LINE_BYTES];

	(void)state;
	begin("");
	memset(line, 'x', sizeof(line));
	memcpy(line, HELLO, sizeof(HELLO) - 2);
	line[sizeof(line) - 2] = '\n';
	line[sizeof(line) - 1] = 0;
	say(line);
	assert_int_equal(agent.state, STRESS_AGENT_HELLO);
	assert_int_equal(strlen(agent.release), sizeof(agent.release) - 1);
}

static void test_more_than_is_kept(void **state)
{
	(void)state;
	begin(HELLO);
	for (unsigned int i = 0; i < AGENT_OWN_PAGES; i++)
		say("own gpa=0x1000 bytes=4096\n");
	assert_int_equal(agent.state, STRESS_AGENT_HELLO);
	say("own gpa=0x1000 bytes=4096\n");
	assert_int_equal(agent.state, STRESS_AGENT_GARBLED);

	begin(READY);
	for (unsigned int i = 0; i < AGENT_WRONG_LINES; i++)
		say("wrong kind=own cpu=0 va=1 gpa=0 generation=0 expected=1 found=2\n");
	assert_int_equal(agent.wrong_count, AGENT_WRONG_LINES);
	say("wrong kind=own cpu=0 va=1 gpa=0 generation=0 expected=1 found=2\n");
	assert_int_equal(agent.state, STRESS_AGENT_GARBLED);
}

static void test_touches_stay_at_the_end_of_the_scale(void **state)
{
	(void)state;
	begin(READY "touch 5:4294967295 5:4294967295\n");
	assert_int_equal(agent.state, STRESS_AGENT_READY);
	assert_int_equal(agent.touches[5], UINT32_MAX);
}

/* Whatever comes, nothing is written where it should not: for the sanitizers, and for what is around. */
static void test_random_bytes(void **state)
{
	static const char *const parts[] = {"hello", "own",   "ready", "count", "touch", "wrong",
					    "fail",  "done",  " ",     "=",     ":",     "\n",
					    "0x",    "99999", " gpa",  " cpu",  "%s",    "\xff"};
	struct stress_rng rng = {20261121};

	(void)state;
	for (unsigned int round = 0; round < 2000; round++) {
		begin(round & 1 ? READY : HELLO);
		for (unsigned int i = 0; i < 200; i++) {
			uint8_t byte = (uint8_t)stress_random(&rng);

			if (stress_below(&rng, 4))
				say(parts[stress_below(&rng, sizeof(parts) / sizeof(*parts))]);
			else
				stress_agent_feed(&agent, &byte, 1);
		}
		assert_true(agent.length <= AGENT_LINE_BYTES);
		assert_true(agent.own_count <= AGENT_OWN_PAGES);
		assert_true(agent.wrong_count <= AGENT_WRONG_LINES);
		assert_true(strlen(agent.text) < sizeof(agent.text));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_says_everything),
		cmocka_unit_test(test_bytes_come_one_by_one),
		cmocka_unit_test(test_noise_before_the_first_line),
		cmocka_unit_test(test_says_why_it_failed),
		cmocka_unit_test(test_refuses_what_makes_no_sense),
		cmocka_unit_test(test_time_and_memory_go_back),
		cmocka_unit_test(test_a_line_without_an_end),
		cmocka_unit_test(test_a_release_without_an_end),
		cmocka_unit_test(test_more_than_is_kept),
		cmocka_unit_test(test_touches_stay_at_the_end_of_the_scale),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("stress_agent", tests, NULL, NULL);
}
