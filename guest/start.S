/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry of every vCPU: 64-bit mode, paging on, rdi = vCPU index, rsi = gpa of the control block, rsp
 * = the end of its own stack. There is no IDT: an exception is a triple fault, which the VMM
 * reports.
 */
#include "guest/stress_abi.h"

	.section .text.start, "ax"
	.globl	_start
	.type	_start, @function
_start:
	xor	%ebp, %ebp
	call	stress_main
	mov	$STRESS_DONE_PORT, %edx
	out	%al, %dx
1:	hlt
	jmp	1b
	.size	_start, . - _start

	.section .note.GNU-stack, "", @progbits
