/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket's file: who may connect, and whose it is. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/straw_mm.h"
#include "vmm/qmp.h"

static void socket_is_the_owners(void **state)
{
	struct stat stat;

	(void)state;
	assert_int_equal(lstat(socket_path, &stat), 0);
	assert_true(S_ISSOCK(stat.st_mode));
	assert_int_equal(stat.st_mode & 0777, 0600);
}

static void a_live_socket_is_refused(void **state)
{
	struct samara_error err = {0};
	struct qmp_server *second;

	(void)state;
	assert_int_equal(qmp_server_start(&straw, socket_path, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, socket_path));
	peer_expect_alive();
}

static void a_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char old[SOCKET_PATH_BYTES];
	struct samara_error err = {0};
	struct qmp_server *second;

	(void)state;
	snprintf(old, sizeof(old), "%s/old", socket_folder);
	strcpy(address.sun_path, old);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd); /* as a process that died: the file stays */
	assert_int_equal(qmp_server_start(&straw, old, &second, &err), 0);
	qmp_server_stop(second);
	assert_int_equal(access(old, F_OK), -1);
}

static void a_file_that_is_no_socket_is_refused(void **state)
{
	struct samara_error err = {0};
	struct qmp_server *second;
	char file[SOCKET_PATH_BYTES];
	int fd;

	(void)state;
	snprintf(file, sizeof(file), "%s/file", socket_folder);
	fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(qmp_server_start(&straw, file, &second, &err), -EEXIST);
	assert_non_null(strstr(err.text, file));
	assert_int_equal(unlink(file), 0);
}

static void bad_paths_are_named(void **state)
{
	struct samara_error err = {0};
	struct qmp_server *second;
	char longest[150];

	(void)state;
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(qmp_server_start(&straw, longest, &second, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "149"));
	assert_int_equal(qmp_server_start(&straw, "", &second, &err), -EINVAL);
	assert_int_equal(qmp_server_start(&straw, "/nonexistent/qmp", &second, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/qmp"));
}

static void anothers_file_is_left_alone(void **state)
{
	struct stat stat;
	int fd;

	assert_int_equal(unlink(socket_path), 0);
	fd = open(socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	straw_teardown(state);
	assert_int_equal(lstat(socket_path, &stat), 0);
	assert_int_equal(unlink(socket_path), 0);
	assert_int_equal(straw_setup(state), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QMP_TEST(socket_is_the_owners),       QMP_TEST(a_live_socket_is_refused),
		QMP_TEST(a_stale_socket_is_replaced), QMP_TEST(a_file_that_is_no_socket_is_refused),
		QMP_TEST(bad_paths_are_named),        QMP_TEST(anothers_file_is_left_alone),
	};

	return cmocka_run_group_tests_name("qmp socket", tests, make_folder, remove_folder);
}
