/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel of a few bytes, in a bzImage's clothes (Documentation/arch/x86/boot.rst): a setup header
 * in two sectors, then 64-bit code. GUEST chooses what it does:
 *
 *	LOOP	nothing, for ever
 *	HELLO	says "hello", powers off
 *	ECHO	says "ready", returns what it receives, powers off at a 'q'
 *	RESET	resets by the keyboard controller; the second time says "again" and powers off
 *	FLOOD	sends 'x' for ever
 */
#define COM1	    0x3f8
#define COM1_LSR    0x3fd
#define RTC_INDEX   0x70
#define RTC_DATA    0x71
#define NVRAM_BYTE  0x50
#define POWER	    0x600
#define SLEEP_S5    0x34
#define I8042	    0x64
#define PULSE_RESET 0xfe

	.text
	.code64
	.org 0x1f1
	.byte 1			/* setup_sects */
	.word 0
	.long 0x40		/* syssize, in 16 bytes */
	.word 0, 0, 0, 0xaa55	/* boot_flag */
	.byte 0xeb, 0x6a	/* jump: the header ends at 0x26c */
	.ascii "HdrS"
	.word 0x020f
	.org 0x211
	.byte 1			/* loadflags: LOADED_HIGH */
	.org 0x214
	.long 0x100000		/* code32_start */
	.org 0x22c
	.long 0x7fffffff	/* initrd_addr_max */
	.long 0x200000		/* kernel_alignment */
	.byte 1, 21		/* relocatable_kernel, min_alignment */
	.word 1			/* xloadflags: XLF_KERNEL_64 */
	.long 255		/* cmdline_size */
	.org 0x258
	.quad 0x1000000		/* pref_address */
	.long 0x10000		/* init_size */
	.org 0x26c

	.org 0x600		/* the 64-bit entry: 0x200 after the setup sectors */
#if defined(LOOP)
1:	jmp 1b
#elif defined(HELLO)
	lea hello(%rip), %rbx
	call say
	jmp off
hello:	.asciz "hello\r\n"
#elif defined(ECHO)
	lea ready(%rip), %rbx
	call say
1:	mov $COM1_LSR, %dx
	in %dx, %al
	test $1, %al
	jz 1b
	mov $COM1, %dx
	in %dx, %al
	out %al, %dx
	cmp $'q', %al
	jne 1b
	jmp off
ready:	.asciz "ready\r\n"
#elif defined(RESET)
	mov $NVRAM_BYTE, %al
	out %al, $RTC_INDEX
	in $RTC_DATA, %al
	test %al, %al
	jnz 1f
	mov $1, %al
	out %al, $RTC_DATA
	mov $PULSE_RESET, %al
	out %al, $I8042
2:	jmp 2b
1:	lea again(%rip), %rbx
	call say
	jmp off
again:	.asciz "again\r\n"
#elif defined(FLOOD)
	mov $COM1, %dx
	mov $'x', %al
1:	out %al, %dx
	jmp 1b
#else
#error choose what the guest does
#endif

/* The string at rbx. */
say:	mov $COM1, %dx
1:	mov (%rbx), %al
	test %al, %al
	jz 2f
	out %al, %dx
	inc %rbx
	jmp 1b
2:	ret

off:	mov $POWER, %dx
	mov $SLEEP_S5, %al
	out %al, %dx
1:	jmp 1b
	.org 0x800
