/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client of the control socket, and samara ctl on top of it. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/lib/straw_mm.h"
#include "vmm/qmp_client.h"

static void ctl_runs_verbs(void **state)
{
	(void)state;
	assert_int_equal(ctl("plug", "4G", "128M", "--ro"), 0);
	assert_true(straw_mm.gpa == UINT64_C(4) << 30);
	assert_int_equal(straw_mm.size_bytes, 128 << 20);
	assert_int_equal(straw_mm.prot, GUEST_MM_READ);
	assert_int_equal(ctl("protect", "0x1000", "4096", "rw"), 0);
	assert_int_equal(straw_mm.prot, GUEST_MM_RDWR);
	assert_int_equal(ctl("remap", "0", "4K", "0xfffffffffffff000"), 0);
	assert_true(straw_mm.new_gpa == UINT64_C(0xfffffffffffff000));
	assert_int_equal(ctl("regions", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("regions", "--json", NULL, NULL), 0);
	assert_int_equal(ctl("stats", NULL, NULL, NULL), 0);
	assert_int_equal(ctl("stop", NULL, NULL, NULL), 0);
	assert_int_equal(straw.state, VM_PAUSED);
	assert_int_equal(ctl("cont", NULL, NULL, NULL), 0);
	assert_int_equal(straw.state, VM_RUNNING);
	assert_int_equal(ctl("reset", NULL, NULL, NULL), 0);
	assert_int_equal(straw.resets, 1);
	assert_int_equal(ctl("raw", "{\"execute\":\"query-name\"}", NULL, NULL), 0);
}

static void ctl_tells_failure_from_misuse(void **state)
{
	(void)state;
	straw_mm.gpa = 1;
	assert_int_equal(ctl("plug", NULL, NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4G", "--ro", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4G", "many", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("unplug", "4G", "1M", "2M"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("unplug", "4G", "1M", "--ro"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("protect", "4G", "1M", "no"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("fly", NULL, NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("raw", "[]", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "1G", "--nod", "1"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("devices", "--j", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("devices", "--json=1", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("unplug", "dimm0", "--timeout", NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("resize", NULL, NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("events", "foo", NULL, NULL), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("plug", "4G", "1G", "--id=a"), SAMARA_EXIT_USAGE);
	assert_int_equal(ctl("devices", "--json", NULL, NULL), 0);
	assert_int_equal(ctl("plug", "--help", NULL, NULL), 0);
	assert_int_equal(straw_mm.gpa, 1);
	assert_int_equal(ctl("plug", "0xbad000", "4K", NULL), SAMARA_EXIT_FAILURE);
	assert_int_equal(ctl("raw", "{\"execute\":\"fly\"}", NULL, NULL), SAMARA_EXIT_FAILURE);
}

/* A server that greets as @greeting says, then closes after @reads messages. */
struct impostor {
	int listener;
	const char *greeting;
	int reads;
};

static void *impose(void *arg)
{
	struct impostor *impostor = arg;
	int fd = accept(impostor->listener, NULL, NULL), i;
	char buffer[512];

	if (impostor->greeting)
		send(fd, impostor->greeting, strlen(impostor->greeting), MSG_NOSIGNAL);
	for (i = 0; i < impostor->reads; i++) {
		if (recv(fd, buffer, sizeof(buffer), 0) <= 0)
			break;
		if (i + 1 < impostor->reads)
			send(fd, "{\"return\":{}}\r\n", 15, MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

static int meet(struct impostor *impostor, struct samara_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	json_t *command = json_pack("{s:s}", "execute", "stop");
	struct qmp_client *client = NULL;
	pthread_t thread;
	int ret;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/other", socket_folder);
	impostor->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(impostor->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	listen(impostor->listener, 1);
	pthread_create(&thread, NULL, impose, impostor);
	ret = qmp_client_connect(address.sun_path, &client, err);
	if (!ret)
		ret = qmp_client_run(client, command, NULL, err);
	qmp_client_close(client);
	pthread_join(thread, NULL);
	close(impostor->listener);
	unlink(address.sun_path);
	json_decref(command);
	return ret;
}

#define QMP_HELLO "{\"QMP\":{\"version\":{},\"capabilities\":[]}}\r\n"

static void other_servers_are_told_apart(void **state)
{
	struct impostor http = {.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n"};
	struct impostor json = {.greeting = "{\"hello\":1}\r\n"};
	struct impostor gone = {.greeting = NULL};
	struct impostor breaks = {.greeting = QMP_HELLO, .reads = 2};
	struct impostor half = {.greeting = "{\"QMP\":"};
	struct samara_error err = {0};

	(void)state;
	assert_int_equal(meet(&http, &err), -EPROTO);
	assert_non_null(strstr(err.text, "not a QMP server"));
	assert_int_equal(meet(&json, &err), -EPROTO);
	assert_int_equal(meet(&gone, &err), -ECONNRESET);
	assert_int_equal(meet(&half, &err), -ECONNRESET);
	assert_int_equal(meet(&breaks, &err), -ECONNRESET);
	assert_non_null(strstr(err.text, "connection was lost"));
}

static void sockets_that_are_not_there_are_named(void **state)
{
	struct samara_error err = {0};
	struct qmp_client *client;

	(void)state;
	assert_int_equal(qmp_client_connect("/nonexistent", &client, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent: there is no such socket"));
	assert_int_equal(qmp_client_connect("/etc/passwd", &client, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, "/etc/passwd"));
	assert_int_equal(qmp_client_connect("", &client, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		QMP_TEST(ctl_runs_verbs),
		QMP_TEST(ctl_tells_failure_from_misuse),
		QMP_TEST(other_servers_are_told_apart),
		QMP_TEST(sockets_that_are_not_there_are_named),
	};

	return cmocka_run_group_tests_name("qmp client", tests, make_folder, remove_folder);
}
