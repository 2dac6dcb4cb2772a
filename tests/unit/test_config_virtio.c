/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/config.h"
#include "vmm/layout.h"
#include "vmm/virtio_slots.h"

/* The options that add virtio devices, and where virtio-mem's ranges are placed. */

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)
#define TIB UINT64_C(0x10000000000)

static void refuse_balloon(const char *text, const char *why)
{
	struct samara_error err = {0};
	struct vm_config config;

	vm_config_init(&config);
	assert_int_equal(parse_balloon(text, &config, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("'%s' is not about '%s'", err.text, why);
	assert_false(config.balloon.present);
	vm_config_free(&config);
}

static void test_balloon(void **state)
{
	struct vm_config config;

	(void)state;
	vm_config_init(&config);
	assert_false(config.balloon.present);
	assert_int_equal(parse_balloon(NULL, &config, NULL), 0);
	assert_true(config.balloon.present && config.balloon.deflate_on_oom &&
		    config.balloon.reporting && config.balloon.packed);
	assert_int_equal(parse_balloon("packed=off,deflate-on-oom=off", &config, NULL), 0);
	assert_true(config.balloon.present && !config.balloon.deflate_on_oom &&
		    config.balloon.reporting && !config.balloon.packed);
	assert_int_equal(parse_balloon("free-page-reporting=off,packed=on", &config, NULL), 0);
	assert_true(config.balloon.deflate_on_oom && !config.balloon.reporting);
	vm_config_free(&config);
	refuse_balloon("packed", "'packed' is no setting");
	refuse_balloon("packed=", "'' is neither on nor off");
	refuse_balloon("packed=yes", "'yes' is neither on nor off");
	refuse_balloon("packedx=on", "no setting");
	refuse_balloon("packed=on,", "'' is no setting");
	refuse_balloon("size=4G", "no setting");
}

static void test_virtio_mem(void **state)
{
	const struct virtio_mem_options *mem;
	struct samara_error err;
	struct vm_config config;

	(void)state;
	vm_config_init(&config);
	assert_int_equal(parse_virtio_mem("id=mem0,size=8G", &config, &err), 0);
	assert_int_equal(parse_virtio_mem("size=128G,block=1G,requested=4G,node=3,packed=off,id=b",
					  &config, &err),
			 0);
	assert_int_equal(config.virtio_mem_count, 2);
	mem = &config.virtio_mems[0];
	assert_string_equal(mem->id, "mem0");
	assert_int_equal(mem->size_bytes, 8 * GIB);
	assert_int_equal(mem->block_bytes, 2 * MIB);
	assert_int_equal(mem->requested_bytes, 0);
	assert_int_equal(mem->node, -1);
	assert_true(mem->packed);
	mem = &config.virtio_mems[1];
	assert_string_equal(mem->id, "b");
	assert_int_equal(mem->size_bytes, 128 * GIB);
	assert_int_equal(mem->block_bytes, GIB);
	assert_int_equal(mem->requested_bytes, 4 * GIB);
	assert_int_equal(mem->node, 3);
	assert_false(mem->packed);
	assert_int_equal(parse_virtio_mem("id=b,size=8G", &config, &err), -EEXIST);
	assert_int_equal(config.virtio_mem_count, 2);
	vm_config_free(&config);
}

static void test_bad_virtio_mem(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{"", "'' is no setting"},
		{"id=m", "virtio-mem m: it has no size="},
		{"size=1G", "it has no id="},
		{"id=,size=1G", "id=: it is empty"},
		{"id=m,size=1G,", "'' is no setting"},
		{"id=m,size=1G,colour=blue", "'colour=blue' is no setting"},
		{"id=m,size=one", "'one' is not a size"},
		{"id=m,size=1G,block=1M", "virtio-mem m: block size"},
		{"id=m,size=1G,block=3M", "block size"},
		{"id=m,size=1025K", "size: 1049600 bytes are no multiple"},
		{"id=m,size=1G,requested=2G", "more than the size"},
		{"id=m,size=1G,requested=1M", "no multiple"},
		{"id=m,size=1G,node=-1", "'-1' is not a number from 0 to 65535"},
		{"id=m,size=1G,node=65536", "not a number"},
		{"id=m,size=1G,node=", "not a number"},
		{"id=m,size=1G,packed=1", "neither on nor off"},
	};
	struct samara_error err;
	struct vm_config config;

	(void)state;
	vm_config_init(&config);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse_virtio_mem(bad[i].text, &config, &err), -EINVAL);
		if (strncmp(err.text, "--virtio-mem", 12) || !strstr(err.text, bad[i].why))
			fail_msg("'%s' is not about '%s'", err.text, bad[i].why);
	}
	assert_int_equal(config.virtio_mem_count, 0);
	vm_config_free(&config);
}

static void test_too_many(void **state)
{
	struct samara_error err;
	struct vm_config config;
	char text[32];

	(void)state;
	vm_config_init(&config);
	for (unsigned int i = 0; i < VIRTIO_SLOTS; i++) {
		snprintf(text, sizeof(text), "id=m%u,size=1G", i);
		assert_int_equal(parse_virtio_mem(text, &config, &err), 0);
	}
	assert_int_equal(parse_virtio_mem("id=m,size=1G", &config, &err), -E2BIG);
	assert_int_equal(parse_balloon(NULL, &config, &err), -E2BIG);
	vm_config_free(&config);
	/* The balloon once, however often it is named. */
	vm_config_init(&config);
	assert_int_equal(parse_balloon(NULL, &config, &err), 0);
	for (unsigned int i = 1; i < VIRTIO_SLOTS; i++) {
		snprintf(text, sizeof(text), "id=m%u,size=1G", i);
		assert_int_equal(parse_virtio_mem(text, &config, &err), 0);
	}
	assert_int_equal(parse_balloon(NULL, &config, &err), 0);
	assert_int_equal(parse_virtio_mem("id=m,size=1G", &config, &err), -E2BIG);
	vm_config_free(&config);
}

static void test_places(void **state)
{
	struct samara_error err;
	struct layout layout;
	gpa_t gpa;

	(void)state;
	assert_int_equal(layout_init(&layout, 512 * MIB, 512 * MIB, 40, &err), 0);
	assert_false(layout_is_window(&layout, 0xffffffffffffffff));
	assert_int_equal(layout_add_device(&layout, 128 * GIB, 2 * MIB, 40, &gpa, &err), 0);
	assert_int_equal(gpa, 4 * GIB);
	assert_true(layout_is_window(&layout, 4 * GIB));
	assert_true(layout_is_window(&layout, 132 * GIB - 1));
	assert_false(layout_is_window(&layout, 132 * GIB));
	/* The next one behind it, aligned to its blocks. */
	assert_int_equal(layout_add_device(&layout, 2 * MIB, 2 * MIB, 40, &gpa, &err), 0);
	assert_int_equal(gpa, 132 * GIB);
	assert_int_equal(layout_add_device(&layout, 16 * GIB, 8 * GIB, 40, &gpa, &err), 0);
	assert_int_equal(gpa, 136 * GIB);
	assert_int_equal(layout.device_gpa, 4 * GIB);
	assert_int_equal(layout.device_bytes, 148 * GIB);
	/* As far as addresses reach, and no further; what was there stays. */
	assert_int_equal(layout_add_device(&layout, TIB, 2 * MIB, 40, &gpa, &err), -ERANGE);
	assert_int_equal(layout_add_device(&layout, GIB, TIB, 40, &gpa, &err), -ERANGE);
	assert_int_equal(
		layout_add_device(&layout, UINT64_MAX & ~(2 * MIB - 1), 2 * MIB, 64, &gpa, &err),
		-ERANGE);
	assert_int_equal(layout.device_bytes, 148 * GIB);
	assert_int_equal(layout_add_device(&layout, TIB - 152 * GIB, GIB, 40, &gpa, &err), 0);
	assert_int_equal(layout_add_device(&layout, 2 * MIB, 2 * MIB, 40, &gpa, &err), -ERANGE);
	/* Behind room for hotplug. */
	assert_int_equal(layout_init(&layout, 4 * GIB, 6 * GIB + 4096, 40, &err), 0);
	assert_int_equal(layout_add_device(&layout, GIB, 2 * MIB, 40, &gpa, &err), 0);
	assert_int_equal(gpa, 8 * GIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_balloon),        cmocka_unit_test(test_virtio_mem),
		cmocka_unit_test(test_bad_virtio_mem), cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_places),
	};

	return cmocka_run_group_tests_name("config_virtio", tests, NULL, NULL);
}
