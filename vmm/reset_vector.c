/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/reset_vector.h"

#include "devices/power_registers.h"
#include "vmm/layout.h"

#define RESET_PORT (LAYOUT_POWER_PORT + POWER_RESET)

static const uint8_t code[] = {
	0xba,
	RESET_PORT & 0xff,
	RESET_PORT >> 8, /* mov dx, RESET_PORT */
	0xb0,
	POWER_RESET_VALUE, /* mov al, POWER_RESET_VALUE */
	0xee,              /* out dx, al */
	0xf4,              /* hlt */
	0xeb,
	0xfd, /* jmp to the hlt */
};

_Static_assert(sizeof(code) <= LAYOUT_KERNEL_MIN_GPA - LAYOUT_RESET_VECTOR_GPA, "it fits");

int reset_vector_write(struct guest_mm *mm, struct samara_error *err)
{
	int ret = guest_mm_write(mm, LAYOUT_RESET_VECTOR_GPA, code, sizeof(code));

	return ret ? samara_error_set(err, ret, "reset vector: guest memory at %#x is no RAM",
				      LAYOUT_RESET_VECTOR_GPA)
		   : 0;
}
