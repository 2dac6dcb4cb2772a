/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_DOCTOR_UFFD_H
#define VMM_DOCTOR_UFFD_H

#include <stdint.h>

/**
 * doctor_uffd_open() - a userfaultfd that catches the kernel's faults too, by whatever way works
 * @features: UFFD_FEATURE_* to ask for
 *
 * Return: the file descriptor, or -errno.
 */
int doctor_uffd_open(uint64_t features);

#endif
