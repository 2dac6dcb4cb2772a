/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/doctor.h"

void doctor_add(struct doctor_report *report, const char *name, enum doctor_status status,
		const char *meaning, const char *fix, const char *found_format, ...)
{
	struct doctor_item *item;
	va_list args;

	if (report->count == report->capacity) {
		size_t capacity = report->capacity ? report->capacity * 2 : 64;
		struct doctor_item *items = reallocarray(report->items, capacity, sizeof(*items));

		if (!items) {
			report->out_of_memory = true;
			return;
		}
		report->items = items;
		report->capacity = capacity;
	}
	item = &report->items[report->count++];
	memset(item, 0, sizeof(*item));
	item->status = status;
	item->name = strdup(name);
	item->meaning = strdup(meaning);
	if (fix && status != DOCTOR_OK) {
		item->fix = strdup(fix);
		report->out_of_memory |= !item->fix;
	}
	va_start(args, found_format);
	if (vasprintf(&item->found, found_format, args) < 0)
		item->found = NULL;
	va_end(args);
	report->out_of_memory |= !item->name || !item->meaning || !item->found;
}

void doctor_conclude(struct doctor_report *report)
{
	enum doctor_way otherwise = report->lab_usable ? DOCTOR_LAB : DOCTOR_NO;
	bool runs = report->virtualization != DOCTOR_NONE && report->kvm_usable &&
		    report->uffd_usable && report->faults_served;

	report->stress = runs ? DOCTOR_DIRECT : otherwise;
	/* A stock kernel takes minutes to boot in an emulator, and needs what that may not know. */
	report->stock_kernel =
		runs && report->virtualization == DOCTOR_HARDWARE && report->instructions_run
			? DOCTOR_DIRECT
			: otherwise;
}

int doctor_examine(struct doctor_report *report)
{
	memset(report, 0, sizeof(*report));
	doctor_examine_kvm(report);
	doctor_examine_guest(report);
	doctor_examine_userfaultfd(report);
	doctor_examine_host(report);
	doctor_conclude(report);
	return report->out_of_memory ? -ENOMEM : 0;
}

void doctor_free(struct doctor_report *report)
{
	size_t i;

	for (i = 0; i < report->count; i++) {
		free(report->items[i].name);
		free(report->items[i].found);
		free(report->items[i].meaning);
		free(report->items[i].fix);
	}
	free(report->items);
	memset(report, 0, sizeof(*report));
}

const char *doctor_status_name(enum doctor_status status)
{
	static const char *const names[] = {"ok", "limited", "missing"};

	return names[status];
}

const char *doctor_virtualization_name(enum doctor_virtualization virtualization)
{
	static const char *const names[] = {"none", "emulated", "hardware"};

	return names[virtualization];
}

const char *doctor_way_name(enum doctor_way way)
{
	static const char *const names[] = {"no", "lab", "direct"};

	return names[way];
}
