/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MM_CPU_RELAX_H
#define MM_CPU_RELAX_H

/* Tell the CPU that this is a spin loop. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
