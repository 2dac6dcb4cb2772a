/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/stress_devices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "vmm/stress_clock.h"
#include "vmm/stress_coverage.h"
#include "vmm/stress_state.h"

#define ANSWER_NS   (STRESS_ANSWER_S * STRESS_NS_PER_S)
#define POLL_NS     UINT64_C(1000000)

/* _OST of a device check (ACPI 6.4, 6.3.5): it is there; all other sources are of an ejection. */
#define OST_INSERT  0x1u
#define OST_SUCCESS 0x0u

void stress_devices_init(struct stress_devices *devices, struct stress *s,
			 const struct stress_devices_config *config)
{
	devices->stress = s;
	devices->config = *config;
	pthread_mutex_init(&devices->lock, NULL);
}

/* ---- A request, from when it is made to its answer ------------------------------------------- */

/* Have it alone, if it is free. */
static bool take(struct stress_devices *devices, struct stress_request *request)
{
	bool taken;

	pthread_mutex_lock(&devices->lock);
	taken = !request->taken && !request->broken;
	request->taken |= taken;
	pthread_mutex_unlock(&devices->lock);
	return taken;
}

static uint64_t rounds(const struct stress_devices *devices)
{
	return devices->config.rounds ? devices->config.rounds(devices->config.arg) : 0;
}

/* From here on the answer may come, even before what is asked has been said to its end. */
static void begin(struct stress_devices *devices, struct stress_request *request)
{
	pthread_mutex_lock(&devices->lock);
	request->began_ns = request->seen_ns = stress_now_ns();
	request->rounds = request->rounds_seen = rounds(devices);
	request->number = stress_log_begin(&devices->stress->log, request->op, request->gpa,
					   request->size_bytes, request->wanted, request->began_ns);
	request->asked = true;
	pthread_mutex_unlock(&devices->lock);
}

/* It is over; @op says what it counts as. Lock held. */
static void end(struct stress_devices *devices, struct stress_request *request, enum stress_op op,
		int ret)
{
	uint64_t now = stress_now_ns();

	request->asked = request->taken = false;
	stress_log_end(&devices->stress->log, request->number, now, ret);
	devices->operations[op]++;
	stress_hist_add(&devices->operation_ns[op], now - request->began_ns);
	__atomic_fetch_add(&devices->stress->operations, 1, __ATOMIC_RELAXED);
}

/* What the host was asked failed before the guest heard of it. */
static void end_failed(struct stress_devices *devices, struct stress_request *request,
		       const struct samara_error *err)
{
	bool on_purpose = inject_fails() && inject_is_code(err->code);

	pthread_mutex_lock(&devices->lock);
	end(devices, request, on_purpose ? STRESS_OP_INJECTED : request->op, err->code);
	request->broken = !on_purpose;
	pthread_mutex_unlock(&devices->lock);
	if (!on_purpose)
		stress_operation_error(devices->stress, err, stress_op_names[request->op]);
}

/* Once a request is over, so much of its range has to be plugged. Nobody else ends it just then. */
static void expect_plugged(struct stress_devices *devices, struct stress_request *request,
			   uint64_t bytes)
{
	uint64_t found;
	char text[160];

	if (stress_coverage(devices->stress->mm, request->gpa, request->size_bytes, bytes, &found))
		return;
	snprintf(text, sizeof(text),
		 "%s at %#" PRIx64 ": it is over, and %#" PRIx64
		 " bytes are plugged, not %#" PRIx64,
		 stress_op_names[request->op], request->gpa, found, bytes);
	request->broken = true;
	stress_operation_error(devices->stress, NULL, text);
}

/* ---- Answers ---------------------------------------------------------------------------------- */

static void mem_changed(struct stress_devices *devices, uint64_t plugged_bytes)
{
	struct stress_request *request = &devices->mem;

	if (!request->asked || plugged_bytes != request->wanted)
		return;
	expect_plugged(devices, request, plugged_bytes);
	end(devices, request, STRESS_OP_VIRTIO_MEM, 0);
}

static void balloon_changed(struct stress_devices *devices)
{
	struct stress_request *request = &devices->balloon;
	struct virtio_balloon_state state;

	if (!request->asked)
		return;
	virtio_balloon_get(devices->config.balloon, &state);
	if (state.actual_bytes != request->wanted)
		return;
	expect_plugged(devices, request, request->size_bytes);
	end(devices, request, STRESS_OP_BALLOON, 0);
}

/* @refused: the guest keeps it, and may say so; it is asked again some day. */
static void dimm_answered(struct stress_devices *devices, unsigned int slot, bool there,
			  bool refused)
{
	struct stress_request *request = &devices->dimm[slot];

	if (slot >= devices->config.dimm_slots)
		return;
	/* It has come to it after all. */
	if (devices->config.may_decline && !request->asked)
		request->there = there;
	if (!request->asked || (refused ? request->wanted != 0 : there != (request->wanted != 0)))
		return;
	expect_plugged(devices, request, there ? request->size_bytes : 0);
	request->there = there;
	if (!there && devices->config.dimm_gone)
		devices->config.dimm_gone(devices->config.arg, request->gpa, request->size_bytes);
	end(devices, request, STRESS_OP_DIMM, refused ? -EBUSY : 0);
}

void stress_devices_notice(const struct vm_notice *notice, void *arg)
{
	struct stress_devices *devices = arg;

	pthread_mutex_lock(&devices->lock);
	switch (notice->event) {
	case VM_EVENT_MEMORY_SIZE_CHANGED:
		mem_changed(devices, notice->size_bytes);
		break;
	case VM_EVENT_BALLOON_CHANGED:
		balloon_changed(devices);
		break;
	case VM_EVENT_ACPI_OST:
		if (notice->source == OST_INSERT && notice->status == OST_SUCCESS)
			dimm_answered(devices, notice->slot, true, false);
		break;
	case VM_EVENT_DEVICE_DELETED:
		dimm_answered(devices, notice->slot, false, false);
		break;
	case VM_EVENT_UNPLUG_REFUSED:
		dimm_answered(devices, notice->slot, true, true);
		break;
	default:
		break;
	}
	pthread_mutex_unlock(&devices->lock);
}

/* ---- What is asked ---------------------------------------------------------------------------- */

/* A multiple of @unit up to @most, and another one than now: else there would be no answer. */
static uint64_t another(struct stress_worker *w, uint64_t now, uint64_t most, uint64_t unit)
{
	uint64_t count = most / unit, wanted = stress_below(&w->rng, count);

	return (wanted < now / unit ? wanted : wanted + 1) * unit;
}

static void resize_mem(struct stress_worker *w, struct stress_devices *devices)
{
	const struct stress_devices_config *config = &devices->config;
	struct stress_request *request = &devices->mem;
	struct virtio_mem_state state;
	struct samara_error err = {0};
	json_t *bytes;

	virtio_mem_get(config->mem, &state);
	request->op = STRESS_OP_VIRTIO_MEM;
	request->gpa = config->mem_gpa;
	request->size_bytes = config->mem_bytes;
	request->wanted = another(w, state.plugged_bytes, config->mem_bytes, config->block_bytes);
	bytes = json_integer((json_int_t)request->wanted);
	begin(devices, request);
	if (!bytes)
		samara_error_set(&err, -ENOMEM, "out of memory");
	else
		qom_set(config->qom, config->mem_path, "requested-size", bytes, &err);
	if (err.code)
		end_failed(devices, request, &err);
	json_decref(bytes);
}

static void resize_balloon(struct stress_worker *w, struct stress_devices *devices)
{
	const struct stress_devices_config *config = &devices->config;
	struct stress_request *request = &devices->balloon;
	struct virtio_balloon_state state;
	struct samara_error err = {0};

	virtio_balloon_get(config->balloon, &state);
	request->op = STRESS_OP_BALLOON;
	request->gpa = config->balloon_gpa;
	request->size_bytes = config->balloon_pages * SAMARA_PAGE_BYTES;
	request->wanted = another(w, state.actual_bytes, request->size_bytes, SAMARA_PAGE_BYTES);
	begin(devices, request);
	if (virtio_balloon_set_target(config->balloon, request->wanted, &err))
		end_failed(devices, request, &err);
}

/* A backend of the DIMM's size; that of the last one in the slot is of no more use. */
static int plug_dimm(const struct stress_devices *devices, unsigned int slot,
		     const struct stress_request *request, struct samara_error *err)
{
	struct memory_devices *memory = devices->config.memory;
	char id[32], memdev[32];
	const struct memory_backend_config backend = {
		.kind = MEMORY_BACKEND_RAM,
		.id = memdev,
		.size_bytes = request->size_bytes,
	};
	const struct memory_device_request device = {
		.id = id,
		.memdev = memdev,
		.gpa = request->gpa,
		.align_bytes = devices->config.dimm_unit_bytes,
		.hotplugged = true,
	};
	int ret;

	snprintf(id, sizeof(id), "dimm%u", slot);
	snprintf(memdev, sizeof(memdev), "memory-of-dimm%u", slot);
	memory_devices_remove_backend(memory, memdev, NULL);
	ret = memory_devices_add_backend(memory, &backend, err);
	return ret ? ret : dimms_plug(devices->config.dimms, &device, (int)slot, err);
}

static void change_dimm(struct stress_worker *w, struct stress_devices *devices, unsigned int slot)
{
	const struct stress_devices_config *config = &devices->config;
	struct stress_request *request = &devices->dimm[slot];
	unsigned int units = 1 + (unsigned int)stress_below(&w->rng, config->dimm_units);
	unsigned int first = (unsigned int)stress_below(&w->rng, config->dimm_units - units + 1);
	struct samara_error err = {0};
	char id[32];

	request->op = STRESS_OP_DIMM;
	if (request->there) {
		snprintf(id, sizeof(id), "dimm%u", slot);
		request->wanted = 0;
		begin(devices, request);
		memory_devices_unplug(config->memory, id, &err);
	} else {
		request->gpa = config->dimm_gpa +
			       (slot * config->dimm_units + first) * config->dimm_unit_bytes;
		request->size_bytes = request->wanted = units * config->dimm_unit_bytes;
		begin(devices, request);
		plug_dimm(devices, slot, request, &err);
	}
	if (!err.code)
		return;
	if (!request->there)
		expect_plugged(devices, request, 0);
	end_failed(devices, request, &err);
}

void stress_devices_step(struct stress_worker *w, enum stress_mix what)
{
	struct stress_devices *devices = &w->stress->devices;
	unsigned int slot;

	switch (what) {
	case STRESS_MIX_VIRTIO_MEM:
		if (devices->config.mem && take(devices, &devices->mem))
			resize_mem(w, devices);
		break;
	case STRESS_MIX_BALLOON:
		if (devices->config.balloon && take(devices, &devices->balloon))
			resize_balloon(w, devices);
		break;
	default:
		slot = (unsigned int)stress_below(&w->rng, devices->config.dimm_slots);
		if (devices->config.dimms && take(devices, &devices->dimm[slot]))
			change_dimm(w, devices, slot);
	}
}

/* ---- Patience, and its end -------------------------------------------------------------------- */

/* Lock held. */
static bool is_overdue(const struct stress_devices *devices, struct stress_request *request)
{
	uint64_t now = stress_now_ns(), seen = rounds(devices);

	if (seen != request->rounds_seen) {
		request->rounds_seen = seen;
		request->seen_ns = now;
	}
	return now - request->began_ns > ANSWER_NS &&
	       (now - request->seen_ns > ANSWER_NS ||
		seen - request->rounds > STRESS_ANSWER_ROUNDS);
}

/* Of an overdue DIMM it is not known what the guest makes of it: it is asked to let it go. */
static void decline(struct stress_devices *devices, struct stress_request *request)
{
	request->asked = request->taken = false;
	request->there = request->op == STRESS_OP_DIMM;
	stress_log_end(&devices->stress->log, request->number, stress_now_ns(), -ETIMEDOUT);
	devices->declined++;
}

/* Return: whether an answer is to come. */
static bool look(struct stress_devices *devices, struct stress_request *request)
{
	char text[160];
	bool asked;

	pthread_mutex_lock(&devices->lock);
	asked = request->asked;
	if (asked && devices->config.may_decline && is_overdue(devices, request)) {
		decline(devices, request);
		asked = false;
	}
	if (asked && is_overdue(devices, request)) {
		snprintf(text, sizeof(text),
			 "%s at %#" PRIx64 ": the guest was asked for %#" PRIx64
			 " bytes, and has not done it after %" PRIu64 " s",
			 stress_op_names[request->op], request->gpa, request->wanted,
			 (stress_now_ns() - request->began_ns) / STRESS_NS_PER_S);
		request->broken = true;
		end(devices, request, request->op, -ETIMEDOUT);
		stress_operation_error(devices->stress, NULL, text);
		asked = false;
	}
	pthread_mutex_unlock(&devices->lock);
	return asked;
}

static bool look_at_all(struct stress_devices *devices)
{
	bool waiting = look(devices, &devices->mem);

	waiting |= look(devices, &devices->balloon);
	for (unsigned int i = 0; i < devices->config.dimm_slots; i++)
		waiting |= look(devices, &devices->dimm[i]);
	return waiting;
}

void stress_devices_look(struct stress_devices *devices)
{
	if (devices->stress)
		look_at_all(devices);
}

static void expect_zero(struct stress_devices *devices, const char *what, uint64_t count)
{
	char text[160];

	if (!count)
		return;
	snprintf(text, sizeof(text), "%s: %" PRIu64, what, count);
	stress_operation_error(devices->stress, NULL, text);
}

static void expect_no_reset(struct stress_devices *devices, const struct virtio_device *device,
			    const char *what)
{
	struct virtio_device_counters counters;

	virtio_device_get_counters(device, &counters);
	expect_zero(devices, what, counters.needed_resets);
}

static void check_counters(struct stress_devices *devices)
{
	const struct stress_devices_config *config = &devices->config;

	if (config->mem) {
		struct virtio_mem_state mem;

		virtio_mem_get(config->mem, &mem);
		expect_zero(devices, "requests that virtio-mem refused", mem.refused);
		/* It says so to the guest, which tries again. */
		if (!inject_fails())
			expect_zero(devices, "requests that virtio-mem could not carry out",
				    mem.busy);
		expect_no_reset(devices, virtio_mem_device(config->mem),
				"resets that virtio-mem needed");
	}
	if (config->balloon) {
		struct virtio_balloon_state balloon;

		virtio_balloon_get(config->balloon, &balloon);
		expect_zero(devices, "page numbers in the balloon that are no memory",
			    balloon.wild_pages);
		/* The guest does not hear of these. */
		if (!inject_fails())
			expect_zero(devices, "pages in the balloon that could not be discarded",
				    balloon.kept_pages);
		expect_no_reset(devices, virtio_balloon_device(config->balloon),
				"resets that the balloon needed");
	}
}

void stress_devices_finish(struct stress_devices *devices, bool (*guest_failed)(struct stress *s))
{
	if (!devices->stress)
		return;
	while (!guest_failed(devices->stress) && look_at_all(devices))
		stress_sleep_ns(POLL_NS);
	if (!guest_failed(devices->stress))
		check_counters(devices);
}
