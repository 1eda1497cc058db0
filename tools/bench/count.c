// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin of QEMU's: instructions of Linux and of the peer, of the transport's code among them, and what
 * each writes to and reads from the region, between two marks of load.c.
 *
 * (A core's own count, INST_RETIRED of its PMU, is the machine's in QEMU: the sum of all cores. And the core
 * that a plugin is told may be the wrong one with one thread for all of them: Linux's memcpy was counted
 * for the peer's core. So the sides are told apart by the addresses of their code.)
 *
 * Arguments: out=FILE, region=ADDRESS, size=BYTES, code=ADDRESS, code-size=BYTES (the peer's firmware, which
 * runs where it is loaded to), blocks=FILE (if wanted). out's gets a line for each pair of marks: for Linux,
 * then for the peer, "instructions of-range lines-written bytes-written bytes-read". A line counts again when
 * another one was written in between. That of blocks has of each block of the range that was executed
 * "offset-in-range instructions times", all in one line, and in a second line the same of the firmware's.
 *
 * Counted are blocks of instructions as they begin: of one that an exception leaves in the middle, all
 * count. (Inline counters would be quicker, but QEMU 10.0 does not survive them with one thread for all
 * cores.)
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"
#include "qemu_plugin.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 4;

#define PAGE_SHIFT 12
/* Pages of code that can be told apart, and instructions of a block. */
#define PAGES (1 << 16)
#define BLOCK 512
#define LINE_SHIFT 6
/* Where the kernel maps what is none of its own memory. */
#define MAPPED 0xffff800000000000

enum { INSTRUCTIONS, OF_RANGE, LINES, WRITTEN, READ, COUNTS };
enum { LINUX, PEER, SIDES };

static uint64_t pages[PAGES], executed[PAGES];
static uint64_t region, region_size, code, code_size;
static uint64_t last_line[SIDES], memory[SIDES][COUNTS], before[SIDES][COUNTS];
static struct told told;
static FILE *out, *blocks;

/* A block of instructions that was translated, maybe not for the first time. */
struct block {
	struct block *next;
	uint64_t where, count, executed, before;
};

static struct block *translations;

/* The slot of a page of code; all that find none share the last. */
static size_t slot(uint64_t page)
{
	size_t at = page * 0x9e3779b97f4a7c15 >> 48, tries;

	for (tries = 0; tries < 64; tries++, at = (at + 1) % (PAGES - 1)) {
		at %= PAGES - 1;
		if (!pages[at])
			pages[at] = page;
		if (pages[at] == page)
			return at;
	}
	return PAGES - 1;
}

static int side_of(uint64_t address)
{
	return address - code < code_size ? PEER : LINUX;
}

static void sum(uint64_t counts[SIDES][COUNTS])
{
	size_t at;

	memcpy(counts, memory, sizeof(memory));
	for (at = 0; at < PAGES; at++) {
		uint64_t page = pages[at] << PAGE_SHIFT, *side = counts[side_of(page)];

		side[INSTRUCTIONS] += executed[at];
		if (page + (1 << PAGE_SHIFT) > told.begin && page < told.end)
			side[OF_RANGE] += executed[at];
	}
}

static void begin_blocks(void)
{
	struct block *at;

	for (at = translations; at; at = at->next)
		at->before = at->executed;
}

static void end_blocks(uint64_t begin, uint64_t size)
{
	struct block *at;

	for (at = translations; at; at = at->next)
		if (at->executed != at->before && at->where - begin < size)
			fprintf(blocks, "%" PRIu64 " %" PRIu64 " %" PRIu64 " ", at->where - begin,
				at->count, at->executed - at->before);
	fputc('\n', blocks);
}

static void marked(unsigned int core, void *what)
{
	uint64_t now[SIDES][COUNTS];
	int side, count;

	(void)core;
	switch ((uintptr_t)what) {
	case BEGIN:
		sum(before);
		begin_blocks();
		break;
	case END:
		sum(now);
		for (side = 0; side < SIDES; side++)
			for (count = 0; count < COUNTS; count++)
				fprintf(out, "%s%" PRIu64, side + count ? " " : "",
					now[side][count] - before[side][count]);
		fputc('\n', out);
		fflush(out);
		if (blocks) {
			end_blocks(told.begin, told.end - told.begin);
			end_blocks(code, code_size);
			fflush(blocks);
		}
		break;
	default:
		hear(&told, (uintptr_t)what);
	}
}

static void touched(unsigned int core, uint32_t info, uint64_t at, void *data)
{
	uintptr_t side = (uintptr_t)data;
	uint64_t *counts = memory[side], bytes = 1 << qemu_plugin_mem_size_shift(info);

	(void)core;
	/* The peer sees the region at its own address, Linux somewhere among its mappings. */
	if (side == LINUX) {
		struct qemu_plugin_hwaddr *where;

		if (at < MAPPED)
			return;
		where = qemu_plugin_get_hwaddr(info, at);
		if (!where)
			return;
		at = qemu_plugin_hwaddr_phys_addr(where);
	}
	if (at - region >= region_size)
		return;
	if (!qemu_plugin_mem_is_store(info)) {
		counts[READ] += bytes;
		return;
	}
	counts[WRITTEN] += bytes;
	if (last_line[side] != at >> LINE_SHIFT) {
		last_line[side] = at >> LINE_SHIFT;
		counts[LINES]++;
	}
}

static void block(unsigned int core, void *data)
{
	uintptr_t what = (uintptr_t)data;

	(void)core;
	executed[what / BLOCK] += what % BLOCK;
}

static void entered(unsigned int core, void *data)
{
	struct block *block = data;

	(void)core;
	block->executed++;
}

static void watch(struct qemu_plugin_tb *tb, uint64_t where, size_t count)
{
	struct block *block = calloc(1, sizeof(*block));

	if (!block)
		return;
	block->where = where;
	block->count = count;
	block->next = translations;
	translations = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, entered, NO_REGS, block);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb), at;
	uint64_t where = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	uintptr_t side = side_of(where);

	(void)id;
	/* A block of QEMU's does not go on in another page. */
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block, NO_REGS,
					     (void *)(slot(where >> PAGE_SHIFT) * BLOCK + count % BLOCK));
	if (blocks && (side == PEER || where >= MAPPED))
		watch(tb, where, count);
	for (at = 0; at < count; at++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, at);
		uint32_t word = 0, hint;

		if (region_size)
			qemu_plugin_register_vcpu_mem_cb(insn, touched, NO_REGS, MEM_RW, (void *)side);
		qemu_plugin_insn_data(insn, &word, sizeof(word));
		for (hint = BIT_0; hint <= RANGE_END; hint++)
			if (word == MARK_WORD(hint))
				qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGS,
								       (void *)(uintptr_t)hint);
	}
}

EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value++)
			return -1;
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(value, "w");
		else if (!strncmp(argv[i], "blocks=", 7))
			blocks = fopen(value, "w");
		else if (!strncmp(argv[i], "region=", 7))
			region = strtoull(value, NULL, 0);
		else if (!strncmp(argv[i], "size=", 5))
			region_size = strtoull(value, NULL, 0);
		else if (!strncmp(argv[i], "code=", 5))
			code = strtoull(value, NULL, 0);
		else if (!strncmp(argv[i], "code-size=", 10))
			code_size = strtoull(value, NULL, 0);
		else
			return -1;
	}
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
