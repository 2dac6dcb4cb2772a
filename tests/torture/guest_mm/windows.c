/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/tap.h"
#include "tests/torture/guest_mm/windows.h"

void must(int ret, const struct samara_error *err)
{
	if (ret)
		tap_bail_out(err->text);
}

void windows_make(struct windows *windows, enum guest_mm_backing backing, bool copy_only)
{
	struct guest_mm_config config = {.copy_only = copy_only, .fault_around_pages = 8};
	struct samara_error err;

	must(guest_mm_create(&config, &windows->mm, &err), &err);
	must(guest_mm_add_window(windows->mm, BASE, WINDOW_BYTES, backing, &err), &err);
	must(guest_mm_add_window(windows->mm, SECOND, WINDOW_BYTES, backing, &err), &err);
	for (unsigned int i = 0; i < 2; i++)
		guest_mm_get_window(windows->mm, i, &windows->window[i]);
}

void windows_destroy(struct windows *windows)
{
	guest_mm_destroy(windows->mm);
}

uint64_t *windows_word(const struct windows *windows, gpa_t gpa)
{
	const struct guest_mm_window *window = &windows->window[gpa >= SECOND];

	return (uint64_t *)((char *)window->hva + (gpa - window->gpa));
}
