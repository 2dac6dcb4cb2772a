/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/dimm.h"

/* Until the guest asks what there is to tell, it is told again; and a failed unplug tried again. */
#define REMIND_MS       1000
#define NS_PER_MS       UINT64_C(1000000)

/* So many times in a row, and whoever runs the VM is told. A guest that boots may take some. */
#define UNHEARD_MAX     10u

/*
 * How many reports of one slot are passed on until something happens to it. A guest that is well
 * makes three: in progress, ejected or not, and one for an insertion before.
 */
#define REPORTS_MAX     16u

/* Source events and status codes of _OST: ACPI 6.4, 6.3.5, tables 6.61 to 6.63. */
#define OST_EJECT       0x3u   /* as notified */
#define OST_GUEST_EJECT 0x103u /* the guest's own idea */
#define OST_SUCCESS     0x0u
#define OST_IN_PROGRESS 0x84u

/* What a guest does wrong; each is told of once. */
enum complaint {
	COMPLAINT_SILENCE = 1,
	COMPLAINT_STORM = 2,
};

struct dimm {
	struct memory_device device;
	struct dimms *dimms;
	bool asked; /* memory_devices_lock(): to let it go, and has not refused */
};

/* What a vCPU has left for the thread. */
struct task {
	enum {
		TASK_EJECTED,
		TASK_REPORT
	} kind;
	unsigned int slot;
	uint32_t source, status;
};

/* Reports leave room for an ejection of each slot, which must not be lost. */
#define TASKS_MAX      256u
#define TASKS_REPORTED (TASKS_MAX - 2 * MEMORY_HOTPLUG_SLOTS_MAX)

/*
 * Lock key: [i] immutable, [D] memory_devices_lock(), [l] lock, a leaf.
 */
struct dimms {
	struct memory_devices *devices;               /* [i] */
	struct memory_hotplug *hotplug;               /* [i] */
	unsigned int slot_count;                      /* [i] */
	pthread_t thread;                             /* [i] */
	bool started;                                 /* [i] until dimms_stop() */
	struct dimm *slots[MEMORY_HOTPLUG_SLOTS_MAX]; /* [D] */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;                                      /* [l] */
	bool remind;                                    /* [l] the guest may not have heard */
	bool ejected[MEMORY_HOTPLUG_SLOTS_MAX];         /* [l] and not unplugged yet */
	unsigned int reports[MEMORY_HOTPLUG_SLOTS_MAX]; /* [l] since something happened */
	struct dimm_ost last[MEMORY_HOTPLUG_SLOTS_MAX]; /* [l] */
	struct task tasks[TASKS_MAX];                   /* [l] in the order they came */
	unsigned int task_count;                        /* [l] */
	uint64_t retry_ns[MEMORY_HOTPLUG_SLOTS_MAX];    /* [l] its tasks wait until then; 0: not */
	struct dimm_counters counters;                  /* [l] */
	unsigned int unheard;                           /* [l] reminders in a row */
	unsigned int complaints, told;                  /* [l] enum complaint */
};

/* ---- From vCPU threads ----------------------------------------------------------------------- */

/* Have the thread tell. Under the lock. */
static void complain(struct dimms *dimms, enum complaint complaint)
{
	if (!(dimms->complaints & complaint))
		pthread_cond_signal(&dimms->wake);
	dimms->complaints |= complaint;
}

/* Under the lock. Return: whether there was room. */
static bool add_task(struct dimms *dimms, const struct task *task)
{
	if (dimms->task_count >= (task->kind == TASK_EJECTED ? TASKS_MAX : TASKS_REPORTED))
		return false;
	dimms->tasks[dimms->task_count++] = *task;
	pthread_cond_signal(&dimms->wake);
	return true;
}

static void ejected(void *arg, unsigned int slot)
{
	const struct task task = {.kind = TASK_EJECTED, .slot = slot};
	struct dimms *dimms = arg;

	pthread_mutex_lock(&dimms->lock);
	dimms->ejected[slot] = true;
	add_task(dimms, &task);
	pthread_mutex_unlock(&dimms->lock);
}

static void reported(void *arg, unsigned int slot, uint32_t source, uint32_t status)
{
	const struct task task = {
		.kind = TASK_REPORT, .slot = slot, .source = source, .status = status};
	struct dimms *dimms = arg;

	pthread_mutex_lock(&dimms->lock);
	if (dimms->reports[slot] < REPORTS_MAX && add_task(dimms, &task)) {
		dimms->reports[slot]++;
		dimms->counters.passed++;
	} else {
		dimms->counters.dropped++;
		complain(dimms, COMPLAINT_STORM);
	}
	dimms->last[slot].source = source;
	dimms->last[slot].status = status;
	pthread_mutex_unlock(&dimms->lock);
}

/* Something happens to a slot: the guest may speak of it, and may have to be told again. */
static void expect_reports(struct dimms *dimms, unsigned int slot)
{
	pthread_mutex_lock(&dimms->lock);
	dimms->reports[slot] = 0;
	dimms->remind = true;
	pthread_cond_signal(&dimms->wake);
	pthread_mutex_unlock(&dimms->lock);
}

/* ---- Unplugging ------------------------------------------------------------------------------ */

static void destroy_dimm(struct memory_device *device)
{
	struct dimm *dimm = (struct dimm *)device;

	dimm->dimms->slots[device->slot] = NULL;
	memory_device_fini(device);
	free(dimm);
}

/*
 * The guest is done with it: take its memory and the DIMM away. memory_devices_lock() held.
 *
 * Return: 0, or what guest_mm_unplug() said: then all is as before.
 */
static int unplug(struct dimm *dimm)
{
	struct memory_device *device = &dimm->device;
	struct dimms *dimms = dimm->dimms;
	struct vm_notice notice = {.event = VM_EVENT_DEVICE_DELETED};
	unsigned int slot = (unsigned int)device->slot;
	int ret;

	ret = memory_backend_unplug(device->backend, memory_devices_config(dimms->devices)->mm,
				    device->gpa, NULL);
	/* Part of it was unplugged by its address: then the rest is whose that was. */
	if (ret && ret != -ENOENT)
		return ret;
	memory_device_remove(device);
	pthread_mutex_lock(&dimms->lock);
	dimms->ejected[slot] = false;
	dimms->last[slot].id[0] = '\0';
	pthread_mutex_unlock(&dimms->lock);
	memory_hotplug_remove(dimms->hotplug, slot);
	notice.device = device->id;
	notice.path = device->path;
	notice.slot = slot;
	memory_devices_notify(dimms->devices, &notice);
	destroy_dimm(device);
	return 0;
}

static bool is_ejected(struct dimms *dimms, unsigned int slot)
{
	bool yes;

	pthread_mutex_lock(&dimms->lock);
	yes = dimms->ejected[slot];
	pthread_mutex_unlock(&dimms->lock);
	return yes;
}

/* Whether nothing is left to do; else it is to be tried again. */
static bool carry_out_ejection(struct dimms *dimms, unsigned int slot)
{
	bool done;

	memory_devices_lock(dimms->devices);
	done = !is_ejected(dimms, slot) || !dimms->slots[slot] || !unplug(dimms->slots[slot]);
	memory_devices_unlock(dimms->devices);
	return done;
}

/* ---- What the guest says --------------------------------------------------------------------- */

static const char *refusal(uint32_t status)
{
	switch (status) {
	case 0x1:
		return "it gives no reason";
	case 0x2:
		return "it does not know the request";
	case 0x80:
		return "it does not support ejection";
	case 0x81:
		return "an application uses the device";
	case 0x82:
		return "the device is busy";
	case 0x83:
		return "what depends on the device is busy or can't be ejected";
	default:
		return "for a reason without a name";
	}
}

/* It was asked to let it go and does not: that ends the request. */
static void tell_refusal(struct dimms *dimms, struct dimm *dimm, uint32_t status)
{
	const struct memory_device *device = &dimm->device;
	struct vm_notice notice = {
		.event = VM_EVENT_UNPLUG_REFUSED,
		.device = device->id,
		.path = device->path,
		.slot = (unsigned int)device->slot,
	};
	char reason[192];

	dimm->asked = false;
	snprintf(reason, sizeof(reason),
		 "the guest does not let %.64s go: %s (_OST status 0x%" PRIx32 ")",
		 device->id ? device->id : device->path, refusal(status), status);
	notice.reason = reason;
	memory_devices_notify(dimms->devices, &notice);
	notice.event = VM_EVENT_MEMORY_UNPLUG_REFUSED;
	memory_devices_notify(dimms->devices, &notice);
}

static void pass_on_report(struct dimms *dimms, const struct task *task)
{
	struct vm_notice notice = {
		.event = VM_EVENT_ACPI_OST,
		.slot = task->slot,
		.source = task->source,
		.status = task->status,
	};
	struct dimm *dimm;

	memory_devices_lock(dimms->devices);
	dimm = dimms->slots[task->slot];
	if (dimm) {
		notice.device = dimm->device.id;
		notice.path = dimm->device.path;
	}
	memory_devices_notify(dimms->devices, &notice);
	if (dimm && dimm->asked && (task->source == OST_EJECT || task->source == OST_GUEST_EJECT) &&
	    task->status != OST_SUCCESS && task->status != OST_IN_PROGRESS)
		tell_refusal(dimms, dimm, task->status);
	memory_devices_unlock(dimms->devices);
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* Under the lock. Return: whether nobody woke us up. */
static bool wait_a_while(struct dimms *dimms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += REMIND_MS / 1000;
	until.tv_nsec += REMIND_MS % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	return pthread_cond_timedwait(&dimms->wake, &dimms->lock, &until) == ETIMEDOUT;
}

/* Under the lock, which is let go meanwhile. Return: whether there was something to tell. */
static bool tell_complaints(struct dimms *dimms)
{
	const struct memory_devices_config *config = memory_devices_config(dimms->devices);
	unsigned int news = dimms->complaints & ~dimms->told;

	if (!news)
		return false;
	dimms->told |= news;
	pthread_mutex_unlock(&dimms->lock);
	if (config->report && news & COMPLAINT_SILENCE)
		config->report(
			config->arg,
			"memory slots: the guest does not ask what there is to tell, though it "
			"is reminded (told once, counted as memory-reminders)");
	if (config->report && news & COMPLAINT_STORM)
		config->report(
			config->arg,
			"memory slots: the guest reports more than there can be to say (told "
			"once, counted as ost-reports-dropped)");
	pthread_mutex_lock(&dimms->lock);
	return true;
}

/* Tell the guest anew, if it has not asked. Under the lock. */
static void remind(struct dimms *dimms)
{
	dimms->remind = memory_hotplug_remind(dimms->hotplug);
	if (!dimms->remind) {
		dimms->unheard = 0;
		return;
	}
	dimms->counters.reminders++;
	if (++dimms->unheard >= UNHEARD_MAX)
		complain(dimms, COMPLAINT_SILENCE);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

/*
 * The first task that need not wait. Those of a slot whose ejection failed wait all together, so that
 * they stay in order; those of other slots pass. Under the lock. Return: its index, or task_count.
 */
static unsigned int find_task(const struct dimms *dimms)
{
	uint64_t now = now_ns();
	unsigned int i;

	for (i = 0; i < dimms->task_count; i++)
		if (dimms->retry_ns[dimms->tasks[i].slot] <= now)
			break;
	return i;
}

/* Under the lock. Return: whether there is a task, *@index. */
static bool wait_for_task(struct dimms *dimms, unsigned int *index)
{
	while (!dimms->stop && (*index = find_task(dimms)) == dimms->task_count) {
		if (tell_complaints(dimms))
			continue;
		if (dimms->remind || dimms->task_count) {
			if (wait_a_while(dimms) && dimms->remind)
				remind(dimms);
		} else {
			pthread_cond_wait(&dimms->wake, &dimms->lock);
		}
	}
	return !dimms->stop;
}

/* Under the lock. */
static void end_task(struct dimms *dimms, unsigned int index)
{
	dimms->retry_ns[dimms->tasks[index].slot] = 0;
	memmove(&dimms->tasks[index], &dimms->tasks[index + 1],
		(--dimms->task_count - index) * sizeof(*dimms->tasks));
}

static void *serve(void *arg)
{
	struct dimms *dimms = arg;
	unsigned int index;
	struct task task;
	bool done;

	pthread_mutex_lock(&dimms->lock);
	while (wait_for_task(dimms, &index)) {
		task = dimms->tasks[index];
		pthread_mutex_unlock(&dimms->lock);
		done = true;
		if (task.kind == TASK_EJECTED)
			done = carry_out_ejection(dimms, task.slot);
		else
			pass_on_report(dimms, &task);
		/* Tasks are added behind it meanwhile, and nobody else takes any away. */
		pthread_mutex_lock(&dimms->lock);
		if (done)
			end_task(dimms, index);
		else
			dimms->retry_ns[task.slot] = now_ns() + REMIND_MS * NS_PER_MS;
	}
	pthread_mutex_unlock(&dimms->lock);
	return NULL;
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* A thread that no signal is delivered to: those are the main thread's and the vCPUs'. */
static int start_thread(struct dimms *dimms)
{
	sigset_t all, old;
	int ret;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	ret = -pthread_create(&dimms->thread, NULL, serve, dimms);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret;
}

int dimms_create(struct memory_devices *devices, unsigned int slots, struct irq irq,
		 struct dimms **out, struct samara_error *err)
{
	struct memory_hotplug_config config = {
		.slots = slots,
		.irq = irq,
		.ejected = ejected,
		.reported = reported,
	};
	struct dimms *dimms = calloc(1, sizeof(*dimms));
	pthread_condattr_t clock;
	int ret;

	if (!dimms)
		return samara_error_set(err, -ENOMEM, "memory slots: out of memory");
	dimms->devices = devices;
	dimms->slot_count = slots;
	config.arg = dimms;
	pthread_mutex_init(&dimms->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&dimms->wake, &clock);
	pthread_condattr_destroy(&clock);
	ret = memory_hotplug_create(&config, &dimms->hotplug);
	if (!ret)
		ret = start_thread(dimms);
	if (ret) {
		dimms_destroy(dimms);
		return samara_error_set(err, ret, "memory slots: %s", strerror(-ret));
	}
	dimms->started = true;
	*out = dimms;
	return 0;
}

void dimms_stop(struct dimms *dimms)
{
	if (!dimms || !dimms->started)
		return;
	pthread_mutex_lock(&dimms->lock);
	dimms->stop = true;
	pthread_cond_signal(&dimms->wake);
	pthread_mutex_unlock(&dimms->lock);
	pthread_join(dimms->thread, NULL);
	dimms->started = false;
}

void dimms_destroy(struct dimms *dimms)
{
	if (!dimms)
		return;
	dimms_stop(dimms);
	memory_hotplug_destroy(dimms->hotplug);
	pthread_cond_destroy(&dimms->wake);
	pthread_mutex_destroy(&dimms->lock);
	free(dimms);
}

struct memory_hotplug *dimms_registers(struct dimms *dimms)
{
	return dimms->hotplug;
}

/* ---- A DIMM ---------------------------------------------------------------------------------- */

static int request_unplug(struct memory_device *device, struct samara_error *err)
{
	struct dimm *dimm = (struct dimm *)device;
	unsigned int slot = (unsigned int)device->slot;

	dimm->asked = true;
	expect_reports(dimm->dimms, slot);
	/* It can only be that the guest has ejected it just now, which is what was wanted. */
	if (memory_hotplug_request_removal(dimm->dimms->hotplug, slot) &&
	    !is_ejected(dimm->dimms, slot))
		return samara_error_set(err, -ENOENT, "slot %u: it is empty", slot);
	return 0;
}

/*
 * What was asked for and what the guest had begun is completed: it uses nothing now, and who asked
 * expects it to be gone (QEMU's device_del says so).
 */
static void reset_dimm(struct memory_device *device)
{
	struct dimm *dimm = (struct dimm *)device;
	struct dimms *dimms = dimm->dimms;
	unsigned int slot = (unsigned int)device->slot;

	expect_reports(dimms, slot);
	if ((dimm->asked || is_ejected(dimms, slot)) && unplug(dimm))
		dimm->asked = false;
}

static const struct memory_device_ops dimm_ops = {
	.kind = MEMORY_DEVICE_DIMM,
	.request_unplug = request_unplug,
	.reset = reset_dimm,
	.destroy = destroy_dimm,
};

static int get_slot(void *object, union qom_value *value, struct samara_error *err)
{
	(void)err;
	value->integer = ((struct memory_device *)object)->slot;
	return 0;
}

static const struct qom_property dimm_properties[] = {
	MEMORY_DEVICE_PROPERTIES,
	{"slot", QOM_INT, get_slot, NULL},
	{NULL, 0, NULL, NULL},
};

static int choose_slot(const struct dimms *dimms, int wanted, unsigned int *slot,
		       struct samara_error *err)
{
	if (wanted != DIMM_ANY_SLOT) {
		if (wanted < 0 || (unsigned int)wanted >= dimms->slot_count)
			return samara_error_set(err, -EINVAL,
						"invalid slot number %d, valid range is [0-%d]",
						wanted, (int)dimms->slot_count - 1);
		if (dimms->slots[wanted])
			return samara_error_set(err, -EBUSY, "slot %d is busy", wanted);
		*slot = (unsigned int)wanted;
		return 0;
	}
	for (*slot = 0; *slot < dimms->slot_count; ++*slot)
		if (!dimms->slots[*slot])
			return 0;
	return samara_error_set(err, -ENOSPC, "no free slots available: all %u are taken",
				dimms->slot_count);
}

/* Have the guest hear of it, now that its memory is there. */
static int insert(struct dimms *dimms, struct dimm *dimm, struct samara_error *err)
{
	struct memory_device *device = &dimm->device;
	unsigned int slot = (unsigned int)device->slot;
	int ret = memory_hotplug_insert(dimms->hotplug, slot, device->gpa, device->size_bytes,
					device->node, device->hotplugged);

	if (ret)
		return samara_error_set(err, ret, "slot %u: %s", slot, strerror(-ret));
	memory_device_set_plugged(device, device->size_bytes);
	dimms->slots[slot] = dimm;
	pthread_mutex_lock(&dimms->lock);
	memset(&dimms->last[slot], 0, sizeof(dimms->last[slot]));
	if (device->id)
		snprintf(dimms->last[slot].id, sizeof(dimms->last[slot].id), "%s", device->id);
	pthread_mutex_unlock(&dimms->lock);
	expect_reports(dimms, slot);
	return 0;
}

/* Memory comes last of what may fail for want of some: to take it away again may fail as well. */
static int plug(struct dimms *dimms, struct dimm *dimm, const struct memory_device_request *request,
		int wanted_slot, struct samara_error *err)
{
	struct memory_device *device = &dimm->device;
	struct guest_mm *mm = memory_devices_config(dimms->devices)->mm;
	unsigned int slot = 0;
	int ret;

	ret = memory_device_init(dimms->devices, device, request, err);
	if (ret)
		return ret;
	ret = choose_slot(dimms, wanted_slot, &slot, err);
	if (ret)
		goto fini;
	device->slot = (int)slot;
	ret = memory_device_add(device, "pc-dimm", dimm_properties, err);
	if (ret)
		goto fini;
	ret = memory_backend_plug(device->backend, mm, device->gpa, err);
	if (ret)
		goto remove;
	ret = insert(dimms, dimm, err);
	if (!ret)
		return 0;
	memory_backend_unplug(device->backend, mm, device->gpa, NULL);
remove:
	memory_device_remove(device);
fini:
	memory_device_fini(device);
	return ret;
}

int dimms_plug(struct dimms *dimms, const struct memory_device_request *request, int slot,
	       struct samara_error *err)
{
	struct memory_device_request aligned = *request;
	struct dimm *dimm = calloc(1, sizeof(*dimm));
	int ret;

	if (!dimm)
		return samara_error_set(err, -ENOMEM, "pc-dimm: out of memory");
	dimm->device.ops = &dimm_ops;
	dimm->dimms = dimms;
	if (!aligned.align_bytes)
		aligned.align_bytes = LAYOUT_HOTPLUG_ALIGN;
	memory_devices_lock(dimms->devices);
	ret = plug(dimms, dimm, &aligned, slot, err);
	memory_devices_unlock(dimms->devices);
	if (ret)
		free(dimm);
	return ret;
}

int dimms_get_ost(struct dimms *dimms, unsigned int slot, struct dimm_ost *ost)
{
	if (slot >= dimms->slot_count)
		return -ENOENT;
	pthread_mutex_lock(&dimms->lock);
	*ost = dimms->last[slot];
	pthread_mutex_unlock(&dimms->lock);
	return 0;
}

void dimms_get_counters(struct dimms *dimms, struct dimm_counters *counters)
{
	pthread_mutex_lock(&dimms->lock);
	*counters = dimms->counters;
	pthread_mutex_unlock(&dimms->lock);
}
