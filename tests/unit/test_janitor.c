/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/janitor.h"
#include "vmm/qmp_socket.h"
#include "vmm/terminal.h"

static char scratch[] = "/tmp/test_janitor.XXXXXX";
static char path[64];

/* ---- A child has a terminal and a socket, and is killed ---- */

struct victim {
	pid_t pid;
	int terminal; /* the child's, our end */
	int slave;
	struct termios before;
};

enum {
	UNWATCH = 1,
	FILE_REPLACED = 2,
};

static void make_socket(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, name);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)))
		_exit(9);
}

static void start_victim(struct victim *victim, unsigned int flags)
{
	char ready;
	int ends[2];

	unlink(path);
	memset(victim, 0, sizeof(*victim)); /* padding is compared, too */
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(openpty(&victim->terminal, &victim->slave, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(victim->slave, &victim->before), 0);
	assert_true(victim->before.c_lflag & ICANON);
	victim->pid = fork();
	assert_true(victim->pid >= 0);
	if (!victim->pid) {
		setsid();
		dup2(victim->slave, 0);
		if (janitor_start(NULL))
			_exit(8);
		make_socket(path);
		if (janitor_watch_path(path) || !terminal_take())
			_exit(7);
		if (flags & UNWATCH)
			janitor_unwatch_path(path);
		if (flags & FILE_REPLACED) {
			unlink(path);
			close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		}
		if (write(ends[1], "r", 1) != 1)
			_exit(6);
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &ready, 1), 1);
	close(ends[0]);
}

static bool is_raw(const struct victim *victim)
{
	struct termios attributes;

	assert_int_equal(tcgetattr(victim->slave, &attributes), 0);
	return !(attributes.c_lflag & ICANON);
}

/* Wait for a child that a signal ends, and for its janitor, which is ours then (a subreaper's). */
static void wait_for_the_end(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_true(waitpid(-1, &status, 0) > 0);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

static void kill_victim(struct victim *victim, int signal)
{
	kill(victim->pid, signal);
	wait_for_the_end(victim->pid);
}

static void end_victim(struct victim *victim)
{
	close(victim->terminal);
	close(victim->slave);
	unlink(path);
}

static void killed_leaves_nothing(void **state)
{
	static const int signals[] = {SIGKILL, SIGTERM, SIGHUP};
	struct termios after;
	struct victim victim;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		start_victim(&victim, 0);
		assert_true(is_raw(&victim));
		assert_int_equal(access(path, F_OK), 0);
		kill_victim(&victim, signals[i]);
		memset(&after, 0, sizeof(after));
		assert_int_equal(tcgetattr(victim.slave, &after), 0);
		assert_memory_equal(&after, &victim.before, sizeof(after));
		assert_int_equal(access(path, F_OK), -1);
		end_victim(&victim);
	}
}

static void what_is_not_ours_stays(void **state)
{
	struct termios changed;
	struct victim victim;

	(void)state;
	start_victim(&victim, UNWATCH);
	kill_victim(&victim, SIGKILL);
	assert_int_equal(access(path, F_OK), 0);
	end_victim(&victim);

	start_victim(&victim, FILE_REPLACED);
	/* Somebody else has changed the terminal meanwhile. */
	assert_int_equal(tcgetattr(victim.slave, &changed), 0);
	changed.c_cc[VERASE] ^= 1;
	assert_int_equal(tcsetattr(victim.slave, TCSANOW, &changed), 0);
	kill_victim(&victim, SIGKILL);
	assert_true(is_raw(&victim));
	assert_int_equal(access(path, F_OK), 0);
	end_victim(&victim);
}

/* ---- A child is killed while it makes its control socket ---- */

/* From now on the kernel kills this process, as SIGKILL would, when it enters that system call. */
static void die_at(int number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(9);
}

static void killed_while_it_makes_its_socket(void **state)
{
	/* Before the file is there; when it is; and when it listens and the folder is let go. */
	static const int calls[] = {SYS_bind, SYS_listen, SYS_close};
	struct qmp_socket listener;
	size_t i;
	pid_t pid;

	(void)state;
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			if (janitor_start(NULL))
				_exit(8);
			die_at(calls[i]);
			qmp_socket_listen(&listener, path, NULL);
			_exit(7);
		}
		wait_for_the_end(pid);
		assert_int_equal(access(path, F_OK), -1);
	}
}

/* Killed where it was about to bind, while somebody puts @make's file there. */
static void expect_and_die(void (*make)(void))
{
	char ready;
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (janitor_start(NULL) || janitor_expect_socket(path) ||
		    write(ends[1], "r", 1) != 1)
			_exit(8);
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &ready, 1), 1);
	close(ends[0]);
	make();
	kill(pid, SIGKILL);
	wait_for_the_end(pid);
}

static struct qmp_socket living;

static void make_living_socket(void)
{
	assert_int_equal(qmp_socket_listen(&living, path, NULL), 0);
}

static void make_dead_socket(void)
{
	make_socket(path);
}

static void make_file(void)
{
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void what_was_expected_goes_only_if_it_is_a_dead_socket(void **state)
{
	(void)state;
	expect_and_die(make_dead_socket);
	assert_int_equal(access(path, F_OK), -1);

	expect_and_die(make_living_socket);
	assert_int_equal(access(path, F_OK), 0);
	qmp_socket_close(&living);
	assert_int_equal(access(path, F_OK), -1);

	expect_and_die(make_file);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
}

static void an_end_in_order_waits_for_the_janitor(void **state)
{
	struct samara_error err;

	(void)state;
	assert_int_equal(janitor_watch_path("/nonexistent/x"), -ENOENT);
	assert_int_equal(janitor_start(&err), 0);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(janitor_watch_path(path), 0);
	janitor_stop();
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
	/* Without a janitor they do nothing. */
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(janitor_watch_path(path), 0);
	janitor_stop();
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
}

static int make_scratch(void **state)
{
	(void)state;
	if (!mkdtemp(scratch) || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return -1;
	snprintf(path, sizeof(path), "%s/file", scratch);
	return 0;
}

static int remove_scratch(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_leaves_nothing),
		cmocka_unit_test(what_is_not_ours_stays),
		cmocka_unit_test(killed_while_it_makes_its_socket),
		cmocka_unit_test(what_was_expected_goes_only_if_it_is_a_dead_socket),
		cmocka_unit_test(an_end_in_order_waits_for_the_janitor),
	};

	return cmocka_run_group_tests_name("janitor", tests, make_scratch, remove_scratch);
}
