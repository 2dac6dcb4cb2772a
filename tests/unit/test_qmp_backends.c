/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backends over the control socket: what memory a device of each has, and what is left of it. */
#include <dirent.h>
#include <numaif.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/memory_vm.h"

#define ADD(members) "{\"execute\":\"object-add\",\"arguments\":{" members "}}"

static void take_away(int fd, const char *id, unsigned int slot)
{
	ask_back(fd, id);
	assert_int_equal(slot_hear_of(MEMORY_HOTPLUG_REMOVING), slot);
	slot_eject(slot);
	expect_deleted(fd, id);
}

static void write_word(gpa_t gpa, uint64_t word)
{
	assert_int_equal(guest_mm_write(straw.mm, gpa, &word, sizeof(word)), 0);
}

static uint64_t read_word(gpa_t gpa)
{
	uint64_t word = 0;

	assert_int_equal(guest_mm_read(straw.mm, gpa, &word, sizeof(word)), 0);
	return word;
}

static void a_files_contents_are_the_memorys(void **state)
{
	static const char text[] = "what the file holds";
	char file[] = "/tmp/samara-test-file-XXXXXX", command[256], read_back[sizeof(text)];
	int file_fd = mkstemp(file), fd = peer_greet();
	const off_t far = 64 * (off_t)MIB;
	gpa_t gpa;

	(void)state;
	assert_true(file_fd >= 0);
	/* A hole between, and more memory than file. */
	assert_int_equal(pwrite(file_fd, text, sizeof(text), 4000), sizeof(text));
	assert_int_equal(pwrite(file_fd, text, sizeof(text), far), sizeof(text));
	snprintf(command, sizeof(command),
		 ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m0\",\"size\":\"128M\","
		     "\"mem-path\":\"%s\""),
		 file);
	peer_expect_ok(fd, command);
	add_dimm(fd, "d0", "m0");
	gpa = slot_gpa(slot_hear_of(MEMORY_HOTPLUG_INSERTING));
	assert_int_equal(guest_mm_read(straw.mm, gpa + 4000, read_back, sizeof(text)), 0);
	assert_string_equal(read_back, text);
	assert_int_equal(guest_mm_read(straw.mm, gpa + (gpa_t)far, read_back, sizeof(text)), 0);
	assert_string_equal(read_back, text);
	assert_int_equal(guest_mm_read(straw.mm, gpa + 32 * MIB, read_back, sizeof(text)), 0);
	assert_int_equal(read_back[0], 0);
	close(fd);
	close(file_fd);
	unlink(file);
}

/* The file is the memory: it has what was in it, gets what the guest writes, and keeps that. */
static void a_shared_file_is_the_memory(void **state)
{
	int file = memfd_create("file", MFD_CLOEXEC), fd = peer_greet();
	uint64_t word = 4711;
	unsigned int slot;
	char command[256];
	gpa_t gpa;

	(void)state;
	assert_true(file >= 0);
	/* Shorter than the memory: it grows. */
	assert_int_equal(pwrite(file, &word, sizeof(word), 8192), sizeof(word));
	snprintf(command, sizeof(command),
		 ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m0\",\"size\":\"128M\","
		     "\"mem-path\":\"/proc/self/fd/%d\",\"share\":true"),
		 file);
	for (unsigned int round = 0; round < 2; round++) {
		peer_expect_ok(fd, command);
		add_dimm(fd, "d0", "m0");
		slot = slot_hear_of(MEMORY_HOTPLUG_INSERTING);
		gpa = slot_gpa(slot);
		assert_int_equal(read_word(gpa + 8192), 4711);
		assert_int_equal(read_word(gpa + 127 * MIB), round ? 99 : 0);
		write_word(gpa + 127 * MIB, 99);
		assert_int_equal(pread(file, &word, sizeof(word), 127 * MIB), sizeof(word));
		assert_int_equal(word, 99);
		take_away(fd, "d0", slot);
		assert_int_equal(pread(file, &word, sizeof(word), 8192), sizeof(word));
		assert_int_equal(word, 4711);
		peer_expect_ok(fd, "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"m0\"}}");
	}
	/* What comes next to the same place has nothing of it. */
	add_backend(fd, "m1", 128);
	add_dimm(fd, "d1", "m1");
	assert_true(slot_gpa(slot_hear_of(MEMORY_HOTPLUG_INSERTING)) == gpa);
	assert_int_equal(read_word(gpa + 8192), 0);
	write_word(gpa + 8192, 5);
	assert_int_equal(pread(file, &word, sizeof(word), 8192), sizeof(word));
	assert_int_equal(word, 4711);
	close(fd);
	close(file);
}

static void discarded_data_is_gone(void **state)
{
	int file = memfd_create("file", MFD_CLOEXEC), fd = peer_greet();
	char command[256];
	uint64_t word = 1;
	unsigned int slot;

	(void)state;
	snprintf(command, sizeof(command),
		 ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m0\",\"size\":\"128M\","
		     "\"mem-path\":\"/proc/self/fd/%d\",\"share\":true,\"discard-data\":true"),
		 file);
	peer_expect_ok(fd, command);
	add_dimm(fd, "d0", "m0");
	slot = slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	write_word(slot_gpa(slot), 77);
	take_away(fd, "d0", slot);
	assert_int_equal(pread(file, &word, sizeof(word), 0), sizeof(word));
	assert_int_equal(word, 0);
	close(fd);
	close(file);
}

/* Our own descriptor of the memfd that a backend has. Return: -1: there is none. */
static int find_memfd(const char *name)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *entry;
	char link[300], wanted[64];
	int found = -1;

	snprintf(wanted, sizeof(wanted), "/memfd:%s (deleted)", name);
	while (found < 0 && (entry = readdir(folder))) {
		ssize_t length = readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);

		if (length < 0)
			continue;
		link[length] = '\0';
		if (!strcmp(link, wanted))
			found = atoi(entry->d_name);
	}
	closedir(folder);
	return found;
}

/* Whatever is behind the rest of the VM's memory. */
static void a_shared_memfd_can_be_mapped(void **state)
{
	int fd = peer_greet(), memfd;
	struct stat stat;
	unsigned int slot;
	uint64_t word;

	(void)state;
	peer_expect_ok(fd, ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m0\","
			       "\"size\":\"128M\",\"share\":true"));
	memfd = find_memfd("m0");
	assert_true(memfd >= 0);
	add_dimm(fd, "d0", "m0");
	slot = slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	write_word(slot_gpa(slot) + 4096, 12345);
	assert_int_equal(pread(memfd, &word, sizeof(word), 4096), sizeof(word));
	assert_int_equal(word, 12345);
	/* What is unplugged is the host's again. */
	take_away(fd, "d0", slot);
	assert_int_equal(fstat(memfd, &stat), 0);
	assert_int_equal(stat.st_blocks, 0);
	close(fd);
}

static void a_vm_of_memfds_shares_them(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_ok(fd, ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m0\","
			       "\"size\":\"128M\",\"share\":true,\"prealloc\":true"));
	assert_int_equal(find_memfd("m0"), -1);
	add_dimm(fd, "d0", "m0");
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

static int policy_at(gpa_t gpa)
{
	struct guest_mm_pin pin;
	int mode = -1;

	assert_int_equal(guest_mm_pin(straw.mm, gpa, 4096, true, &pin), 0);
	assert_int_equal(get_mempolicy(&mode, NULL, 0, pin.iov[0].iov_base, MPOL_F_ADDR), 0);
	guest_mm_unpin(&pin);
	return mode;
}

static void a_policy_is_the_devices_own(void **state)
{
	int fd = peer_greet();
	unsigned int slot;
	gpa_t gpa;

	(void)state;
	peer_expect_ok(fd,
		       ADD("\"qom-type\":\"memory-backend-ram\",\"id\":\"m0\",\"size\":\"128M\","
			   "\"policy\":\"bind\",\"host-nodes\":[0]"));
	add_dimm(fd, "d0", "m0");
	slot = slot_hear_of(MEMORY_HOTPLUG_INSERTING);
	gpa = slot_gpa(slot);
	assert_int_equal(policy_at(gpa), MPOL_BIND);
	assert_int_equal(policy_at(gpa + 127 * MIB), MPOL_BIND);
	assert_int_equal(policy_at(0), MPOL_DEFAULT);
	take_away(fd, "d0", slot);
	/* The next at its place has none. */
	add_backend(fd, "m1", 128);
	add_dimm(fd, "d1", "m1");
	assert_true(slot_gpa(slot_hear_of(MEMORY_HOTPLUG_INSERTING)) == gpa);
	assert_int_equal(policy_at(gpa), MPOL_DEFAULT);
	/* A node that is not there: told when a device is to have it, and nothing is plugged. */
	peer_expect_ok(fd,
		       ADD("\"qom-type\":\"memory-backend-ram\",\"id\":\"m2\",\"size\":\"128M\","
			   "\"policy\":\"interleave\",\"host-nodes\":[0,63]"));
	peer_expect_error(fd,
			  "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
			  "\"memdev\":\"m2\"}}",
			  "DeviceNotFound", "NUMA node 63");
	assert_int_equal(device_count(fd), 1);
	close(fd);
}

static void what_a_vm_of_a_file_cannot_have(void **state)
{
	int fd = peer_greet();

	(void)state;
	peer_expect_error(fd,
			  ADD("\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":4096,"
			      "\"policy\":\"bind\",\"host-nodes\":[0]"),
			  "GenericError", "policy: this VM's memory is a copy of a file");
	peer_expect_error(fd,
			  ADD("\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"size\":4096"),
			  "GenericError", "share: this VM's memory is a copy of a file");
	peer_expect_error(fd,
			  ADD("\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":4096,"
			      "\"mem-path\":\"/proc/self/exe\""),
			  "GenericError", "can't be another's");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MEMORY_TEST(a_files_contents_are_the_memorys),
		MEMORY_TEST(a_shared_file_is_the_memory),
		MEMORY_TEST_OF(GUEST_MM_MEMFD, a_shared_file_is_the_memory),
		MEMORY_TEST(discarded_data_is_gone),
		MEMORY_TEST(a_shared_memfd_can_be_mapped),
		MEMORY_TEST_OF(GUEST_MM_MEMFD, a_vm_of_memfds_shares_them),
		MEMORY_TEST(a_policy_is_the_devices_own),
		MEMORY_TEST_OF(GUEST_MM_FILE_PRIVATE, what_a_vm_of_a_file_cannot_have),
	};

	return cmocka_run_group_tests_name("qmp_backends", tests, make_folder, remove_folder);
}
