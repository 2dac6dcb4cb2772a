/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stress guest's ELF file and the agent's, within samara. The assembler finds them through -I. */
	.section .rodata
	.globl	stress_image, stress_image_end
	.balign	16
stress_image:
	.incbin	"guest/stress.elf"
stress_image_end:

	.globl	agent_image, agent_image_end
	.balign	16
agent_image:
	.incbin	"guest/agent.elf"
agent_image_end:

	.section .note.GNU-stack, "", @progbits
