/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP commands about the balloon: how much memory the guest has left, and how much of it is free.
 */
#include <errno.h>
#include <inttypes.h>

#include "vmm/free_pages.h"
#include "vmm/qmp_command.h"

/* ---- How much the guest has left --------------------------------------------------------------- */

static const struct qmp_arg balloon_args[] = {QMP_MEMBER("value", SIZE), QMP_END};
static const struct qmp_arg balloon_members[] = {QMP_MEMBER("actual", SIZE), QMP_END};
static const struct qmp_arg balloon_result = {NULL, QMP_ARG_OBJECT, false, NULL, balloon_members};

static int need_balloon(struct qmp_call *call, const struct vm_balloon **balloon)
{
	*balloon = vm_get_balloon(call->vm);
	if (*balloon)
		return 0;
	call->error_class = "DeviceNotActive";
	return samara_error_set(&call->err, -ENODEV, "No balloon device has been activated");
}

static int set_balloon(struct qmp_call *call)
{
	const struct vm_balloon *balloon;
	uint64_t bytes = qmp_size(call, "value");
	int ret = need_balloon(call, &balloon);

	if (!ret && !bytes)
		ret = samara_error_set(
			&call->err, -EINVAL,
			"Parameter 'value' expects a size: how much memory the guest "
			"shall keep");
	return ret ? ret : balloon->set(balloon->device, bytes, &call->err);
}

static int query_balloon(struct qmp_call *call)
{
	const struct vm_balloon *balloon;
	int ret = need_balloon(call, &balloon);

	if (ret)
		return ret;
	return qmp_answer(call,
			  json_pack("{s:o}", "actual", qmp_number(balloon->get(balloon->device))));
}

/* ---- How much of it is free -------------------------------------------------------------------- */

/* How long the guest may take to name its free pages, in seconds. */
#define FREE_PAGES_TIMEOUT_S     30
#define FREE_PAGES_TIMEOUT_MAX_S 3600

static const struct qmp_arg free_args[] = {QMP_OPTION("timeout", SIZE), QMP_END};
static const struct qmp_arg free_members[] = {
	QMP_MEMBER("free", SIZE),      QMP_MEMBER("ranges", SIZE), QMP_MEMBER("largest", SIZE),
	QMP_MEMBER("populated", SIZE), QMP_MEMBER("grown", SIZE),  QMP_END};
static const struct qmp_arg free_result = {NULL, QMP_ARG_OBJECT, false, NULL, free_members};

/* A guest that does not run names nothing; an answer that nobody reads is not worth its pages. */
static int check_free(void *arg, struct samara_error *err)
{
	const struct qmp_call *call = arg;

	switch (vm_get_state(call->vm)) {
	case VM_RUNNING:
		break;
	case VM_SHUTDOWN:
		return samara_error_set(err, -ESHUTDOWN, "the VM has ended");
	case VM_PRELAUNCH:
	case VM_PAUSED:
		return samara_error_set(err, -EAGAIN,
					"the guest is stopped: it names its free pages only while "
					"it runs");
	}
	if (qmp_client_gone(call->session))
		return samara_error_set(err, -ECONNRESET, "the client is gone");
	return 0;
}

static int read_timeout(struct qmp_call *call, unsigned int *timeout_ms)
{
	uint64_t timeout_s =
		qmp_has(call, "timeout") ? qmp_size(call, "timeout") : FREE_PAGES_TIMEOUT_S;

	if (!timeout_s || timeout_s > FREE_PAGES_TIMEOUT_MAX_S)
		return samara_error_set(&call->err, -EINVAL,
					"Parameter 'timeout' expects a number of seconds from 1 to "
					"%d, not %" PRIu64,
					FREE_PAGES_TIMEOUT_MAX_S, timeout_s);
	*timeout_ms = (unsigned int)timeout_s * 1000;
	return 0;
}

static int ask_free(struct qmp_call *call)
{
	struct free_pages_request request = {.check = check_free, .arg = call};
	const struct vm_balloon *balloon;
	struct free_pages sum;
	int ret = need_balloon(call, &balloon);

	if (!ret)
		ret = read_timeout(call, &request.timeout_ms);
	if (!ret)
		ret = balloon->ask_free(balloon->device, &request, &sum, &call->err);
	if (ret)
		return ret;
	return qmp_answer(call,
			  json_pack("{s:o, s:o, s:o, s:o, s:o}", "free", qmp_number(sum.free_bytes),
				    "ranges", qmp_number(sum.ranges), "largest",
				    qmp_number(sum.largest_bytes), "populated",
				    qmp_number(sum.populated_bytes), "grown",
				    qmp_number(sum.grown_bytes)));
}

/* ---- The table ------------------------------------------------------------------------------- */

#define COMMAND(name, args, run)                         \
	{                                                \
		name, args, false, run, NULL, NULL, NULL \
	}
#define QUERY(name, args, run, result)                     \
	{                                                  \
		name, args, false, run, result, NULL, NULL \
	}

const struct qmp_command qmp_balloon_commands[] = {
	COMMAND("balloon", balloon_args, set_balloon),
	QUERY("query-balloon", NULL, query_balloon, &balloon_result),
	QUERY("x-samara-free-pages", free_args, ask_free, &free_result),
	COMMAND(NULL, NULL, NULL),
};
