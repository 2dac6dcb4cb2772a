/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/config.h"

#define MIB          (UINT64_C(1) << 20)
#define GIB          (UINT64_C(1) << 30)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes;
	} table[] = {
		{"0", 0, 0},
		{"65536", 0, 65536},
		{"65536B", 0, 65536},
		{"0x1000", 0, 4096},
		{"0X1000", 0, 4096},
		{"010", 0, 10},
		{"4K", 0, 4096},
		{"4k", 0, 4096},
		{"4KiB", 0, 4096},
		{"512M", 0, 512 * MIB},
		{"4G", 0, 4 * GIB},
		{"0x10G", 0, 16 * GIB},
		{"1T", 0, 1024 * GIB},
		{"1P", 0, UINT64_C(1) << 50},
		{"15E", 0, UINT64_C(15) << 60},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"16E", -ERANGE, 0},
		{"99999999999999999999999K", -ERANGE, 0},
		{"", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1 M", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"12Q", -EINVAL, 0},
		{"512MB", -EINVAL, 0},
		{"512Mi", -EINVAL, 0},
		{"512MiBs", -EINVAL, 0},
		{"4KK", -EINVAL, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(table); i++) {
		struct samara_error err = {0};
		uint64_t bytes = 0xdead;
		int ret = parse_size(table[i].text, "--size", &bytes, &err);

		if (ret != table[i].ret || bytes != (ret ? 0xdead : table[i].bytes))
			fail_msg("'%s': %d, %llu", table[i].text, ret, (unsigned long long)bytes);
		if (ret) {
			assert_int_equal(err.code, ret);
			assert_non_null(strstr(err.text, "--size"));
			assert_non_null(strstr(err.text, table[i].text));
		}
	}
}

static void memory(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t bytes, max;
		enum guest_mm_backing backing;
	} table[] = {
		{"1G", 0, GIB, GIB, GUEST_MM_ANON},
		{"512M,max=4G", 0, 512 * MIB, 4 * GIB, GUEST_MM_ANON},
		{"512M,max=4G,backing=memfd", 0, 512 * MIB, 4 * GIB, GUEST_MM_MEMFD},
		{"512M,backing=memfd", 0, 512 * MIB, 512 * MIB, GUEST_MM_MEMFD},
		{"512M,backing=anon,max=1G", 0, 512 * MIB, GIB, GUEST_MM_ANON},
		{"512M,backing=hugetlb", 0, 512 * MIB, 512 * MIB, GUEST_MM_HUGETLB},
		{"512M,backing=memfd,share=on", 0, 512 * MIB, 512 * MIB, GUEST_MM_MEMFD},
		{"512M,backing=file,path=/f", 0, 512 * MIB, 512 * MIB, GUEST_MM_FILE_PRIVATE},
		{"512M,share=off,path=/f,backing=file", 0, 512 * MIB, 512 * MIB,
		 GUEST_MM_FILE_PRIVATE},
		{"512M,backing=file,path=/f,share=on", 0, 512 * MIB, 512 * MIB,
		 GUEST_MM_FILE_SHARED},
		{"512M,thp=off,prealloc=on", 0, 512 * MIB, 512 * MIB, GUEST_MM_ANON},
		{"512M,thp=on,share=off", 0, 512 * MIB, 512 * MIB, GUEST_MM_ANON},
		{"512M,host-nodes=0-1:3,policy=bind", 0, 512 * MIB, 512 * MIB, GUEST_MM_ANON},
		{"512M,policy=default", 0, 512 * MIB, 512 * MIB, GUEST_MM_ANON},
		{"512M,backing=file", -EINVAL, 0, 0, 0},
		{"512M,backing=file,path=", -EINVAL, 0, 0, 0},
		{"512M,path=/f", -EINVAL, 0, 0, 0},
		{"512M,share=on", -EINVAL, 0, 0, 0},
		{"512M,backing=memfd,share=off", -EINVAL, 0, 0, 0},
		{"512M,backing=hugetlb,share=off", -EINVAL, 0, 0, 0},
		{"512M,backing=memfd,thp=on", -EINVAL, 0, 0, 0},
		{"512M,prealloc=yes", -EINVAL, 0, 0, 0},
		{"512M,host-nodes=0", -EINVAL, 0, 0, 0},
		{"512M,policy=bind", -EINVAL, 0, 0, 0},
		{"512M,policy=strict,host-nodes=0", -EINVAL, 0, 0, 0},
		{"512M,policy=bind,host-nodes=", -EINVAL, 0, 0, 0},
		{"512M,policy=bind,host-nodes=64", -EINVAL, 0, 0, 0},
		{"512M,policy=bind,host-nodes=2-1", -EINVAL, 0, 0, 0},
		{"", -EINVAL, 0, 0, 0},
		{",max=4G", -EINVAL, 0, 0, 0},
		{"max=4G", -EINVAL, 0, 0, 0},
		{"512M,", -EINVAL, 0, 0, 0},
		{"512M,,max=1G", -EINVAL, 0, 0, 0},
		{"512M,max=", -EINVAL, 0, 0, 0},
		{"512M,max=4G junk", -EINVAL, 0, 0, 0},
		{"512M,maximum=4G", -EINVAL, 0, 0, 0},
		{"512M,backing=", -EINVAL, 0, 0, 0},
		{"512M,backing=disk", -EINVAL, 0, 0, 0},
		{"512M,max=32E", -ERANGE, 0, 0, 0},
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(table); i++) {
		struct vm_config config;
		struct samara_error err = {0};
		int ret;

		vm_config_init(&config);
		config.memory_bytes = 7;
		config.max_memory_bytes = 8;
		ret = parse_memory(table[i].text, &config, &err);
		if (ret != table[i].ret)
			fail_msg("'%s': %d", table[i].text, ret);
		assert_int_equal(config.memory_bytes, ret ? 7 : table[i].bytes);
		assert_int_equal(config.max_memory_bytes, ret ? 8 : table[i].max);
		assert_int_equal(config.backing, ret ? GUEST_MM_ANON : table[i].backing);
		if (ret)
			assert_non_null(strstr(err.text, "--memory"));
		vm_config_free(&config);
	}
}

static void placements(void **state)
{
	struct vm_config config;
	struct samara_error err;

	(void)state;
	vm_config_init(&config);
	assert_int_equal(
		parse_memory("4M,host-nodes=0-1:3:63,policy=interleave,thp=off,prealloc=on",
			     &config, &err),
		0);
	assert_int_equal(config.placement.numa, GUEST_MM_NUMA_INTERLEAVE);
	assert_true(config.placement.nodes == (UINT64_C(1) << 63 | 0xb));
	assert_true(config.memory_small_pages && config.memory_prealloc);
	/* What is not said again is as at first. */
	assert_int_equal(parse_memory("4M,backing=file,path=/a", &config, &err), 0);
	assert_int_equal(config.placement.numa, GUEST_MM_NUMA_ANY);
	assert_false(config.memory_small_pages || config.memory_prealloc);
	assert_string_equal(config.memory_path, "/a");
	assert_int_equal(parse_memory("4M,path=/b", &config, &err), -EINVAL);
	assert_string_equal(config.memory_path, "/a");
	assert_int_equal(parse_memory("4M", &config, &err), 0);
	assert_null(config.memory_path);

	assert_int_equal(parse_numa("memory=2M,host-nodes=1,policy=bind", &config, &err), 0);
	assert_int_equal(parse_numa("memory=2M", &config, &err), 0);
	assert_int_equal(config.node_placements[0].numa, GUEST_MM_NUMA_BIND);
	assert_int_equal(config.node_placements[0].nodes, 2);
	assert_int_equal(config.node_placements[1].numa, GUEST_MM_NUMA_ANY);
	assert_int_equal(parse_numa("memory=2M,policy=bind", &config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--numa: policy=bind takes host-nodes="));
	assert_int_equal(parse_numa("memory=2M,host-nodes=1", &config, &err), -EINVAL);
	assert_int_equal(config.node_count, 2);
	vm_config_free(&config);
}

static void huge_pages_come_whole(void **state)
{
	struct vm_config config;
	struct samara_error err;

	(void)state;
	vm_config_init(&config);
	config.kernel = strdup("k");
	assert_int_equal(parse_memory("7M,backing=hugetlb", &config, &err), 0);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "2 MiB"));
	assert_int_equal(parse_memory("8M,max=16M,slots=1,backing=hugetlb", &config, &err), 0);
	assert_int_equal(vm_config_check(&config, &err), 0);
	assert_int_equal(parse_dimm("1M", &config, &err), 0);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--dimm"));
	config.dimm_count = 0;
	assert_int_equal(parse_balloon(NULL, &config, &err), 0);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--balloon"));
	config.balloon.present = false;
	assert_int_equal(parse_numa("memory=8M,host-nodes=0,policy=bind", &config, &err), 0);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--numa"));
	vm_config_free(&config);
}

static void serial(void **state)
{
	static const char *const refused[] = {"",     "file",  "file:",  "tty",    "stdio ",
					      "ptyx", "STDIO", "null,x", "unix:/x"};
	struct chardev_config config = {0};
	struct samara_error err;
	size_t i;

	(void)state;
	assert_int_equal(parse_serial("stdio", &config, NULL), 0);
	assert_int_equal(config.kind, CHARDEV_STDIO);
	assert_int_equal(parse_serial("pty", &config, NULL), 0);
	assert_int_equal(config.kind, CHARDEV_PTY);
	assert_int_equal(parse_serial("null", &config, NULL), 0);
	assert_int_equal(config.kind, CHARDEV_NULL);
	assert_int_equal(parse_serial("file:/tmp/a,b:c", &config, NULL), 0);
	assert_int_equal(config.kind, CHARDEV_FILE);
	assert_string_equal(config.path, "/tmp/a,b:c");
	for (i = 0; i < COUNT(refused); i++) {
		assert_int_equal(parse_serial(refused[i], &config, &err), -EINVAL);
		assert_non_null(strstr(err.text, "--serial"));
		assert_string_equal(config.path, "/tmp/a,b:c");
	}
	assert_int_equal(parse_serial("stdio", &config, NULL), 0);
	assert_null(config.path);
}

static void qmp(void **state)
{
	static const char *const refused[] = {"", "unix:", "/run/x", "tcp:1", "unix"};
	struct samara_error err;
	struct vm_config config;
	size_t i;

	(void)state;
	vm_config_init(&config);
	assert_int_equal(parse_qmp("unix:/run/x.sock", &config.qmp_path, NULL), 0);
	assert_string_equal(config.qmp_path, "/run/x.sock");
	for (i = 0; i < COUNT(refused); i++) {
		assert_int_equal(parse_qmp(refused[i], &config.qmp_path, &err), -EINVAL);
		assert_non_null(strstr(err.text, "--qmp"));
		assert_string_equal(config.qmp_path, "/run/x.sock");
	}
	assert_int_equal(parse_qmp("unix:y", &config.qmp_path, NULL), 0);
	assert_string_equal(config.qmp_path, "y");
	vm_config_free(&config);
}

static void nodes_and_dimms(void **state)
{
	static const char *const nodes[] = {"",
					    "cpus=0",
					    "memory=x",
					    "memory=1M,cpu=0",
					    "memory=1M,cpus=",
					    "memory=1M,cpus=3-1",
					    "memory=1M,cpus=254",
					    "memory=1M,cpus=0-"};
	static const char *const dimms[] = {"", "x", "1G,node=-1", "1G,node=8", "1G,slot=1", "1G,"};
	struct samara_error err;
	struct vm_config config;
	size_t i;

	(void)state;
	vm_config_init(&config);
	config.kernel = strdup("vmlinuz");
	for (i = 0; i < COUNT(nodes); i++) {
		if (parse_numa(nodes[i], &config, &err) != -EINVAL || !strstr(err.text, "--numa"))
			fail_msg("'%s' is taken", nodes[i]);
	}
	for (i = 0; i < COUNT(dimms); i++) {
		if (parse_dimm(dimms[i], &config, &err) != -EINVAL || !strstr(err.text, "--dimm"))
			fail_msg("'%s' is taken", dimms[i]);
	}
	assert_int_equal(config.node_count, 0);
	assert_int_equal(config.dimm_count, 0);

	assert_int_equal(parse_memory("512M,max=2G,slots=2", &config, NULL), 0);
	assert_int_equal(config.memory_slots, 2);
	assert_int_equal(parse_numa("memory=256M,cpus=0-1:4", &config, NULL), 0);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--numa"));
	assert_int_equal(parse_numa("cpus=2:3,memory=256M", &config, NULL), 0);
	assert_int_equal(vm_config_check(&config, NULL), 0);
	assert_int_equal(config.cpu_nodes[1], 0);
	assert_int_equal(config.cpu_nodes[3], 1);
	assert_int_equal(config.cpu_nodes[4], 0);

	assert_int_equal(parse_dimm("1G,node=1,id=first", &config, NULL), 0);
	assert_string_equal(config.dimms[0].id, "first");
	assert_int_equal(config.dimms[0].node, 1);
	assert_int_equal(parse_dimm("512M", &config, NULL), 0);
	assert_int_equal(vm_config_check(&config, NULL), 0);
	assert_int_equal(parse_dimm("4K", &config, NULL), 0);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "slots="));
	config.memory_slots = 8;
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "max="));
	config.dimm_count = 2;
	config.dimms[1].node = 2;
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "node 2"));

	/* Slots come with a maximum. */
	assert_int_equal(parse_memory("512M,max=2G", &config, NULL), 0);
	assert_int_equal(config.memory_slots, VM_MAX_DIMMS);
	assert_int_equal(parse_memory("512M", &config, NULL), 0);
	assert_int_equal(config.memory_slots, 0);
	vm_config_free(&config);
}

static void what_fits_together(void **state)
{
	static const struct {
		unsigned int cpus;
		uint64_t bytes, max;
		const char *named; /* NULL: accepted */
	} table[] = {
		{1, 512 * MIB, 512 * MIB, NULL},
		{VM_MAX_CPUS, 2 * MIB, 4 * GIB, NULL},
		/* What the host can address is layout_init()'s to say. */
		{1, 2 * MIB, UINT64_C(1) << 52, NULL},
		{1, UINT64_MAX - 4095, UINT64_MAX - 4095, NULL},
		{0, 512 * MIB, 512 * MIB, "--cpus"},
		{VM_MAX_CPUS + 1, 512 * MIB, 512 * MIB, "--cpus"},
		{1, 0, 0, "--memory"},
		{1, 2 * MIB - 4096, 4 * MIB, "--memory"},
		{1, 4 * MIB + 1, 8 * MIB, "--memory"},
		{1, 4 * MIB, 8 * MIB + 512, "max="},
		{1, 8 * MIB, 4 * MIB, "max="},
	};
	struct samara_error err;
	struct vm_config config;
	size_t i;

	(void)state;
	vm_config_init(&config);
	assert_int_equal(vm_config_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "--kernel"));
	config.kernel = strdup("vmlinuz");
	assert_int_equal(vm_config_check(&config, NULL), 0);
	for (i = 0; i < COUNT(table); i++) {
		int ret;

		config.cpus = table[i].cpus;
		config.memory_bytes = table[i].bytes;
		config.max_memory_bytes = table[i].max;
		ret = vm_config_check(&config, &err);
		if (ret != (table[i].named ? -EINVAL : 0))
			fail_msg("row %zu: %d", i, ret);
		if (ret && !strstr(err.text, table[i].named))
			fail_msg("row %zu: %s", i, err.text);
	}
	vm_config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),           cmocka_unit_test(memory),
		cmocka_unit_test(placements),      cmocka_unit_test(huge_pages_come_whole),
		cmocka_unit_test(serial),          cmocka_unit_test(qmp),
		cmocka_unit_test(nodes_and_dimms), cmocka_unit_test(what_fits_together),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
