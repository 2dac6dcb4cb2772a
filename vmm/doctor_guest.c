/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The doctor on what runs in a guest, by running one: hardware or not, instructions, faults. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include <samara/types.h>

#include "vmm/doctor.h"
#include "vmm/doctor_uffd.h"
#include "vmm/probe_guest.h"

/*
 * How many times slower than the host a guest may run plain integer code and still count as run by
 * the CPU itself. Hardware measures 1 to 2, and so does nested paging within an emulated machine
 * (host and guest are emulated alike there). KVM's instruction emulator measures 1,000 and more.
 * 50 is far from both. And an instruction of 50 ns is beyond any CPU, one that QEMU emulates
 * included (5 ns), and a tenth of what the emulator takes: both must be exceeded, so that a busy
 * host alone does not make a CPU an emulator.
 */
#define EMULATED_RATIO 50.0
#define EMULATED_NS    50.0

#define RUN_TIMEOUT_MS 2000
#define PATTERN        UINT64_C(0x5a6d617261207569)

#define EMULATED_FIX                                                                          \
	"a host with hardware virtualization passed through; until then the lab boots stock " \
	"kernels"

static void examine_ratio(struct doctor_report *report, struct probe_guest *guest)
{
	const char *meaning = "whether the CPU runs the guest, or KVM's instruction emulator (more "
			      "than 50 times slower than the host, and than 50 ns)";
	struct samara_error err = {0};
	double guest_ns, host_ns;

	if (probe_measure_ratio(guest, &guest_ns, &host_ns, &err)) {
		doctor_add(report, "virtualization", DOCTOR_MISSING, meaning, NULL, "%s", err.text);
		return;
	}
	if (guest_ns > EMULATED_RATIO * host_ns && guest_ns > EMULATED_NS) {
		report->virtualization = DOCTOR_EMULATED;
		doctor_add(report, "virtualization", DOCTOR_LIMITED, meaning, EMULATED_FIX,
			   "emulated: %.0f ns per instruction in a guest, %.2f on the host (%.0f "
			   "times)",
			   guest_ns, host_ns, guest_ns / host_ns);
		return;
	}
	report->virtualization = DOCTOR_HARDWARE;
	doctor_add(report, "virtualization", DOCTOR_OK, meaning, NULL,
		   "hardware: %.2f ns per instruction in a guest, %.2f on the host (%.1f times)",
		   guest_ns, host_ns, guest_ns / host_ns);
}

/* Each in a guest of its own: one that failed may leave a vCPU that can't go on. */
static void examine_instruction(struct doctor_report *report,
				const struct probe_instruction *instruction)
{
	struct probe_exit exit = {.end = PROBE_OTHER};
	struct samara_error err = {0};
	struct probe_guest *guest;
	char name[64], meaning[128], text[96];
	int ret;

	snprintf(name, sizeof(name), "instruction-%s", instruction->name);
	snprintf(meaning, sizeof(meaning), "stock kernels execute it (%s)", instruction->used_for);
	ret = probe_guest_create(NULL, &guest, &err);
	if (ret) {
		report->instructions_run = false;
		doctor_add(report, name, DOCTOR_MISSING, meaning, NULL, "%s", err.text);
		return;
	}
	ret = probe_guest_start(guest, instruction->code, 0, 0, &err);
	if (!ret) {
		probe_guest_wait(guest, RUN_TIMEOUT_MS, &exit);
		probe_describe(&exit, text, sizeof(text));
	}
	if (!ret && exit.end == PROBE_DONE) {
		doctor_add(report, name, DOCTOR_OK, meaning, NULL, "runs in a guest");
	} else if (!probe_has_instruction(guest, instruction)) {
		/* Then a kernel that looks before it leaps does without. */
		doctor_add(report, name, DOCTOR_LIMITED, meaning, NULL,
			   "KVM does not offer it here");
	} else {
		report->instructions_run = false;
		doctor_add(report, name, DOCTOR_MISSING, meaning, NULL, "%s",
			   ret ? err.text : text);
	}
	probe_guest_destroy(guest);
}

/* ---- Faults: a guest reads where no page is -------------------------------------------------- */

/* Memory under a userfaultfd with nothing in it. */
struct missing {
	int uffd;
	uint8_t *memory;
};

static int make_missing(struct missing *missing, uint64_t features, struct samara_error *err)
{
	struct uffdio_register registration = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	missing->uffd = doctor_uffd_open(features);
	if (missing->uffd < 0)
		return samara_error_set(err, missing->uffd, "userfaultfd: %s",
					strerror(-missing->uffd));
	missing->memory = mmap(NULL, PROBE_MISSING_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (missing->memory == MAP_FAILED) {
		samara_error_set(err, -errno, "mmap: %s", strerror(errno));
		goto close;
	}
	registration.range.start = (uintptr_t)missing->memory;
	registration.range.len = PROBE_MISSING_BYTES;
	if (ioctl(missing->uffd, UFFDIO_REGISTER, &registration)) {
		samara_error_set(err, -errno, "UFFDIO_REGISTER: %s", strerror(errno));
		goto unmap;
	}
	return 0;
unmap:
	munmap(missing->memory, PROBE_MISSING_BYTES);
close:
	close(missing->uffd);
	return -EIO;
}

/* Closing the userfaultfd lets an access that still waits go on. */
static void free_missing(struct missing *missing)
{
	close(missing->uffd);
	munmap(missing->memory, PROBE_MISSING_BYTES);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Wait for the guest's fault and put a page with PATTERN there. */
static int serve_fault(struct missing *missing, struct samara_error *err)
{
	static _Alignas(SAMARA_PAGE_BYTES) uint64_t page[SAMARA_PAGE_BYTES / sizeof(uint64_t)];
	struct pollfd fd = {.fd = missing->uffd, .events = POLLIN};
	struct uffdio_copy copy = {
		.dst = (uintptr_t)missing->memory,
		.src = (uintptr_t)page,
		.len = SAMARA_PAGE_BYTES,
	};
	struct uffd_msg message;

	page[0] = PATTERN;
	if (poll(&fd, 1, RUN_TIMEOUT_MS) != 1)
		return samara_error_set(err, -ETIMEDOUT, "the guest's access raised no message");
	if (read(missing->uffd, &message, sizeof(message)) != sizeof(message) ||
	    message.event != UFFD_EVENT_PAGEFAULT ||
	    (message.arg.pagefault.address & ~(SAMARA_PAGE_BYTES - 1)) !=
		    (uintptr_t)missing->memory)
		return samara_error_set(err, -EIO, "the message does not name the guest's access");
	if (ioctl(missing->uffd, UFFDIO_COPY, &copy))
		return samara_error_set(err, -errno, "UFFDIO_COPY: %s", strerror(errno));
	return 0;
}

static int probe_blocking(struct missing *missing, uint64_t *elapsed_ns, struct samara_error *err)
{
	struct probe_guest *guest;
	struct probe_exit exit;
	char text[96];
	uint64_t start_ns;
	int ret;

	ret = probe_guest_create(missing->memory, &guest, err);
	if (ret)
		return ret;
	start_ns = now_ns();
	ret = probe_guest_start(guest, probe_read_memory, PROBE_MISSING_GPA, 0, err);
	if (!ret) {
		ret = serve_fault(missing, err);
		probe_guest_wait(guest, ret ? 0 : RUN_TIMEOUT_MS, &exit);
		*elapsed_ns = now_ns() - start_ns;
		probe_describe(&exit, text, sizeof(text));
		if (!ret && exit.end != PROBE_DONE)
			ret = samara_error_set(err, -EIO, "%s", text);
		else if (!ret && exit.rax != PATTERN)
			ret = samara_error_set(err, -EIO, "the guest read something else");
	}
	probe_guest_destroy(guest);
	return ret;
}

static void examine_blocking(struct doctor_report *report)
{
	const char *meaning = "a handler thread brings the page, the guest waits for it: the way "
			      "samara populates memory";
	struct samara_error err = {0};
	struct missing missing;
	uint64_t elapsed_ns = 0;

	if (!make_missing(&missing, 0, &err)) {
		if (!probe_blocking(&missing, &elapsed_ns, &err))
			report->faults_served = true;
		free_missing(&missing);
	}
	if (report->faults_served)
		doctor_add(report, "fault-userfaultfd", DOCTOR_OK, meaning, NULL,
			   "a guest's access to a missing page was served, %.0f us in all",
			   (double)elapsed_ns / 1000);
	else
		doctor_add(report, "fault-userfaultfd", DOCTOR_MISSING, meaning,
			   "see uffd-permission", "%s", err.text);
}

static int probe_sigbus(struct missing *missing, struct probe_exit *exit, struct samara_error *err)
{
	struct probe_guest *guest;
	int ret;

	ret = probe_guest_create(missing->memory, &guest, err);
	if (ret)
		return ret;
	ret = probe_guest_start(guest, probe_read_memory, PROBE_MISSING_GPA, 0, err);
	if (!ret)
		probe_guest_wait(guest, RUN_TIMEOUT_MS, exit);
	probe_guest_destroy(guest);
	return ret;
}

static void examine_sigbus(struct doctor_report *report)
{
	const char *meaning = "how an access to a missing page leaves the guest under "
			      "UFFD_FEATURE_SIGBUS; not needed where fault-userfaultfd works";
	struct probe_exit exit = {.end = PROBE_OTHER};
	enum doctor_status status = DOCTOR_LIMITED;
	struct samara_error err = {0};
	struct missing missing;
	char text[96];
	int ret;

	ret = make_missing(&missing, UFFD_FEATURE_SIGBUS, &err);
	if (!ret) {
		ret = probe_sigbus(&missing, &exit, &err);
		free_missing(&missing);
	}
	if (ret) {
		doctor_add(report, "fault-exit", DOCTOR_MISSING, meaning, NULL, "%s", err.text);
		return;
	}
	probe_describe(&exit, text, sizeof(text));
	if (exit.end == PROBE_MEMORY_FAULT && exit.detail == (int64_t)PROBE_MISSING_GPA)
		status = DOCTOR_OK;
	doctor_add(report, "fault-exit", status, meaning, NULL, "%s", text);
}

void doctor_examine_guest(struct doctor_report *report)
{
	struct samara_error err = {0};
	struct probe_guest *guest;
	unsigned int i;

	if (probe_guest_create(NULL, &guest, &err)) {
		doctor_add(report, "virtualization", DOCTOR_MISSING,
			   "whether the CPU runs the guest, or KVM's instruction emulator",
			   "see kvm-device", "no guest can be run: %s", err.text);
		return;
	}
	examine_ratio(report, guest);
	probe_guest_destroy(guest);
	report->instructions_run = true;
	for (i = 0; i < PROBE_INSTRUCTIONS; i++)
		examine_instruction(report, &probe_instructions[i]);
	examine_blocking(report);
	examine_sigbus(report);
}
