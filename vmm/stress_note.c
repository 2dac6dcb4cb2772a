/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_state.h"

/* All are counted; a person wants the first ones. */
#define NOTES_MAX 10

void stress_note(struct stress *s, const char *fmt, ...)
{
	char line[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);

	pthread_mutex_lock(&s->note_lock);
	if (s->notes < NOTES_MAX)
		s->watcher->note(line, s->watcher->arg);
	else if (s->notes == NOTES_MAX)
		s->watcher->note("further errors are counted only", s->watcher->arg);
	s->notes++;
	pthread_mutex_unlock(&s->note_lock);
}

/* What a word says of itself, if it is a pattern of ours. */
static const char *describe_word(uint64_t word, char *text, size_t length)
{
	gpa_t gpa = (word & ((UINT64_C(1) << STRESS_GENERATION_SHIFT) - 1)) << 3;
	unsigned int generation = (unsigned int)(word >> STRESS_GENERATION_SHIFT);

	if (!word)
		return "0";
	if (generation && gpa >= STRESS_WINDOW_GPA)
		snprintf(text, length, "%#llx (written for gpa %#llx, generation %u)",
			 (unsigned long long)word, (unsigned long long)gpa, generation);
	else
		snprintf(text, length, "%#llx", (unsigned long long)word);
	return text;
}

/* One word of a page stands for all of them. */
static bool is_news(struct stress *s, const char *what, gpa_t gpa)
{
	gpa_t page = gpa / SAMARA_PAGE_BYTES;
	bool news;

	pthread_mutex_lock(&s->note_lock);
	news = s->told_what != what || s->told_page != page;
	s->told_what = what;
	s->told_page = page;
	pthread_mutex_unlock(&s->note_lock);
	return news;
}

/* Keep it for the verdict, with the last operations at the address, and tell of these. */
static void keep_error(struct stress *s, const char *who, const char *what, gpa_t gpa,
		       uint64_t expected, uint64_t found)
{
	struct stress_log_entry last[STRESS_ERROR_OPERATIONS];
	unsigned int count = stress_log_find(&s->log, gpa, last, STRESS_ERROR_OPERATIONS), i;
	uint64_t now = stress_now_ns();
	struct stress_found *error;

	pthread_mutex_lock(&s->note_lock);
	if (s->found_count == STRESS_FOUND) {
		pthread_mutex_unlock(&s->note_lock);
		return;
	}
	error = &s->found[s->found_count++];
	snprintf(error->who, sizeof(error->who), "%s", who);
	error->what = what;
	error->gpa = gpa;
	error->expected = expected;
	error->found = found;
	error->place =
		s->place_name ? s->place_name(s, gpa) : stress_layout_place_name(&s->layout, gpa);
	error->operation_count = count;
	for (i = 0; i < count; i++)
		stress_log_describe(&last[i], now, error->operations[i],
				    sizeof(error->operations[i]));
	pthread_mutex_unlock(&s->note_lock);
}

void stress_tell_error(struct stress *s, const char *who, const char *what, gpa_t gpa,
		       uint32_t generation, uint64_t expected, uint64_t found)
{
	char expected_text[96], found_text[96];

	if (!is_news(s, what, gpa))
		return;
	stress_note(s, "%s: %s at gpa %#llx, generation %u: expected %s, found %s", who, what,
		    (unsigned long long)gpa, generation,
		    describe_word(expected, expected_text, sizeof(expected_text)),
		    describe_word(found, found_text, sizeof(found_text)));
	keep_error(s, who, what, gpa, expected, found);
}

void stress_integrity_error(struct stress *s, const char *what, gpa_t gpa, uint32_t generation,
			    uint64_t expected, uint64_t found)
{
	__atomic_fetch_add(&s->integrity_errors, 1, __ATOMIC_RELAXED);
	stress_tell_error(s, "host", what, gpa, generation, expected, found);
}

void stress_operation_error(struct stress *s, const struct samara_error *err, const char *what)
{
	__atomic_fetch_add(&s->operation_errors, 1, __ATOMIC_RELAXED);
	if (err && err->code)
		stress_note(s, "%s: %s", what, err->text);
	else
		stress_note(s, "%s", what);
}

static const char *const guest_error_names[] = {
	[STRESS_ERROR_FRESH] = "a plugged page was not zero",
	[STRESS_ERROR_PATTERN] = "contents were not kept",
	[STRESS_ERROR_READBACK] = "a word changed just after it was written",
	[STRESS_ERROR_NOTHING] = "a read of what is not plugged",
	[STRESS_ERROR_OWN] = "a word changed that nothing else touches",
	[STRESS_ERROR_PROTECT] = "a word changed in the range that is protected at times",
	[STRESS_ERROR_SHARED] = "a counter went backwards",
	[STRESS_ERROR_LIVE] = "a counter in memory that moves went backwards",
	[STRESS_ERROR_LEAVING] = "a read of what is being unplugged",
	[STRESS_ERROR_BALLOON] = "a page in the balloon was not zero",
	[STRESS_ERROR_ANSWER] = "what virtio-mem answers about a block",
};

void stress_tell_guest_errors(struct stress *s)
{
	const size_t kinds = sizeof(guest_error_names) / sizeof(*guest_error_names);

	while (s->guest_errors_told < STRESS_ERRORS) {
		struct stress_error *error = &s->control->errors[s->guest_errors_told];
		uint32_t kind;
		char who[32];

		if (!__atomic_load_n(&error->filled, __ATOMIC_ACQUIRE))
			return;
		kind = error->kind;
		snprintf(who, sizeof(who), "vCPU %u", error->cpu);
		stress_tell_error(s, who,
				  kind && kind < kinds ? guest_error_names[kind] : "an error",
				  error->gpa, error->generation, error->expected, error->found);
		s->guest_errors_told++;
	}
}
