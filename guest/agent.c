/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's life: as /init it makes itself at home, runs its threads, reports, powers off. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "guest/agent.h"

#define REPORT_MS 1000

static void power_off(void)
{
	agent_port_drain();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void fail(const char *what, int error)
{
	agent_say("fail %s: %s", what, strerror(error));
	/* For who looks at the console, should the line not be there. */
	fprintf(stderr, "agent: %s: %s\n", what, strerror(error));
	power_off();
}

/* ---- At home --------------------------------------------------------------------------------- */

static void mount_all(void)
{
	static const char *const systems[][2] = {
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}};

	for (size_t i = 0; i < sizeof(systems) / sizeof(*systems); i++) {
		mkdir(systems[i][1], 0755);
		/* EBUSY: the kernel has mounted it by itself. */
		if (mount(systems[i][0], systems[i][1], systems[i][0], 0, NULL) && errno != EBUSY)
			fprintf(stderr, "agent: mounting %s: %s\n", systems[i][1], strerror(errno));
	}
}

/* What is not there is built in, or not to be had: the first line says which drivers there are. */
static void load_modules(void)
{
	static const char *const modules[] = AGENT_MODULES;

	for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		char path[64];
		int file;

		snprintf(path, sizeof(path), AGENT_MODULE_FOLDER "/%s.ko", modules[i]);
		file = open(path, O_RDONLY | O_CLOEXEC);
		if (file < 0)
			continue;
		if (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST)
			fail(modules[i], errno);
		close(file);
	}
}

static bool has_driver(const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/bus/virtio/drivers/%s", name);
	if (!access(path, F_OK))
		return true;
	snprintf(path, sizeof(path), "/sys/bus/platform/drivers/%s", name);
	return !access(path, F_OK);
}

static void say_hello(const struct agent *agent)
{
	struct utsname name = {0};

	uname(&name);
	agent_say("hello version=%u cpus=%u mmio=%d mem=%d balloon=%d release=%s", AGENT_VERSION,
		  agent->cpus, has_driver("virtio-mmio"), has_driver("virtio_mem"),
		  has_driver("virtio_balloon"), name.release);
}

/* Runs of pages that lie side by side in guest-physical memory, too. */
static void say_own(const struct agent *agent)
{
	uint64_t first = 0, bytes = 0;

	for (unsigned int page = 0; page < AGENT_OWN_PAGES; page++) {
		uint64_t gpa = agent_gpa(agent->own + page * STRESS_PAGE_BYTES);

		if (!gpa)
			continue;
		if (gpa != first + bytes) {
			if (bytes)
				agent_say("own gpa=%#" PRIx64 " bytes=%" PRIu64, first, bytes);
			first = gpa;
			bytes = 0;
		}
		bytes += STRESS_PAGE_BYTES;
	}
	if (bytes)
		agent_say("own gpa=%#" PRIx64 " bytes=%" PRIu64, first, bytes);
}

/* ---- Options --------------------------------------------------------------------------------- */

static enum agent_pattern parse_pattern(const char *text)
{
	static const char *const names[AGENT_PATTERNS] = {
		[AGENT_SEQUENTIAL] = "sequential",
		[AGENT_RANDOM] = "random",
		[AGENT_ZIPF] = "zipf",
		[AGENT_ONE] = "one",
		[AGENT_OWN] = "own",
	};

	for (unsigned int i = 0; i < AGENT_PATTERNS; i++)
		if (!strcmp(text, names[i]))
			return i;
	fail(text, EINVAL);
	return AGENT_RANDOM;
}

/* The host has checked them. */
static void parse_options(struct agent_options *options, char **list)
{
	*options = (struct agent_options){.seed = 1,
					  .area_bytes = 4 << 20,
					  .areas = 16,
					  .pattern = AGENT_RANDOM,
					  .zipf = 0.99};
	for (; *list; list++) {
		char *value = strchr(*list, '=');

		if (!value)
			continue;
		*value++ = 0;
		if (!strcmp(*list, "seed"))
			options->seed = strtoull(value, NULL, 0);
		else if (!strcmp(*list, "areas"))
			options->areas = (unsigned int)strtoul(value, NULL, 0);
		else if (!strcmp(*list, "area"))
			options->area_bytes = strtoull(value, NULL, 0);
		else if (!strcmp(*list, "pattern"))
			options->pattern = parse_pattern(value);
		else if (!strcmp(*list, "zipf"))
			options->zipf = strtod(value, NULL);
	}
	if (!options->areas || options->area_bytes < STRESS_PAGE_BYTES)
		fail("options", EINVAL);
}

/* ---- Threads --------------------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
	struct agent_thread *thread = arg;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(thread->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	while (!__atomic_load_n(&thread->agent->stop, __ATOMIC_ACQUIRE))
		agent_visit(thread);
	__atomic_fetch_sub(&thread->agent->running, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

static void find_cpus(struct agent *agent)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		fail("sched_getaffinity", errno);
	agent->cpus = (unsigned int)CPU_COUNT(&cpus);
	agent->threads = aligned_alloc(128, agent->cpus * sizeof(*agent->threads));
	if (!agent->threads)
		fail("threads", ENOMEM);
	memset(agent->threads, 0, agent->cpus * sizeof(*agent->threads));
	for (unsigned int cpu = 0, i = 0; i < agent->cpus && cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			agent->threads[i++].cpu = cpu;
}

static void start_threads(struct agent *agent)
{
	struct stress_rng seeds = {agent->options.seed};
	bool own = agent->options.pattern == AGENT_OWN;

	agent->running = agent->cpus;
	for (unsigned int i = 0; i < agent->cpus; i++) {
		struct agent_thread *thread = &agent->threads[i];
		int ret;

		thread->agent = agent;
		thread->index = i;
		thread->rng.state = stress_random(&seeds);
		thread->next =
			own ? i % agent->options.areas
			    : i * (agent->options.areas / agent->cpus) % agent->options.areas;
		ret = pthread_create(&thread->thread, NULL, thread_main, thread);
		if (ret)
			fail("pthread_create", ret);
	}
}

/* ---- Reports --------------------------------------------------------------------------------- */

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void say_counts(const struct agent *agent)
{
	uint64_t checked = 0, written = 0, released = 0, faults = 0, visits = 0, errors = 0;
	uint64_t least = UINT64_MAX;
	struct sysinfo info = {0};

	for (unsigned int i = 0; i < agent->cpus; i++) {
		const struct agent_thread *thread = &agent->threads[i];
		uint64_t own = load(&thread->visits);

		checked += load(&thread->checked_bytes);
		written += load(&thread->written_bytes);
		released += load(&thread->released_bytes);
		faults += load(&thread->faults);
		errors += load(&thread->errors);
		visits += own;
		least = own < least ? own : least;
	}
	sysinfo(&info);
	agent_say("count tsc=%" PRIu64 " checked=%" PRIu64 " written=%" PRIu64 " released=%" PRIu64
		  " faults=%" PRIu64 " visits=%" PRIu64 " least=%" PRIu64 " errors=%" PRIu64
		  " total=%" PRIu64,
		  (uint64_t)__builtin_ia32_rdtsc(), checked, written, released, faults, visits,
		  least, errors, (uint64_t)info.totalram * info.mem_unit);
}

static void say_touches(struct agent *agent)
{
	char line[AGENT_LINE_BYTES];
	unsigned int pairs = 0;
	int length = 0;

	for (unsigned int bucket = 0; bucket < STRESS_BUCKETS; bucket++) {
		uint32_t now = 0, more;

		for (unsigned int i = 0; i < agent->cpus; i++)
			now += __atomic_load_n(&agent->threads[i].touches[bucket],
					       __ATOMIC_RELAXED);
		more = now - agent->touches_told[bucket];
		agent->touches_told[bucket] = now;
		if (!more)
			continue;
		length += snprintf(line + length, sizeof(line) - (size_t)length, " %u:%u", bucket,
				   more);
		if (++pairs == AGENT_TOUCH_PAIRS) {
			agent_say("touch%s", line);
			pairs = 0;
			length = 0;
		}
	}
	if (pairs)
		agent_say("touch%s", line);
}

static void report(struct agent *agent)
{
	say_counts(agent);
	say_touches(agent);
}

/* Until the host wants an end; and then for as long as threads are on their last visits. */
static void report_until_stopped(struct agent *agent)
{
	while (!agent_wait_for_stop(REPORT_MS))
		report(agent);
	__atomic_store_n(&agent->stop, 1, __ATOMIC_RELEASE);
	for (unsigned int beat = 1; __atomic_load_n(&agent->running, __ATOMIC_ACQUIRE); beat++) {
		usleep(10000);
		if (beat % (REPORT_MS / 10) == 0)
			report(agent);
	}
}

static void check_all(struct agent *agent)
{
	for (unsigned int i = 0; i < agent->cpus; i++) {
		pthread_join(agent->threads[i].thread, NULL);
		agent_check_own(&agent->threads[i]);
	}
	for (unsigned int i = 0; i < agent->options.areas; i++) {
		agent_check_area(&agent->threads[0], &agent->areas[i]);
		say_counts(agent);
	}
	report(agent);
}

int main(int argc, char **argv)
{
	static struct agent agent;
	int ret;

	(void)argc;
	mount_all();
	ret = agent_port_open();
	if (ret)
		fail(AGENT_PORT, ret);
	parse_options(&agent.options, argv + 1);
	load_modules();
	find_cpus(&agent);
	say_hello(&agent);
	ret = agent_areas_create(&agent);
	if (ret)
		fail("memory for the areas", ret);
	say_own(&agent);
	agent_say("ready");
	start_threads(&agent);
	report_until_stopped(&agent);
	check_all(&agent);
	agent_say("done");
	power_off();
	return 0;
}
