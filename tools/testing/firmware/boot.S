// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A boot loader's part in a machine whose peer is there before Linux: an "Image" that QEMU starts in place of the
 * kernel, with x0 = device tree. Peer and kernel are in memory already (tools/qemu/vm.py, --peer-first). It turns the
 * interrupt controller on, as firmware does, starts core 1 at the peer's entry, and goes on to the kernel.
 */
	.section .text.start, "ax"
	.globl	_start
_start:
	b	1f
	.long	0
	.quad	0			/* anywhere in memory */
	.quad	image_end - _start
	.quad	0xa			/* little-endian, 4 KiB pages, anywhere */
	.quad	0, 0, 0
	.ascii	"ARM\x64"
	.long	0

1:	mov	x19, x0
	/* GICD_CTLR: both groups, and affinity routing where there is a GICv3. */
	mov	x9, #0x08000000
	mov	w10, #0x13
	str	w10, [x9]
	dsb	sy

	ldr	x0, =0xc4000003		/* PSCI CPU_ON: core, entry, context */
	mov	x1, #1
	ldr	x2, =PEER
	mov	x3, #0
	mrs	x9, CurrentEL
	cmp	x9, #8
	b.eq	2f
	hvc	#0
	b	3f
2:	smc	#0
3:	cbnz	w0, .			/* the test says that nothing came */

	mov	x0, x19
	mov	x1, #0
	mov	x2, #0
	mov	x3, #0
	ldr	x9, =KERNEL
	br	x9
	.ltorg
image_end:
