/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl free: how much memory the guest has free, by its own word. */
#include <inttypes.h>
#include <stdio.h>

#include "vmm/ctl_wait.h"

static void show_free(const json_t *result, double seconds)
{
	uint64_t ranges = ctl_number(result, "ranges");
	char free[32], largest[32], populated[32], grown[32];

	ctl_format_size(free, sizeof(free), ctl_number(result, "free"));
	ctl_format_size(largest, sizeof(largest), ctl_number(result, "largest"));
	ctl_format_size(populated, sizeof(populated), ctl_number(result, "populated"));
	ctl_format_size(grown, sizeof(grown), ctl_number(result, "grown"));
	printf("the guest names %s as free, in %" PRIu64 " range%s, the largest of %s (%.1f s)\n",
	       free, ranges, ranges == 1 ? "" : "s", largest, seconds);
	printf("%s of it are present on the host, where the guest grew by %s as it named it\n",
	       populated, grown);
}

int ctl_free(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	uint64_t started_ms = ctl_now_ms();
	struct qmp_client *client = NULL;
	long timeout_s = CTL_TIMEOUT_S;
	json_t *result = NULL;
	int ret = ctl_number_option(words, "--timeout", CTL_TIMEOUT_MAX_S, &timeout_s, err);

	if (ret)
		return ret;
	ret = qmp_client_connect(path, &client, err);
	if (!ret)
		ret = ctl_run(client, "x-samara-free-pages",
			      json_pack("{s:I}", "timeout", (json_int_t)timeout_s), &result, err);
	if (!ret && ctl_has(words, "--json"))
		ret = ctl_show_json(result, err);
	else if (!ret)
		show_free(result, ctl_seconds_since(started_ms));
	json_decref(result);
	qmp_client_close(client);
	return ret;
}
