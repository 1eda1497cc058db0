/* SPDX-License-Identifier: GPL-2.0 */
/* What the kinds of load have in common. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "marks.h"

/* Most bytes of one call, and round trips before those that are measured. */
#define ROOM (1 << 18)
#define WARM 50

#ifdef __aarch64__
#define MARK(number) ({ asm volatile("hint #%0" : : "i"(number) : "memory"); })
#else
#define MARK(number) ((void)(number))
#endif

/* Nanoseconds. */
static inline uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

void die(const char *what);
size_t number(const char *text, size_t most);
/* Prints the line "rr". */
void said_trips(uint64_t *times, size_t count);
/* read|write PATH BYTES DEPTH COUNT: see load.c. */
void load_disk(char **arg);

#endif
