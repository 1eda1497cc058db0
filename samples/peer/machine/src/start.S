/* SPDX-License-Identifier: GPL-2.0 OR MIT */

/*
 * The first instructions, before the entry code of aarch64-rt: the core comes from PSCI CPU_ON at
 * the level that Linux was booted in, EL2 or EL1 (Linux itself may have gone on to EL1), with MMU and
 * caches off and x0 = context id, which is reserved.
 */

.section .init.start, "ax"
.global _start
_start:
	msr	daifset, #0xf
	mrs	x1, CurrentEL
	lsr	x1, x1, #2			/* second argument of main */
	cmp	x1, #2
	b.ne	1f

	/* EL2: nothing is virtualised, and on to EL1. */
	mov	x9, #(1 << 31)			/* HCR_EL2.RW */
	msr	hcr_el2, x9
	isb
	mrs	x9, cnthctl_el2
	orr	x9, x9, #3			/* EL1 may use counter and timers */
	msr	cnthctl_el2, x9
	msr	cntvoff_el2, xzr
	mov	x9, #0x33ff			/* CPTR_EL2: floating point is not trapped */
	msr	cptr_el2, x9
	msr	hstr_el2, xzr
	mrs	x9, id_aa64dfr0_el1
	ubfx	x9, x9, #8, #4
	sub	x10, x9, #1
	cmp	x10, #14			/* 0 and 15: no PMU of this kind */
	b.hs	2f
	mrs	x9, pmcr_el0
	ubfx	x9, x9, #11, #5			/* EL1 has all its counters, and nothing is trapped */
	msr	mdcr_el2, x9
2:
	msr	vttbr_el2, xzr
	mrs	x9, midr_el1
	msr	vpidr_el2, x9
	mrs	x9, mpidr_el1
	msr	vmpidr_el2, x9
	mrs	x9, id_aa64pfr0_el1
	ubfx	x9, x9, #24, #4
	cbz	x9, 0f
	mrs	x9, s3_4_c12_c9_5		/* ICC_SRE_EL2 */
	orr	x9, x9, #1			/* SRE */
	orr	x9, x9, #8			/* Enable, for EL1 */
	msr	s3_4_c12_c9_5, x9
	isb
0:	ldr	x9, =0x30d00800			/* bits that have to be set */
	msr	sctlr_el1, x9
	mov	x9, #0x3c5			/* EL1h, everything masked */
	msr	spsr_el2, x9
	adr	x9, 1f
	msr	elr_el2, x9
	eret

1:	ldr	x9, =0x30d00800
	msr	sctlr_el1, x9
	isb

	/*
	 * Linux has written the image past the caches. What lines an earlier run of ours has left
	 * there must not show up again.
	 */
	adrp	x9, _start
	adrp	x10, image_end
	mrs	x11, ctr_el0
	ubfx	x11, x11, #16, #4
	mov	x12, #4
	lsl	x11, x12, x11			/* bytes of a data cache line */
2:	dc	ivac, x9
	add	x9, x9, x11
	cmp	x9, x10
	b.lo	2b
	dsb	sy
	ic	iallu
	dsb	nsh
	isb

	/*
	 * Tables for the first steps: the image, cacheable, with address space number 0. They live
	 * outside .bss, which is cleared while they are in use.
	 */
	adrp	x9, early_tables
	add	x10, x9, #4096
	mov	x11, x9
	add	x12, x9, #8192
3:	stp	xzr, xzr, [x11], #16
	cmp	x11, x12
	b.lo	3b
	adrp	x11, _start
	lsr	x12, x11, #30
	orr	x13, x10, #3			/* table */
	str	x13, [x9, x12, lsl #3]
	ubfx	x12, x11, #21, #9
	and	x11, x11, #~0x1fffff
	ldr	x14, =image_size
	ldr	x13, =0x1fffff
	add	x14, x14, x13
	lsr	x14, x14, #21
	mov	x15, #0xf01			/* nG, AF, inner shareable, attribute 0, block */
4:	orr	x13, x11, x15
	str	x13, [x10, x12, lsl #3]
	add	x11, x11, #0x200000
	add	x12, x12, #1
	subs	x14, x14, #1
	b.ne	4b
	dsb	sy
	tlbi	vmalle1
	dsb	nsh
	isb

	/* Attributes 0: cached, 1: device, 2: uncached. */
	ldr	x10, =0x4404ff
	msr	mair_el1, x10
	/* 39 bits, 4 KiB pages, walks cached and inner shareable, no upper half. */
	ldr	x10, =0x803519
	mrs	x11, id_aa64mmfr0_el1
	and	x11, x11, #7
	mov	x12, #5
	cmp	x11, x12
	csel	x11, x11, x12, lo
	orr	x10, x10, x11, lsl #32
	msr	tcr_el1, x10
	msr	ttbr0_el1, x9
	isb
	ldr	x10, =0x30d0180d		/* and: MMU, caches, stack alignment checks */
	msr	sctlr_el1, x10
	isb

	/* Exceptions have a stack of their own, so that an overflow can be reported. */
	msr	spsel, #1
	adrp	x9, exception_stack_end
	mov	sp, x9
	msr	spsel, #0
	b	entry

/*
 * Exceptions. aarch64-rt has saved x0-x18, x29, x30, ELR and SPSR at sp; the rest joins them here
 * and the whole goes to report_exception(kind, saved by aarch64-rt, saved here).
 */
.macro report name, kind
.global \name
\name:
	mov	x1, sp
	stp	x19, x20, [sp, #-80]!
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	mov	x2, sp
	mov	x0, #\kind
	mov	x19, x30
	bl	report_exception
	mov	x30, x19
	ldr	x19, [sp], #80
	ret
.endm

.section .text.exceptions, "ax"
report report_sync_current, 0
report report_irq_current, 1

/*
 * The interrupt of the control loop, the only one that comes by itself: aarch64-rt has saved what a call may change,
 * but for the floating-point registers.
 */
.global take_control_interrupt
take_control_interrupt:
	stp	x29, x30, [sp, #-16]!
	mrs	x9, fpcr
	mrs	x10, fpsr
	stp	x9, x10, [sp, #-16]!
	stp	q0, q1, [sp, #-512]!
	stp	q2, q3, [sp, #32]
	stp	q4, q5, [sp, #64]
	stp	q6, q7, [sp, #96]
	stp	q8, q9, [sp, #128]
	stp	q10, q11, [sp, #160]
	stp	q12, q13, [sp, #192]
	stp	q14, q15, [sp, #224]
	stp	q16, q17, [sp, #256]
	stp	q18, q19, [sp, #288]
	stp	q20, q21, [sp, #320]
	stp	q22, q23, [sp, #352]
	stp	q24, q25, [sp, #384]
	stp	q26, q27, [sp, #416]
	stp	q28, q29, [sp, #448]
	stp	q30, q31, [sp, #480]
	bl	control_interrupt
	ldp	q2, q3, [sp, #32]
	ldp	q4, q5, [sp, #64]
	ldp	q6, q7, [sp, #96]
	ldp	q8, q9, [sp, #128]
	ldp	q10, q11, [sp, #160]
	ldp	q12, q13, [sp, #192]
	ldp	q14, q15, [sp, #224]
	ldp	q16, q17, [sp, #256]
	ldp	q18, q19, [sp, #288]
	ldp	q20, q21, [sp, #320]
	ldp	q22, q23, [sp, #352]
	ldp	q24, q25, [sp, #384]
	ldp	q26, q27, [sp, #416]
	ldp	q28, q29, [sp, #448]
	ldp	q30, q31, [sp, #480]
	ldp	q0, q1, [sp], #512
	ldp	x9, x10, [sp], #16
	msr	fpcr, x9
	msr	fpsr, x10
	ldp	x29, x30, [sp], #16
	ret

report report_fiq_current, 2
report report_serror_current, 3
report report_sync_lower, 4
report report_irq_lower, 5
report report_fiq_lower, 6
report report_serror_lower, 7

/*
 * leave(line size, begin, end, use hvc): writes back what the caches hold of begin..end and turns
 * the core off.
 *
 * The MMU goes off together with the data cache. With the cache off alone, walks would read the
 * tables from memory, where they are not yet, and the guard pages in the range would fault. With
 * both off maintenance by address needs no walk, nothing comes back into the cache, and the next
 * instruction is where it was since all is mapped to itself. From there on no load and no store:
 * what is in memory is not what it seems until the loop has been there. The instruction cache can
 * stay as it is: nothing here changes code.
 */
.global leave
leave:
	msr	daifset, #0xf			/* a handler would use a stack */
	dsb	sy				/* all stores are in the cache */
	mrs	x9, sctlr_el1
	bic	x9, x9, #1			/* M */
	bic	x9, x9, #4			/* C */
	msr	sctlr_el1, x9
	isb
1:	dc	civac, x1
	add	x1, x1, x0
	cmp	x1, x2
	b.lo	1b
	dsb	sy
	mov	x0, #2
	movk	x0, #0x8400, lsl #16		/* PSCI CPU_OFF */
	cbz	x3, 2f
	hvc	#0
	b	3f
2:	smc	#0
3:	wfi
	b	3b

/*
 * The resource table that remoteproc reads (struct resource_table): a trace buffer, and the word
 * by which Linux asks us to stop.
 */
.section .resource_table, "aw"
.global resource_table
resource_table:
	.word	1, 2, 0, 0			/* version, entries, reserved */
	.word	trace_entry - resource_table
	.word	stop_entry - resource_table
trace_entry:
	.word	2				/* RSC_TRACE */
	.word	trace_buffer, 32768, 0
1:	.asciz	"trace0"
	.space	32 - (. - 1b)
stop_entry:
	.word	128				/* RSC_VENDOR_START */
	.word	1				/* version */
.global stop_request
stop_request:
	.word	0
	.word	0, 0

.section .trace, "aw", %nobits
.balign 4096
.global trace_buffer
trace_buffer:
	.space	32768

.section .early, "aw", %nobits
.balign 4096
early_tables:
	.space	8192
