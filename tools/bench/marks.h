/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What load.c tells the plugins of QEMU's: hints that mean nothing to any core. BEGIN and END are around what is measured; a
 * number is told bit by bit, the first one first, and then what it is.
 */
#ifndef BENCH_MARKS_H
#define BENCH_MARKS_H

#include <stdint.h>

enum { BIT_0 = 100, BIT_1, BEGIN, END, RANGE_BEGIN, RANGE_END };

/* The instruction. */
#define MARK_WORD(mark) (0xd503201fu | (uint32_t)(mark) << 5)

/* Where the transport's code is, as far as that was told. */
struct told {
	uint64_t number, begin, end;
};

/* "mark" has been seen. */
static inline void hear(struct told *told, uintptr_t mark)
{
	switch (mark) {
	case BIT_0:
	case BIT_1:
		told->number = told->number << 1 | (mark == BIT_1);
		break;
	case RANGE_BEGIN:
		told->begin = told->number;
		break;
	case RANGE_END:
		told->end = told->number;
		break;
	}
}

#endif
