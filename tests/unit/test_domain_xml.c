/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading libvirt domain XML. Each file in data/domains/ is a test: its name begins with what shall
 * become of it, and comments in it name what the error or a warning must say.
 */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/domain_xml.h"

#define FOLDER "tests/unit/data/domains"

/* What domain_xml_read() said. */
struct heard {
	unsigned int warnings;
	char warning[512]; /* the first one */
	struct samara_error err;
	int ret;
};

static void hear(const char *text, void *arg)
{
	struct heard *heard = arg;

	if (!heard->warnings++)
		snprintf(heard->warning, sizeof(heard->warning), "%s", text);
}

static void read_domain(const char *name, struct vm_config *config, struct heard *heard)
{
	char path[256];

	memset(heard, 0, sizeof(*heard));
	vm_config_init(config);
	snprintf(path, sizeof(path), FOLDER "/%s", name);
	heard->ret = domain_xml_read(path, config, hear, heard, &heard->err);
}

/* The words after "<!-- KEY: " in the file, "" if there are none. */
static void expectation(const char *name, const char *key, char *words, size_t words_bytes)
{
	char path[256], line[512], start[64];
	FILE *file;

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	snprintf(start, sizeof(start), "<!-- %s:", key);
	*words = '\0';
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		char *end = strstr(line, " -->");

		if (strncmp(line, start, strlen(start)) || !end)
			continue;
		*end = '\0';
		snprintf(words, words_bytes, "%s",
			 line + strlen(start) + (line[strlen(start)] == ' '));
	}
	fclose(file);
}

static int is_domain(const struct dirent *entry)
{
	return !fnmatch("*.xml", entry->d_name, 0);
}

/* Run @check over the files whose name starts with @prefix; there must be at least @least. */
static void for_each_file(const char *prefix, unsigned int least, void (*check)(const char *name))
{
	struct dirent **entries;
	int i, count = scandir(FOLDER, &entries, is_domain, alphasort);
	unsigned int seen = 0;

	if (count < 0)
		fail_msg(FOLDER ": %s (run from the top of the tree)", strerror(errno));
	for (i = 0; i < count; i++) {
		if (!strncmp(entries[i]->d_name, prefix, strlen(prefix))) {
			check(entries[i]->d_name);
			seen++;
		}
		free(entries[i]);
	}
	free(entries);
	assert_in_range(seen, least, 10000);
}

static void check_taken(const char *name)
{
	struct vm_config config;
	struct heard heard;

	read_domain(name, &config, &heard);
	if (heard.ret)
		fail_msg("%s: %s", name, heard.err.text);
	if (heard.warnings)
		fail_msg("%s: warned: %s", name, heard.warning);
	assert_string_equal(config.kernel, "/images/vmlinuz");
	assert_int_equal(config.cpus, 2);
	assert_int_equal(config.memory_bytes, 512 << 20);
	vm_config_free(&config);
}

static void check_warned(const char *name)
{
	struct vm_config config;
	struct heard heard;
	char words[256];

	read_domain(name, &config, &heard);
	if (heard.ret)
		fail_msg("%s: %s", name, heard.err.text);
	expectation(name, "expect-warning", words, sizeof(words));
	if (heard.warnings != 1 || !strstr(heard.warning, words))
		fail_msg("%s: %u warnings, '%s' does not say '%s'", name, heard.warnings,
			 heard.warning, words);
	vm_config_free(&config);
}

static void check_refused(const char *name)
{
	struct vm_config config;
	struct heard heard;
	char words[256];

	read_domain(name, &config, &heard);
	if (!heard.ret)
		fail_msg("%s: was taken", name);
	assert_int_equal(heard.ret, heard.err.code);
	expectation(name, "expect-error", words, sizeof(words));
	if (!strstr(heard.err.text, words) || !strstr(heard.err.text, name))
		fail_msg("%s: '%s' does not say '%s'", name, heard.err.text, words);
	if (strchr(heard.err.text, '\n'))
		fail_msg("%s: more than one line", name);
	/* The config is as it was. */
	assert_null(config.kernel);
	assert_null(config.name);
	vm_config_free(&config);
}

static void domains_are_taken(void **state)
{
	(void)state;
	for_each_file("taken-", 5, check_taken);
}

static void harmless_lacks_are_warned_of(void **state)
{
	(void)state;
	for_each_file("warned-", 8, check_warned);
}

static void what_cannot_be_done_is_refused(void **state)
{
	(void)state;
	for_each_file("refused-", 25, check_refused);
}

static void values_arrive(void **state)
{
	struct vm_config config;
	struct heard heard;

	(void)state;
	read_domain("taken-memfd.xml", &config, &heard);
	assert_int_equal(heard.ret, 0);
	assert_string_equal(config.name, "guest");
	assert_string_equal(config.initrd, "/images/initrd.gz");
	assert_string_equal(config.cmdline, "console=ttyS0 panic=-1");
	assert_true(config.max_memory_bytes == UINT64_C(4) << 30);
	assert_int_equal(config.backing, GUEST_MM_MEMFD);
	assert_int_equal(config.serial.kind, CHARDEV_PTY);
	assert_true(config.no_reboot);
	vm_config_free(&config);

	read_domain("taken-hugepages.xml", &config, &heard);
	assert_int_equal(config.backing, GUEST_MM_HUGETLB);
	assert_false(config.memory_prealloc);
	vm_config_free(&config);

	read_domain("warned-file-backed.xml", &config, &heard);
	assert_int_equal(config.backing, GUEST_MM_MEMFD);
	vm_config_free(&config);

	read_domain("taken-numatune.xml", &config, &heard);
	assert_int_equal(config.backing, GUEST_MM_ANON);
	assert_true(config.memory_prealloc);
	assert_int_equal(config.placement.numa, GUEST_MM_NUMA_INTERLEAVE);
	assert_int_equal(config.placement.nodes, 0xb);
	assert_int_equal(config.node_placements[0].numa, GUEST_MM_NUMA_ANY);
	assert_int_equal(config.node_placements[1].numa, GUEST_MM_NUMA_BIND);
	assert_int_equal(config.node_placements[1].nodes, 2);
	vm_config_free(&config);

	read_domain("taken-minimal.xml", &config, &heard);
	assert_int_equal(config.backing, GUEST_MM_ANON);
	assert_int_equal(config.serial.kind, CHARDEV_NULL);
	assert_true(config.max_memory_bytes == config.memory_bytes);
	assert_false(config.no_reboot);
	vm_config_free(&config);

	read_domain("taken-serial-file.xml", &config, &heard);
	assert_int_equal(config.serial.kind, CHARDEV_FILE);
	assert_string_equal(config.serial.path, "/tmp/serial.log");
	vm_config_free(&config);

	read_domain("taken-serial-stdio.xml", &config, &heard);
	assert_int_equal(config.serial.kind, CHARDEV_STDIO);
	vm_config_free(&config);

	read_domain("taken-console-alone.xml", &config, &heard);
	assert_int_equal(config.serial.kind, CHARDEV_PTY);
	vm_config_free(&config);

	read_domain("taken-called-test.xml", &config, &heard);
	assert_string_equal(config.name, "test");
	vm_config_free(&config);

	/* A DIMM is not of the memory at start, though libvirt counts it with. */
	read_domain("taken-dimm.xml", &config, &heard);
	assert_int_equal(config.memory_slots, 8);
	assert_int_equal(config.dimm_count, 1);
	assert_int_equal(config.dimms[0].size_bytes, 256 << 20);
	assert_int_equal(config.memory_bytes, 512 << 20);
	assert_int_equal(config.node_count, 0);
	assert_int_equal(vm_config_check(&config, &heard.err), 0);
	vm_config_free(&config);

	/* Nor is a virtio-mem, which does not take of what maxMemory leaves to DIMMs either. */
	read_domain("taken-virtio-mem.xml", &config, &heard);
	assert_int_equal(config.virtio_mem_count, 1);
	assert_string_equal(config.virtio_mems[0].id, "virtiomem0");
	assert_int_equal(config.virtio_mems[0].size_bytes, 256 << 20);
	assert_int_equal(config.virtio_mems[0].block_bytes, 2 << 20);
	assert_int_equal(config.virtio_mems[0].requested_bytes, 128 << 20);
	assert_int_equal(config.virtio_mems[0].node, -1);
	assert_int_equal(config.memory_bytes, 512 << 20);
	assert_true(config.max_memory_bytes == UINT64_C(3840) << 20);
	assert_int_equal(config.dimm_count, 0);
	assert_false(config.balloon.present);
	assert_int_equal(vm_config_check(&config, &heard.err), 0);
	vm_config_free(&config);

	read_domain("taken-balloon.xml", &config, &heard);
	assert_true(config.balloon.present);
	assert_false(config.balloon.deflate_on_oom);
	assert_true(config.balloon.reporting);
	assert_int_equal(config.balloon.stats_period_s, 5);
	assert_int_equal(config.balloon.left_bytes, 256 << 20);
	assert_int_equal(config.memory_bytes, 512 << 20);
	vm_config_free(&config);

	read_domain("taken-two-numa-nodes.xml", &config, &heard);
	assert_int_equal(config.node_count, 2);
	assert_int_equal(config.node_bytes[0], 256 << 20);
	assert_int_equal(config.node_bytes[1], 256 << 20);
	assert_int_equal(config.cpu_nodes[0], 0);
	assert_int_equal(config.cpu_nodes[1], 1);
	assert_int_equal(vm_config_check(&config, &heard.err), 0);
	vm_config_free(&config);

	read_domain("warned-fewer-vcpus.xml", &config, &heard);
	assert_int_equal(config.cpus, 1);
	vm_config_free(&config);
}

/* What the command line said before, and a domain knows nothing of, stays. */
static void the_rest_of_the_config_stays(void **state)
{
	struct vm_config config;
	struct samara_error err = {0};

	(void)state;
	vm_config_init(&config);
	config.qmp_path = strdup("/run/qmp");
	config.start_paused = true;
	assert_int_equal(domain_xml_read(FOLDER "/taken-minimal.xml", &config, NULL, NULL, &err),
			 0);
	assert_string_equal(config.qmp_path, "/run/qmp");
	assert_true(config.start_paused);
	/* And reading over it again frees what was there (seen by AddressSanitizer). */
	assert_int_equal(domain_xml_read(FOLDER "/taken-memfd.xml", &config, NULL, NULL, &err), 0);
	vm_config_free(&config);
}

static void bad_files_are_named(void **state)
{
	struct samara_error err = {0};
	struct vm_config config;

	(void)state;
	vm_config_init(&config);
	assert_int_equal(domain_xml_read("/nonexistent.xml", &config, NULL, NULL, &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent.xml: No such file or directory");
	assert_int_equal(domain_xml_read("/tmp", &config, NULL, NULL, &err), -EISDIR);
	assert_int_equal(domain_xml_read("/dev/zero", &config, NULL, NULL, &err), -EINVAL);
	assert_int_equal(domain_xml_read("/proc/self/exe", &config, NULL, NULL, &err), -EINVAL);
	assert_int_equal(domain_xml_read("/dev/null", &config, NULL, NULL, &err), -EINVAL);
	vm_config_free(&config);
}

/* A build without libvirt says so, and that is all there is to test. */
static int check_built_with_libvirt(void)
{
	struct samara_error err = {0};
	struct vm_config config;
	int ret;

	vm_config_init(&config);
	ret = domain_xml_read(FOLDER "/taken-minimal.xml", &config, NULL, NULL, &err);
	vm_config_free(&config);
	return ret != -EOPNOTSUPP || !strstr(err.text, "LIBVIRT=0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(domains_are_taken),
		cmocka_unit_test(harmless_lacks_are_warned_of),
		cmocka_unit_test(what_cannot_be_done_is_refused),
		cmocka_unit_test(values_arrive),
		cmocka_unit_test(the_rest_of_the_config_stays),
		cmocka_unit_test(bad_files_are_named),
	};

	if (!check_built_with_libvirt()) {
		puts("1..1\nok 1 - domain XML # SKIP built with LIBVIRT=0");
		return 0;
	}
	return cmocka_run_group_tests_name("domain_xml", tests, NULL, NULL);
}
