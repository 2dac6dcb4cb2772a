/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/qmp_throttle.h"

/* The source of an event; NULL: such events are not throttled, or there are too many sources. */
static struct qmp_throttled *find(struct qmp_throttle *throttle, const struct vm_notice *notice)
{
	const char *path = notice->path ? notice->path : "";
	struct qmp_throttled *source;

	if (notice->event != VM_EVENT_BALLOON_CHANGED &&
	    notice->event != VM_EVENT_MEMORY_SIZE_CHANGED)
		return NULL;
	for (source = throttle->sources; source < throttle->sources + throttle->count; source++)
		if (source->event == notice->event && !strcmp(source->path, path))
			return source;
	if (throttle->count == VIRTIO_SLOTS || strlen(path) >= sizeof(source->path))
		return NULL;
	throttle->count++;
	*source = (struct qmp_throttled){.event = notice->event};
	snprintf(source->path, sizeof(source->path), "%s", path);
	return source;
}

bool qmp_throttle_hold(struct qmp_throttle *throttle, const struct vm_notice *notice, char *text,
		       uint64_t now_ms)
{
	struct qmp_throttled *source = find(throttle, notice);

	if (!source)
		return false;
	if (!source->text && now_ms >= source->next_ms) {
		source->next_ms = now_ms + QMP_THROTTLE_MS;
		return false;
	}
	free(source->text);
	source->text = text;
	return true;
}

char *qmp_throttle_end(struct qmp_throttle *throttle, const struct vm_notice *notice)
{
	struct qmp_throttled *source;
	char *text;

	if (notice->event != VM_EVENT_DEVICE_DELETED)
		return NULL;
	for (source = throttle->sources; source < throttle->sources + throttle->count; source++) {
		if (strcmp(source->path, notice->path))
			continue;
		text = source->text;
		*source = throttle->sources[--throttle->count];
		return text;
	}
	return NULL;
}

char *qmp_throttle_due(struct qmp_throttle *throttle, uint64_t now_ms)
{
	for (unsigned int i = 0; i < throttle->count; i++) {
		struct qmp_throttled *source = &throttle->sources[i];
		char *text = source->text;

		if (!text || now_ms < source->next_ms)
			continue;
		source->text = NULL;
		source->next_ms = now_ms + QMP_THROTTLE_MS;
		return text;
	}
	return NULL;
}

int qmp_throttle_timeout_ms(const struct qmp_throttle *throttle, uint64_t now_ms)
{
	int timeout_ms = -1;

	for (unsigned int i = 0; i < throttle->count; i++) {
		const struct qmp_throttled *source = &throttle->sources[i];
		int left_ms = source->next_ms > now_ms ? (int)(source->next_ms - now_ms) : 0;

		if (source->text && (timeout_ms < 0 || left_ms < timeout_ms))
			timeout_ms = left_ms;
	}
	return timeout_ms;
}

void qmp_throttle_clear(struct qmp_throttle *throttle)
{
	for (unsigned int i = 0; i < throttle->count; i++)
		free(throttle->sources[i].text);
	throttle->count = 0;
}
