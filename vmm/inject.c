/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/inject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_rng.h"

const char *const inject_place_names[INJECT_PLACES] = {
	[INJECT_ALLOC] = "alloc",
	[INJECT_MMAP] = "mmap",
	[INJECT_MADVISE] = "madvise",
	[INJECT_MREMAP] = "mremap",
	[INJECT_FALLOCATE] = "fallocate",
	[INJECT_UFFD_COPY] = "uffd-copy",
	[INJECT_UFFD_ZERO] = "uffd-zero",
	[INJECT_UFFD_MOVE] = "uffd-move",
	[INJECT_UFFD_PROTECT] = "uffd-protect",
	[INJECT_UFFD_WAKE] = "uffd-wake",
	[INJECT_KVM_RUN] = "kvm-run",
	[INJECT_KVM_SETUP] = "kvm-setup",
};

/* What a call there fails with; as the kernel would when memory is short or pages are in use. */
static const int codes[INJECT_PLACES] = {
	[INJECT_ALLOC] = ENOMEM,     [INJECT_MMAP] = ENOMEM,      [INJECT_MADVISE] = ENOMEM,
	[INJECT_FALLOCATE] = ENOSPC, [INJECT_MREMAP] = ENOMEM,    [INJECT_UFFD_COPY] = ENOMEM,
	[INJECT_UFFD_ZERO] = ENOMEM, [INJECT_UFFD_MOVE] = EBUSY,  [INJECT_UFFD_PROTECT] = ENOMEM,
	[INJECT_KVM_RUN] = EINTR,    [INJECT_KVM_SETUP] = ENOMEM,
};

#define DELAY_MAX_NS (60 * STRESS_NS_PER_S)

bool inject_armed;

/* Immutable while armed. */
static struct inject_rules armed_rules;
static uint64_t armed_seed;

/* Atomic. */
static struct inject_counts counted;

static __thread unsigned int paused;

static int bad(struct samara_error *err, const char *text, const char *why)
{
	return samara_error_set(
		err, -EINVAL,
		"--inject %s: %s; PLACE:ODDS[:DELAY], as uffd-copy:100:2ms; places: "
		"all, alloc, mmap, mremap, madvise, fallocate, uffd-copy, uffd-zero, uffd-move, "
		"uffd-protect, uffd-wake, kvm-run, kvm-setup",
		text, why);
}

static bool parse_delay(const char *text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", STRESS_NS_PER_S}};
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (end == text || *text == '-')
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		*ns = value * units[i].ns;
		return value && value <= DELAY_MAX_NS / units[i].ns;
	}
	return false;
}

int inject_parse(struct inject_rules *rules, const char *text, struct samara_error *err)
{
	const char *colon = strchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : strlen(text);
	uint64_t delay_ns = 0;
	unsigned long odds;
	bool all, found = false;
	char *end;

	if (!colon)
		return bad(err, text, "no odds");
	odds = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || colon[1] == '-' || !odds || odds > UINT32_MAX ||
	    (*end && *end != ':'))
		return bad(err, text, "the odds are a number from 1: one of so many calls");
	if (*end == ':' && !parse_delay(end + 1, &delay_ns))
		return bad(err, text, "the delay is a number with ns, us, ms or s, up to 60s");
	all = length == 3 && !strncmp(text, "all", 3);
	for (unsigned int i = 0; i < INJECT_PLACES; i++) {
		const char *name = inject_place_names[i];

		if (all ? i == INJECT_KVM_SETUP
			: strlen(name) != length || strncmp(text, name, length) != 0)
			continue;
		if (!codes[i] && !delay_ns) {
			if (all)
				continue;
			return bad(err, text, "this call cannot fail, only take long");
		}
		found = true;
		rules->place[i].odds = (uint32_t)odds;
		rules->place[i].delay_ns = delay_ns;
	}
	return found ? 0 : bad(err, text, "no such place");
}

bool inject_any(const struct inject_rules *rules)
{
	for (unsigned int i = 0; i < INJECT_PLACES; i++)
		if (rules->place[i].odds)
			return true;
	return false;
}

bool inject_any_fails(const struct inject_rules *rules)
{
	for (unsigned int i = 0; i < INJECT_PLACES; i++)
		if (rules->place[i].odds && !rules->place[i].delay_ns)
			return true;
	return false;
}

void inject_arm(const struct inject_rules *rules, uint64_t seed)
{
	if (!inject_any(rules))
		return;
	armed_rules = *rules;
	armed_seed = seed;
	memset(&counted, 0, sizeof(counted));
	__atomic_store_n(&inject_armed, true, __ATOMIC_RELEASE);
}

void inject_arm_setup(const struct inject_rules *rules, uint64_t seed)
{
	struct inject_rules setup = {0};

	setup.place[INJECT_KVM_SETUP] = rules->place[INJECT_KVM_SETUP];
	inject_arm(&setup, seed);
}

void inject_disarm(void)
{
	__atomic_store_n(&inject_armed, false, __ATOMIC_RELEASE);
}

void inject_pause(void)
{
	paused++;
}

void inject_resume(void)
{
	paused--;
}

bool inject_fails(void)
{
	return __atomic_load_n(&inject_armed, __ATOMIC_ACQUIRE) && inject_any_fails(&armed_rules);
}

bool inject_is_code(int code)
{
	return code == -ENOMEM || code == -ENOSPC || code == -EBUSY;
}

void inject_get_counts(struct inject_counts *counts)
{
	for (unsigned int i = 0; i < INJECT_PLACES; i++) {
		counts->calls[i] = __atomic_load_n(&counted.calls[i], __ATOMIC_RELAXED);
		counts->struck[i] = __atomic_load_n(&counted.struck[i], __ATOMIC_RELAXED);
	}
}

int inject_roll(enum inject_place place)
{
	uint32_t odds = armed_rules.place[place].odds;
	uint64_t delay_ns = armed_rules.place[place].delay_ns, n;
	struct stress_rng rng;
	int code = errno;

	if (!odds || paused)
		return 0;
	n = __atomic_fetch_add(&counted.calls[place], 1, __ATOMIC_RELAXED);
	rng.state = armed_seed + ((uint64_t)place << 56) + n;
	if (stress_below(&rng, odds))
		return 0;
	__atomic_fetch_add(&counted.struck[place], 1, __ATOMIC_RELAXED);
	if (!delay_ns)
		return place == INJECT_KVM_RUN && stress_random(&rng) & 1 ? EAGAIN : codes[place];
	stress_sleep_ns(delay_ns);
	errno = code;
	return 0;
}
