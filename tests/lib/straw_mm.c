/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <unistd.h>

#include "tests/lib/straw_mm.h"
#include "vmm/memory_devices.h"

struct guest_mm straw_mm;

int guest_mm_plug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		  struct samara_error *err)
{
	mm->gpa = gpa;
	mm->size_bytes = size_bytes;
	mm->prot = prot;
	if (gpa == GPA_REFUSED)
		return samara_error_set(err, -EEXIST, "0xbad000: plugged already");
	return 0;
}

int guest_mm_unplug(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	(void)size_bytes, (void)err;
	if (gpa != GPA_WAITS)
		return 0;
	mm->waiting++;
	while (!mm->release)
		usleep(1000);
	mm->waiting--;
	return 0;
}

int guest_mm_remap(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, gpa_t new_gpa,
		   struct samara_error *err)
{
	mm->new_gpa = new_gpa;
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_protect(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, unsigned int prot,
		     struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, prot, err);
}

int guest_mm_discard(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_populate(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes, struct samara_error *err)
{
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_reback(struct guest_mm *mm, gpa_t gpa, uint64_t size_bytes,
		    const struct guest_mm_memory *memory, struct samara_error *err)
{
	(void)memory;
	return guest_mm_plug(mm, gpa, size_bytes, 0, err);
}

int guest_mm_write(struct guest_mm *mm, gpa_t gpa, const void *from, uint64_t length_bytes)
{
	(void)mm, (void)gpa, (void)from, (void)length_bytes;
	return 0;
}

int guest_mm_for_each_region(struct guest_mm *mm,
			     int (*visit)(const struct guest_mm_region *region, void *arg),
			     void *arg)
{
	int ret = 0;

	for (unsigned int i = 0; i < mm->region_count && !ret; i++) {
		const struct guest_mm_region region = {
			.gpa = (gpa_t)i << 21,
			.size_bytes = 1 << 21,
			.prot = i % 2 ? GUEST_MM_READ : GUEST_MM_RDWR,
			.backing = GUEST_MM_MEMFD,
			.populated_pages = i,
			.locked = i == 1,
		};

		ret = visit(&region, arg);
	}
	return ret;
}

void guest_mm_get_stats(struct guest_mm *mm, struct guest_mm_stats *stats)
{
	(void)mm;
	*stats = (struct guest_mm_stats){
		.lock = "region", .plugs = 7, .last_nothing_gpa = UINT64_MAX};
}

/* ---- A VM that has it ------------------------------------------------------------------------ */

int straw_setup(void **state)
{
	struct memory_devices_config devices = {.nodes = 1};
	struct samara_error err;

	(void)state;
	straw_mm = (struct guest_mm){.region_count = 3};
	straw = (struct vm){.config.cpus = 2, .mm = &straw_mm, .state = VM_RUNNING};
	if (qom_create(&straw.qom))
		return -1;
	devices.qom = straw.qom;
	if (memory_devices_create(&devices, &straw.devices, &err))
		return -1;
	return socket_serve(&straw);
}

int straw_teardown(void **state)
{
	int ret;

	(void)state;
	straw_mm.release = true;
	ret = socket_close();
	straw.listener = NULL;
	memory_devices_destroy(straw.devices);
	qom_destroy(straw.qom);
	return ret;
}

void straw_wait_for(atomic_int *counter, int value)
{
	for (int i = 0; i < 120000 && *counter != value; i++)
		usleep(1000);
	assert_int_equal(*counter, value);
}
