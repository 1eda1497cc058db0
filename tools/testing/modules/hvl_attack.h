/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of hvl_attack have in common. */
#ifndef HVL_ATTACK_H
#define HVL_ATTACK_H

#include <linux/delay.h>
#include <linux/io.h>
#include <linux/sched/signal.h>
#include <linux/types.h>

#include "virtio-hvl.h"

/* A queue's part of the pool: descriptors, the driver's area, the device's, tables. Behind all of those are buffers. */
#define QUEUE_BYTES	0x6000u
#define DRIVER_AREA	0x1000u
#define DEVICE_AREA	0x2000u
#define TABLES		0x3000u
#define SIZE_MAX_QUEUE	256u
#define BUFFERS		SZ_4M
#define DEVICES		8u
#define QUEUES		8u
#define COUNT_MAX	100000000u
/* Words that one life overwrites at most, and words between two rings. */
#define LIFE		4096u
#define BURST		64u
#define DESC_NEXT		1u
#define DESC_WRITE		2u
#define DESC_INDIRECT	4u
#define DESC_AVAIL		0x80u
#define DESC_USED		0x8000u
/* Microseconds for an answer. */
#define PATIENCE	2000

enum strategy { ALL, UNIFORM, HEADER, WINDOWS, RINGS, CONTENT, DEEP, STORM, STRATEGIES };

struct queue {
	u32 at, size;
	u16 next, seen;
	bool lap;
	/* Of a driver that keeps books: descriptors that are the peer's, chains shown and taken, where the oldest is, and their lengths. */
	u32 held;
	u16 shown, taken, tail;
	bool tail_lap;
	u8 span[SIZE_MAX_QUEUE];
};

struct victim {
	u32 id, queues, window;
	u64 features;
	bool up, packed;
	struct queue queue[QUEUES];
};

struct attack {
	void *base;
	void __iomem *bell;
	u32 size, pool, bell_value, count, buffers, epoch;
	u64 peer_base, noise;
	struct victim victim[DEVICES];
	/* Of a hundred values so many are lies, in this life. */
	u32 lies;
	u64 words, lives, asked, answered, ready, chains, used, told, rings;
};

extern struct attack at;

/* Register writes. */
struct entry {
	u32 offset, value;
};

/* One of some numbers. */
#define ONE_OF(...) \
({ \
	static const u32 numbers[] = { __VA_ARGS__ }; \
	\
	numbers[below(ARRAY_SIZE(numbers))]; \
})

u32 noise(void);
u32 below(u32 end);
bool lies(void);
u32 lie(u32 old);
u32 get(u32 offset);
void put(u32 offset, u32 value);
void put16(u32 offset, u16 value);
void ring(void);
void overwrite(u32 offset);
void count_notify(const struct victim *victim);
u64 address(u32 offset, u32 len);
bool ask(struct victim *victim, const struct entry *entries, u32 count);
void bring_up(struct victim *victim);
void attach(void);
void fill(const struct victim *victim, u32 buffer, u32 len);
void deep(struct victim *victim);
void live(enum strategy strategy, u64 end);

#endif
