/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "vmm/kvm.h"

/*
 * A virtual CPU and the thread that runs it.
 *
 * The thread is out of KVM_RUN, with no exit unfinished, whenever it is paused: an I/O or MMIO exit
 * is completed by one more KVM_RUN with immediate_exit set before the thread sleeps.
 */
struct vcpu;

/* What an exit handler wants next. */
enum vcpu_next {
	VCPU_CONTINUE, /* enter the guest again */
	VCPU_STOP,     /* the thread ends, this exit unfinished; vcpu_join() returns */
};

/**
 * typedef vcpu_exit_fn - handle one exit
 * @run: the vCPU's shared page; exit_reason and what belongs to it
 *
 * Interrupted runs (EINTR, EAGAIN) are not reported. When KVM_RUN fails otherwise, vcpu_run_error()
 * says how; exit_reason is then KVM_EXIT_MEMORY_FAULT, or KVM_EXIT_UNKNOWN where KVM gives none.
 *
 * Context: the vCPU's thread; may sleep, but vcpu_pause() waits for it.
 */
typedef enum vcpu_next vcpu_exit_fn(struct vcpu *vcpu, struct kvm_run *run, void *arg);

/**
 * vcpu_create() - make a vCPU; it does not run yet
 * @id: its index, which is its APIC id
 * @count: how many vCPUs the VM has, for the topology in CPUID
 * @on_exit: called for each exit, with @arg
 *
 * Context: May sleep.
 * Return: 0, -ENOMEM, or what KVM said.
 */
int vcpu_create(struct kvm *kvm, unsigned int id, unsigned int count, vcpu_exit_fn *on_exit,
		void *arg, struct vcpu **out, struct samara_error *err);

/**
 * vcpu_destroy() - stop its thread if it runs, and free it
 *
 * Context: May sleep, as vcpu_join(). NULL is none.
 */
void vcpu_destroy(struct vcpu *vcpu);

/* The index it was made with. */
unsigned int vcpu_id(const struct vcpu *vcpu);

/* The thread's id for the operating system, 0 before vcpu_start(). */
int vcpu_tid(const struct vcpu *vcpu);

/* The negative errno of the KVM_RUN that led to this exit, or 0. Context: exit handlers. */
int vcpu_run_error(const struct vcpu *vcpu);

/*
 * The general registers; the instruction pointer alone. Context: exit handlers, or while it does
 * not run. Return: 0, -errno.
 */
int vcpu_get_regs(const struct vcpu *vcpu, struct kvm_regs *regs);
int vcpu_get_rip(const struct vcpu *vcpu, uint64_t *rip);

/**
 * vcpu_set_long_mode() - start state: 64-bit code with flat segments, paging on
 * @rip, @rsp: entry point and stack
 * @cr3: gpa of the page-table root, which the caller has written
 * @rdi, @rsi: arguments (Linux 64-bit boot protocol: rsi is the gpa of struct boot_params)
 *
 * Segment selectors are those of the Linux boot protocol (CS 0x10, DS, ES, SS 0x18); @gdt is the
 * gpa of a GDT that matches.
 *
 * Context: Before vcpu_start().
 * Return: 0, or what KVM said.
 */
int vcpu_set_long_mode(struct vcpu *vcpu, uint64_t rip, uint64_t rsp, uint64_t cr3, uint64_t gdt,
		       uint64_t rdi, uint64_t rsi, struct samara_error *err);

/**
 * vcpu_set_pvh() - start state of the PVH boot protocol: 32-bit, paging off, ebx = @start_info
 *
 * Context: Before vcpu_start().
 * Return: 0, or what KVM said.
 */
int vcpu_set_pvh(struct vcpu *vcpu, uint32_t eip, uint32_t start_info, struct samara_error *err);

/**
 * vcpu_start() - start the thread
 * @paused: it does not enter the guest before vcpu_resume()
 *
 * Return: 0, -EAGAIN (no thread to be had).
 */
int vcpu_start(struct vcpu *vcpu, bool paused, struct samara_error *err);

/* Ask the thread to leave the guest and sleep; vcpu_wait_paused() waits until it does. */
void vcpu_request_pause(struct vcpu *vcpu);
void vcpu_wait_paused(struct vcpu *vcpu);

/**
 * vcpu_wait_paused_for(), vcpu_wait_ended_for() - the same, with an end to patience
 *
 * A vCPU whose write is held (guest_mm_protect()) does not heed signals where KVM emulates
 * instructions: it can be paused or ended only when the write is let go.
 *
 * Context: May sleep.
 * Return: 0, -ETIMEDOUT.
 */
int vcpu_wait_paused_for(struct vcpu *vcpu, unsigned int timeout_ms);
int vcpu_wait_ended_for(struct vcpu *vcpu, unsigned int timeout_ms);
void vcpu_resume(struct vcpu *vcpu);

/* Ask the thread to end; vcpu_join() waits for that. Both may be called more than once. */
void vcpu_request_stop(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

#endif
