/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "mm/maple_internal.h"

/**
 * struct dump - where a dump goes, and how
 */
struct dump {
	const char *range; /* printf format of two indices */
	void (*put)(const char *line, void *arg);
	void *arg;
};

static void describe(const void *entry, char *text, size_t size)
{
	if (!entry)
		snprintf(text, size, "-");
	else if (xa_is_value(entry))
		snprintf(text, size, "value %lu", xa_to_value(entry));
	else if (xa_is_zero(entry))
		snprintf(text, size, "zero entry");
	else
		snprintf(text, size, "%p", entry);
}

static void dump_line(const struct dump *d, unsigned int level, unsigned long min,
		      unsigned long max, const char *what)
{
	char range[48], line[160];

	snprintf(range, sizeof(range), d->range, min, max);
	snprintf(line, sizeof(line), "%*s%s: %s", (int)(2 * level), "", range, what);
	d->put(line, d->arg);
}

static void dump_node(const struct dump *d, uintptr_t encoded, unsigned int level,
		      unsigned long min, unsigned long max)
{
	unsigned int end = mt_last_slot(encoded);
	unsigned long first = min;
	char text[80];

	snprintf(text, sizeof(text), "%s %p, %u slots", mt_is_leaf(encoded) ? "leaf" : "node",
		 (void *)mt_node(encoded), end + 1);
	dump_line(d, level, min, max, text);
	for (unsigned int i = 0; i <= end; i++) {
		unsigned long last = i < end ? mt_pivot(encoded, i) : max;

		if (mt_is_leaf(encoded)) {
			describe(mt_slot(encoded, i), text, sizeof(text));
			dump_line(d, level + 1, first, last, text);
		} else {
			if (mt_is_arange(encoded)) {
				snprintf(text, sizeof(text), "largest gap %lu",
					 mt_node(encoded)->arange.gap[i]);
				dump_line(d, level + 1, first, last, text);
			}
			dump_node(d, mt_child(encoded, i), level + 1, first, last);
		}
		first = last + 1;
	}
}

void mt_dump(const struct maple_tree *mt, enum mt_dump_format format,
	     void (*put)(const char *line, void *arg), void *arg)
{
	const struct dump d = {format == mt_dump_hex ? "%#lx-%#lx" : "%lu-%lu", put, arg};
	uintptr_t root = (uintptr_t)mt->ma_root;
	char line[80];

	snprintf(line, sizeof(line), "maple tree %p, flags %#x, height %u", (const void *)mt,
		 mt->ma_flags, mt_height(mt));
	put(line, arg);
	if (root)
		dump_node(&d, root, 0, 0, ULONG_MAX);
}
