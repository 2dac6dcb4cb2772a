/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Getting a vCPU out of the guest. A request is stored first, then the thread is signalled. The
 * handler sets immediate_exit, which makes a KVM_RUN that has not started return at once; one that
 * has started is interrupted by the signal itself. The thread clears immediate_exit before it reads
 * the request, so a signal that comes between the two is either seen as a request or still set when
 * KVM_RUN starts. That is why no kick is lost.
 *
 * An I/O or MMIO exit is finished by KVM at the start of the next KVM_RUN, which may yield the next
 * part of the same instruction as another exit. So a thread that is asked to sleep while an exit is
 * unfinished enters KVM_RUN with immediate_exit until that gives EINTR.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/cpuid.h"

#define KICK_SIGNAL SIGRTMIN

/* What a thread is asked to do; none: run the guest. */
#define ASKED_PAUSE 1u
#define ASKED_STOP  2u

/**
 * struct vcpu - a virtual CPU
 *
 * Locks: I: immutable after vcpu_create(). T: the vCPU's thread alone once it runs, its creator
 * before and after. A: atomic. L: under @lock.
 */
struct vcpu {
	unsigned int id;       /* I */
	int fd;                /* I */
	struct kvm_run *run;   /* I, contents T; immediate_exit also in the signal handler */
	size_t run_bytes;      /* I */
	vcpu_exit_fn *on_exit; /* I */
	void *arg;             /* I */
	int run_error;         /* T: of the last KVM_RUN */
	atomic_uint asked;     /* A; written under @lock */
	atomic_int tid;        /* A */
	pthread_mutex_t lock;
	pthread_cond_t change; /* with @lock: any of the following, and @asked */
	pthread_t thread;      /* L; valid while started and not joined */
	bool started;          /* L */
	bool paused;           /* L: the thread sleeps */
	bool ended;            /* L: the thread has left its loop */
	bool joined;           /* L */
};

static _Thread_local struct kvm_run *volatile running;

static void kicked(int signal)
{
	struct kvm_run *run = running;

	(void)signal;
	if (run)
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

static pthread_once_t kick_once = PTHREAD_ONCE_INIT;
static int kick_error;

static void install_kick(void)
{
	/* SA_RESTART: KVM_RUN is never restarted, and what devices do should not be disturbed. */
	struct sigaction action = {.sa_handler = kicked, .sa_flags = SA_RESTART};

	sigemptyset(&action.sa_mask);
	if (sigaction(KICK_SIGNAL, &action, NULL))
		kick_error = -errno;
}

static int vcpu_error(const struct vcpu *vcpu, const char *what, struct samara_error *err)
{
	int code = -errno;

	return samara_error_set(err, code, "vCPU %u: %s: %s", vcpu->id, what, strerror(-code));
}

static int set_cpuid(struct kvm *kvm, struct vcpu *vcpu, unsigned int count,
		     struct samara_error *err)
{
	struct cpuid_topology topology = {
		.id = vcpu->id,
		.count = count,
		.tsc_deadline = kvm->irqchip && ioctl(kvm->system_fd, KVM_CHECK_EXTENSION,
						      KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	};
	struct kvm_cpuid2 *cpuid;
	int ret = cpuid_get_supported(kvm->system_fd, &cpuid, err);

	if (ret)
		return ret;
	cpuid_set_topology(cpuid, &topology);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		ret = vcpu_error(vcpu, "KVM_SET_CPUID2", err);
	free(cpuid);
	return ret;
}

/*
 * What firmware leaves behind and Linux looks for: fast string operations on (Intel SDM volume 4,
 * IA32_MISC_ENABLE), MTRRs on with write-back as the default (volume 3, 12.11.2.1). A host that
 * does not know one of them does not need it.
 */
static void set_firmware_msrs(struct vcpu *vcpu)
{
	static const struct kvm_msr_entry values[] = {
		{.index = 0x1a0, .data = 1},
		{.index = 0x2ff, .data = 1u << 11 | 6},
	};
	union {
		struct kvm_msrs list;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msrs;

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		memset(&msrs, 0, sizeof(msrs));
		msrs.list.nmsrs = 1;
		msrs.list.entries[0] = values[i];
		ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
	}
}

static void init_change(struct vcpu *vcpu)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vcpu->change, &attr);
	pthread_condattr_destroy(&attr);
}

int vcpu_create(struct kvm *kvm, unsigned int id, unsigned int count, vcpu_exit_fn *on_exit,
		void *arg, struct vcpu **out, struct samara_error *err)
{
	struct vcpu *vcpu;
	int ret;

	pthread_once(&kick_once, install_kick);
	if (kick_error)
		return samara_error_set(err, kick_error, "no signal to stop vCPUs with: %s",
					strerror(-kick_error));

	vcpu = calloc(1, sizeof(*vcpu));
	if (!vcpu)
		return samara_error_set(err, -ENOMEM, "vCPU %u: out of memory", id);
	vcpu->id = id;
	vcpu->on_exit = on_exit;
	vcpu->arg = arg;
	vcpu->run_bytes = kvm->run_bytes;
	pthread_mutex_init(&vcpu->lock, NULL);
	init_change(vcpu);

	vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0) {
		ret = vcpu_error(vcpu, "KVM_CREATE_VCPU", err);
		goto out_free;
	}
	vcpu->run = mmap(NULL, vcpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		ret = vcpu_error(vcpu, "mmap of struct kvm_run", err);
		goto out_close;
	}
	ret = set_cpuid(kvm, vcpu, count, err);
	if (ret)
		goto out_unmap;
	set_firmware_msrs(vcpu);
	*out = vcpu;
	return 0;

out_unmap:
	munmap(vcpu->run, vcpu->run_bytes);
out_close:
	close(vcpu->fd);
out_free:
	pthread_cond_destroy(&vcpu->change);
	pthread_mutex_destroy(&vcpu->lock);
	free(vcpu);
	return ret;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (!vcpu)
		return;
	vcpu_request_stop(vcpu);
	vcpu_join(vcpu);
	munmap(vcpu->run, vcpu->run_bytes);
	close(vcpu->fd);
	pthread_cond_destroy(&vcpu->change);
	pthread_mutex_destroy(&vcpu->lock);
	free(vcpu);
}

unsigned int vcpu_id(const struct vcpu *vcpu)
{
	return vcpu->id;
}

int vcpu_tid(const struct vcpu *vcpu)
{
	return atomic_load(&vcpu->tid);
}

int vcpu_run_error(const struct vcpu *vcpu)
{
	return vcpu->run_error;
}

int vcpu_get_regs(const struct vcpu *vcpu, struct kvm_regs *regs)
{
	return ioctl(vcpu->fd, KVM_GET_REGS, regs) < 0 ? -errno : 0;
}

int vcpu_get_rip(const struct vcpu *vcpu, uint64_t *rip)
{
	struct kvm_regs regs;
	int ret = vcpu_get_regs(vcpu, &regs);

	if (!ret)
		*rip = regs.rip;
	return ret;
}

/* ---- Start states -------------------------------------------------------------------------- */

#define CR0_PE           (1u << 0)
#define CR0_MP           (1u << 1)
#define CR0_ET           (1u << 4)
#define CR0_NE           (1u << 5)
#define CR0_WP           (1u << 16)
#define CR0_PG           (1u << 31)
#define CR4_PAE          (1u << 5)
#define EFER_LME         (1u << 8)
#define EFER_LMA         (1u << 10)

/* Segment types, Intel SDM volume 3, 3.4.5.1 and 3.5. */
#define SEGMENT_DATA     0x3 /* read, write, accessed */
#define SEGMENT_CODE     0xb /* execute, read, accessed */
#define SEGMENT_BUSY_TSS 0xb

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool is_64_bit)
{
	return (struct kvm_segment){
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = is_64_bit,
		.db = !is_64_bit,
	};
}

static void set_data_segments(struct kvm_sregs *sregs, uint16_t selector)
{
	sregs->ds = flat_segment(selector, SEGMENT_DATA, false);
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
	sregs->tr = (struct kvm_segment){.limit = 0x67, .type = SEGMENT_BUSY_TSS, .present = 1};
	sregs->ldt = (struct kvm_segment){.type = 2, .unusable = 1};
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
}

static int set_state(struct vcpu *vcpu, const struct kvm_sregs *sregs, const struct kvm_regs *regs,
		     struct samara_error *err)
{
	/* The state is set from outside: no INIT and SIPI are to be waited for. */
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};

	if (ioctl(vcpu->fd, KVM_SET_SREGS, sregs) < 0)
		return vcpu_error(vcpu, "KVM_SET_SREGS", err);
	if (ioctl(vcpu->fd, KVM_SET_REGS, regs) < 0)
		return vcpu_error(vcpu, "KVM_SET_REGS", err);
	if (ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable) < 0)
		return vcpu_error(vcpu, "KVM_SET_MP_STATE", err);
	return 0;
}

int vcpu_set_long_mode(struct vcpu *vcpu, uint64_t rip, uint64_t rsp, uint64_t cr3, uint64_t gdt,
		       uint64_t rdi, uint64_t rsi, struct samara_error *err)
{
	struct kvm_regs regs = {.rip = rip, .rsp = rsp, .rdi = rdi, .rsi = rsi, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return vcpu_error(vcpu, "KVM_GET_SREGS", err);
	set_data_segments(&sregs, 0x18);
	sregs.cs = flat_segment(0x10, SEGMENT_CODE, true);
	sregs.gdt.base = gdt;
	sregs.gdt.limit = 4 * 8 - 1;
	sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	sregs.cr3 = cr3;
	sregs.cr4 = CR4_PAE;
	sregs.efer = EFER_LME | EFER_LMA;
	return set_state(vcpu, &sregs, &regs, err);
}

int vcpu_set_pvh(struct vcpu *vcpu, uint32_t eip, uint32_t start_info, struct samara_error *err)
{
	struct kvm_regs regs = {.rip = eip, .rbx = start_info, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return vcpu_error(vcpu, "KVM_GET_SREGS", err);
	set_data_segments(&sregs, 0x18);
	sregs.cs = flat_segment(0x10, SEGMENT_CODE, false);
	sregs.gdt.base = 0;
	sregs.gdt.limit = 0;
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr3 = 0;
	sregs.cr4 = 0;
	sregs.efer = 0;
	return set_state(vcpu, &sregs, &regs, err);
}

/* ---- The thread ---------------------------------------------------------------------------- */

/* Sleep while a pause is asked for. Return: whether to go on. */
static bool obey(struct vcpu *vcpu)
{
	bool go_on;

	pthread_mutex_lock(&vcpu->lock);
	while (atomic_load(&vcpu->asked) == ASKED_PAUSE) {
		if (!vcpu->paused) {
			vcpu->paused = true;
			pthread_cond_broadcast(&vcpu->change);
		}
		pthread_cond_wait(&vcpu->change, &vcpu->lock);
	}
	vcpu->paused = false;
	go_on = !atomic_load(&vcpu->asked);
	pthread_mutex_unlock(&vcpu->lock);
	return go_on;
}

static int enter_guest(struct vcpu *vcpu)
{
	/* Not every kernel sets it when KVM_RUN fails. */
	vcpu->run->exit_reason = KVM_EXIT_UNKNOWN;
	vcpu->run_error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	return vcpu->run_error;
}

static void run_guest(struct vcpu *vcpu)
{
	bool unfinished = false;
	int ret;

	for (;;) {
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
		atomic_signal_fence(memory_order_seq_cst);
		if (atomic_load(&vcpu->asked)) {
			if (!unfinished) {
				if (obey(vcpu))
					continue;
				return;
			}
			__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELAXED);
		}

		ret = enter_guest(vcpu);
		if (ret == -EINTR || ret == -EAGAIN) {
			unfinished = false;
			continue;
		}
		unfinished = !ret;
		if (vcpu->on_exit(vcpu, vcpu->run, vcpu->arg) == VCPU_STOP)
			return;
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	sigset_t kick;
	char name[16];

	snprintf(name, sizeof(name), "vCPU %u", vcpu->id);
	pthread_setname_np(pthread_self(), name);

	pthread_mutex_lock(&vcpu->lock);
	atomic_store(&vcpu->tid, gettid());
	pthread_cond_broadcast(&vcpu->change);
	pthread_mutex_unlock(&vcpu->lock);

	running = vcpu->run;
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);

	run_guest(vcpu);

	/* A kick that comes later finds nothing to write to. */
	running = NULL;
	pthread_mutex_lock(&vcpu->lock);
	vcpu->ended = true;
	pthread_cond_broadcast(&vcpu->change);
	pthread_mutex_unlock(&vcpu->lock);
	return NULL;
}

int vcpu_start(struct vcpu *vcpu, bool paused, struct samara_error *err)
{
	sigset_t all, before;
	int code;

	pthread_mutex_lock(&vcpu->lock);
	if (paused)
		atomic_fetch_or(&vcpu->asked, ASKED_PAUSE);

	/* The process's signals are for the other threads, and a kick waits until it is due. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	vcpu->started = !code;
	while (vcpu->started && !atomic_load(&vcpu->tid))
		pthread_cond_wait(&vcpu->change, &vcpu->lock);
	pthread_mutex_unlock(&vcpu->lock);

	if (code)
		return samara_error_set(err, -code, "vCPU %u: no thread: %s", vcpu->id,
					strerror(code));
	return 0;
}

static void ask(struct vcpu *vcpu, unsigned int what)
{
	pthread_mutex_lock(&vcpu->lock);
	atomic_fetch_or(&vcpu->asked, what);
	pthread_cond_broadcast(&vcpu->change);
	if (vcpu->started && !vcpu->ended && !vcpu->paused)
		pthread_kill(vcpu->thread, KICK_SIGNAL);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_request_pause(struct vcpu *vcpu)
{
	ask(vcpu, ASKED_PAUSE);
}

static struct timespec deadline(unsigned int timeout_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	return until;
}

static bool about_to_pause(const struct vcpu *vcpu)
{
	return vcpu->started && !vcpu->ended && !vcpu->paused &&
	       atomic_load(&vcpu->asked) & ASKED_PAUSE;
}

int vcpu_wait_paused_for(struct vcpu *vcpu, unsigned int timeout_ms)
{
	struct timespec until = deadline(timeout_ms);
	int code = 0;

	pthread_mutex_lock(&vcpu->lock);
	while (!code && about_to_pause(vcpu))
		code = pthread_cond_timedwait(&vcpu->change, &vcpu->lock, &until);
	pthread_mutex_unlock(&vcpu->lock);
	return -code;
}

void vcpu_wait_paused(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	while (about_to_pause(vcpu))
		pthread_cond_wait(&vcpu->change, &vcpu->lock);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_resume(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	atomic_fetch_and(&vcpu->asked, ~ASKED_PAUSE);
	pthread_cond_broadcast(&vcpu->change);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_request_stop(struct vcpu *vcpu)
{
	ask(vcpu, ASKED_STOP);
}

int vcpu_wait_ended_for(struct vcpu *vcpu, unsigned int timeout_ms)
{
	struct timespec until = deadline(timeout_ms);
	int code = 0;

	pthread_mutex_lock(&vcpu->lock);
	while (!code && vcpu->started && !vcpu->ended)
		code = pthread_cond_timedwait(&vcpu->change, &vcpu->lock, &until);
	pthread_mutex_unlock(&vcpu->lock);
	return -code;
}

void vcpu_join(struct vcpu *vcpu)
{
	bool join;

	pthread_mutex_lock(&vcpu->lock);
	while (vcpu->started && !vcpu->ended)
		pthread_cond_wait(&vcpu->change, &vcpu->lock);
	join = vcpu->started && !vcpu->joined;
	vcpu->joined = true;
	pthread_mutex_unlock(&vcpu->lock);
	if (join)
		pthread_join(vcpu->thread, NULL);
}
