// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Entry of testfw: EL1 or EL2, MMU off, x0 = context id. */
	.section .text.start, "ax"
	.globl	_start
_start:
	adrp	x1, stack_top
	add	x1, x1, :lo12:stack_top
	mov	sp, x1
	adr	x1, vectors
	mrs	x2, CurrentEL
	cmp	x2, #8
	b.eq	1f
	msr	vbar_el1, x1
	b	2f
1:	msr	vbar_el2, x1
2:	isb
	b	firmware_main

/* Any exception is reported and ends the firmware. */
report:
	mrs	x2, CurrentEL
	cmp	x2, #8
	b.eq	1f
	mrs	x0, esr_el1
	mrs	x1, elr_el1
	b	exception
1:	mrs	x0, esr_el2
	mrs	x1, elr_el2
	b	exception

	.balign	2048
vectors:
	.rept	16
	.balign	128
	b	report
	.endr
