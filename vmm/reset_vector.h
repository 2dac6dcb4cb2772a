/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VMM_RESET_VECTOR_H
#define VMM_RESET_VECTOR_H

#include <samara/error.h>
#include <samara/guest_mm.h>

/**
 * reset_vector_write() - put code where a PC's firmware begins, F000:FFF0
 *
 * A kernel that wants the firmware to restart the machine jumps there in real mode: Linux does on a
 * machine with reduced hardware, which it expects to have EFI. The code uses the reset register.
 *
 * Return: 0, or as guest_mm_write().
 */
int reset_vector_write(struct guest_mm *mm, struct samara_error *err);

#endif
