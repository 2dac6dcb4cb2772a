/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The events of the control socket: their names and data follow QEMU's, since tools look for them.
 */
#include <stdio.h>
#include <time.h>

#include "vmm/qmp_command.h"

/* By enum vm_cause. */
static const char *const causes[] = {
	[VM_CAUSE_NONE] = "none",
	[VM_CAUSE_HOST_ERROR] = "host-error",
	[VM_CAUSE_HOST_QMP_QUIT] = "host-qmp-quit",
	[VM_CAUSE_HOST_QMP_SYSTEM_RESET] = "host-qmp-system-reset",
	[VM_CAUSE_HOST_SIGNAL] = "host-signal",
	[VM_CAUSE_HOST_UI] = "host-ui",
	[VM_CAUSE_GUEST_SHUTDOWN] = "guest-shutdown",
	[VM_CAUSE_GUEST_RESET] = "guest-reset",
	NULL,
};

static const struct qmp_arg why[] = {
	QMP_MEMBER("guest", BOOL), {"reason", QMP_ARG_ENUM, false, causes, NULL}, QMP_END};

static const struct qmp_arg panicked[] = {QMP_MEMBER("action", STRING), QMP_END};

static const struct qmp_arg ost_info[] = {
	QMP_OPTION("device", STRING), QMP_MEMBER("slot", STRING), QMP_MEMBER("slot-type", STRING),
	QMP_MEMBER("source", SIZE),   QMP_MEMBER("status", SIZE), QMP_END};
static const struct qmp_arg ost[] = {{"info", QMP_ARG_OBJECT, false, NULL, ost_info}, QMP_END};

static const struct qmp_arg device[] = {QMP_OPTION("device", STRING), QMP_MEMBER("path", STRING),
					QMP_END};

static const struct qmp_arg refused[] = {QMP_OPTION("device", STRING), QMP_MEMBER("path", STRING),
					 QMP_OPTION("x-samara-reason", STRING), QMP_END};

static const struct qmp_arg unplug_error[] = {QMP_MEMBER("device", STRING),
					      QMP_MEMBER("msg", STRING), QMP_END};

static const struct qmp_arg size_change[] = {QMP_OPTION("id", STRING), QMP_MEMBER("size", SIZE),
					     QMP_MEMBER("qom-path", STRING), QMP_END};

static const struct qmp_arg balloon[] = {QMP_MEMBER("actual", SIZE), QMP_END};

const struct qmp_event qmp_events[] = {
	[VM_EVENT_STOP] = {"STOP", NULL},
	[VM_EVENT_RESUME] = {"RESUME", NULL},
	[VM_EVENT_RESET] = {"RESET", why},
	[VM_EVENT_SHUTDOWN] = {"SHUTDOWN", why},
	[VM_EVENT_POWERDOWN] = {"POWERDOWN", NULL},
	[VM_EVENT_GUEST_PANICKED] = {"GUEST_PANICKED", panicked},
	[VM_EVENT_ACPI_OST] = {"ACPI_DEVICE_OST", ost},
	[VM_EVENT_DEVICE_DELETED] = {"DEVICE_DELETED", device},
	[VM_EVENT_UNPLUG_REFUSED] = {"DEVICE_UNPLUG_GUEST_ERROR", refused},
	[VM_EVENT_MEMORY_SIZE_CHANGED] = {"MEMORY_DEVICE_SIZE_CHANGE", size_change},
	[VM_EVENT_MEMORY_UNPLUG_REFUSED] = {"MEM_UNPLUG_ERROR", unplug_error},
	[VM_EVENT_BALLOON_CHANGED] = {"BALLOON_CHANGE", balloon},
	{NULL, NULL},
};

/* What the table declares of the event's data; NULL when out of memory. */
static json_t *data(const struct vm_notice *notice)
{
	char slot[16];

	switch (notice->event) {
	case VM_EVENT_RESET:
	case VM_EVENT_SHUTDOWN:
		return json_pack("{s:b, s:s}", "guest", notice->cause >= VM_CAUSE_GUEST_SHUTDOWN,
				 "reason", causes[notice->cause]);
	case VM_EVENT_GUEST_PANICKED:
		return json_pack("{s:s}", "action", "run");
	case VM_EVENT_ACPI_OST:
		snprintf(slot, sizeof(slot), "%u", notice->slot);
		return json_pack("{s:{s:s*, s:s, s:s, s:I, s:I}}", "info", "device", notice->device,
				 "slot", slot, "slot-type", "DIMM", "source",
				 (json_int_t)notice->source, "status", (json_int_t)notice->status);
	case VM_EVENT_DEVICE_DELETED:
		return json_pack("{s:s*, s:s}", "device", notice->device, "path", notice->path);
	case VM_EVENT_UNPLUG_REFUSED:
		return json_pack("{s:s*, s:s, s:s*}", "device", notice->device, "path",
				 notice->path, "x-samara-reason", notice->reason);
	case VM_EVENT_MEMORY_UNPLUG_REFUSED:
		return json_pack("{s:s, s:s}", "device", notice->device ? notice->device : "",
				 "msg", notice->reason);
	case VM_EVENT_MEMORY_SIZE_CHANGED:
		return json_pack("{s:s*, s:o, s:s}", "id", notice->device, "size",
				 qmp_number(notice->size_bytes), "qom-path", notice->path);
	case VM_EVENT_BALLOON_CHANGED:
		return json_pack("{s:o}", "actual", qmp_number(notice->size_bytes));
	case VM_EVENT_STOP:
	case VM_EVENT_RESUME:
	case VM_EVENT_POWERDOWN:
		break;
	}
	return NULL;
}

json_t *qmp_event(const struct vm_notice *notice)
{
	const struct qmp_event *event = &qmp_events[notice->event];
	struct timespec now;
	json_t *message;

	clock_gettime(CLOCK_REALTIME, &now);
	message = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
			    "microseconds", (json_int_t)(now.tv_nsec / 1000), "event", event->name);
	if (message && event->members && json_object_set_new(message, "data", data(notice))) {
		json_decref(message);
		return NULL;
	}
	return message;
}
