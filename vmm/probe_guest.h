/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_PROBE_GUEST_H
#define VMM_PROBE_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <samara/error.h>

/*
 * A guest of one vCPU that runs a few instructions in 64-bit mode, to find out what a host does. It
 * asks KVM for as little as can be, so that what is missing shows in the probe and not on the way.
 */
struct probe_guest;

/* Where a range without anything behind it yet can be put, for probing faults. */
#define PROBE_MISSING_GPA   UINT64_C(0x40000000)
#define PROBE_MISSING_BYTES UINT64_C(0x10000)

/* How a run ended. */
enum probe_end {
	PROBE_DONE,         /* the code came to its end */
	PROBE_EMULATION,    /* KVM had to emulate an instruction and can't */
	PROBE_EXCEPTION,    /* the guest took an exception: its vector is in probe_exit.detail */
	PROBE_MMIO,         /* an MMIO exit: the address is in detail */
	PROBE_MEMORY_FAULT, /* a memory-fault exit: the address is in detail */
	PROBE_EFAULT,       /* KVM_RUN gave EFAULT and no address */
	PROBE_TIMEOUT,      /* it did not end in time */
	PROBE_OTHER,        /* another exit (its reason is in detail), or another error (-errno) */
};

/**
 * struct probe_exit - what a run showed
 * @rax: the guest's register at the end
 * @elapsed_ns: time within KVM_RUN
 */
struct probe_exit {
	enum probe_end end;
	int64_t detail;
	uint64_t rax;
	uint64_t elapsed_ns;
};

/**
 * probe_guest_create() - make a VM with a vCPU on /dev/kvm
 * @missing: host memory to put at PROBE_MISSING_GPA, PROBE_MISSING_BYTES long; NULL: none
 *
 * Return: 0, or what /dev/kvm or KVM said.
 */
int probe_guest_create(void *missing, struct probe_guest **out, struct samara_error *err);
void probe_guest_destroy(struct probe_guest *guest);

/* Code to run: position independent; falls off its end when it is done. */
struct probe_code {
	const uint8_t *start, *end;
};

/**
 * probe_guest_start() - run code from a fresh CPU state, in a thread of its own
 * @rbx, @rcx: its arguments
 *
 * Return: 0, or what KVM said about the state.
 */
int probe_guest_start(struct probe_guest *guest, struct probe_code code, uint64_t rbx, uint64_t rcx,
		      struct samara_error *err);

/**
 * probe_guest_wait() - wait for the end of a run, make it end after @timeout_ms
 *
 * Context: Takes SIGUSR2 of the process for itself while it waits.
 */
void probe_guest_wait(struct probe_guest *guest, unsigned int timeout_ms, struct probe_exit *exit);

/**
 * probe_measure_ratio() - how much slower the guest runs plain integer code than the host
 * @guest_ns, @host_ns: time per instruction
 *
 * Return: 0, -EIO (the guest did not get through; the text says how it ended).
 */
int probe_measure_ratio(struct probe_guest *guest, double *guest_ns, double *host_ns,
			struct samara_error *err);

/* Instructions that stock kernels execute where an emulator may not know them. */
struct probe_instruction {
	const char *name;
	const char *used_for;
	struct probe_code code;
	/* CPUID bit that says whether the CPU has it; leaf 0: every CPU has. */
	uint32_t leaf;
	char reg;
	unsigned int bit;
};

#define PROBE_INSTRUCTIONS 6
extern const struct probe_instruction probe_instructions[PROBE_INSTRUCTIONS];

/* Whether KVM says that this CPU has the instruction. */
bool probe_has_instruction(const struct probe_guest *guest,
			   const struct probe_instruction *instruction);

/* Reads eight bytes at rbx into rax. */
extern const struct probe_code probe_read_memory;

/* One line on how a run ended, for people. */
void probe_describe(const struct probe_exit *exit, char *text, size_t text_bytes);

#endif
