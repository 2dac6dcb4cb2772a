/* SPDX-License-Identifier: GPL-2.0-or-later */
/* samara ctl events: what happens, as it comes. */
#include <errno.h>
#include <stdio.h>

#include "vmm/ctl.h"
#include "vmm/qmp_client.h"

int ctl_events(const char *path, const struct ctl_words *words, struct samara_error *err)
{
	struct qmp_client *client = NULL;
	int ret = qmp_client_connect(path, &client, err);

	(void)words;
	if (ret)
		return ret;
	while (!ret) {
		json_t *event = NULL;

		ret = qmp_client_next_event(client, -1, &event, err);
		if (!ret && (json_dumpf(event, stdout, JSON_COMPACT) || putchar('\n') == EOF ||
			     fflush(stdout)))
			ret = samara_error_set(err, -EIO, "standard output can't be written");
		json_decref(event);
	}
	qmp_client_close(client);
	/* The VM's end is the end of the events. */
	return ret == -ECONNRESET ? 0 : ret;
}
