/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stress guest's ELF file, within samara. The assembler finds it through -I. */
	.section .rodata
	.globl	stress_image, stress_image_end
	.balign	16
stress_image:
	.incbin	"guest/stress.elf"
stress_image_end:

	.section .note.GNU-stack, "", @progbits
