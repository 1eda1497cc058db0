// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin of QEMU's: for how many instructions Linux's first core has interrupts masked, where the module has a part in it.
 *
 * A stretch is what is executed between an instruction after which PSTATE.I is set and one after which it is clear:
 * an interrupt with all that is called in it, or a section of code that masks them. It is one of ours if an
 * instruction of the range that load.c tells (as for count.c) is among it. Counted are blocks of instructions as they begin, and PSTATE is
 * looked at then: what changes it ends a block. An interrupt that comes at once where they are unmasked begins another stretch:
 * PSTATE.D tells, which is set by each exception, and not by what masks interrupts.
 *
 * Arguments: out=FILE. It gets a line for each place at which stretches enter the range first, when QEMU ends: "offset-in-range
 * times longest of-range from": how many instructions of the longest one are of the range, and where interrupts were masked. Each core has to have a
 * thread of its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"
#include "qemu_plugin.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 4;

#define PSTATE_I (1 << 7)
#define PSTATE_D (1 << 9)

#define PLACES 1024
struct place {
	uint64_t where, times, most, own, from;
};
static struct place places[PLACES];

struct block {
	uint64_t where, count;
};

static struct qemu_plugin_register *pstate;
static struct byte_array *bytes;
static struct told told;
static uint64_t executed, since, from, first, own;
static int was_masked, was_exception;
static FILE *out;

static void note(uint64_t cost)
{
	uint64_t where = first - told.begin, at = where * 0x9e3779b97f4a7c15 >> 54;
	size_t tries;

	for (tries = 0; tries < PLACES; tries++, at = (at + 1) % PLACES) {
		struct place *place = &places[at];

		if (place->times && place->where != where)
			continue;
		place->where = where;
		place->times++;
		if (cost > place->most) {
			place->most = cost;
			place->own = own;
			place->from = from;
		}
		return;
	}
}

static void begins(unsigned int core, void *data)
{
	const struct block *block = data;
	uint32_t word;
	int masked, exception;

	if (core)
		return;
	g_byte_array_set_size(bytes, 0);
	if (qemu_plugin_read_register(pstate, bytes) < (int)sizeof(word))
		return;
	memcpy(&word, bytes->data, sizeof(word));
	masked = !!(word & PSTATE_I);
	exception = masked && word & PSTATE_D;
	if (was_masked && first && (!masked || (exception && !was_exception)))
		note(executed - since);
	if (masked && (!was_masked || (exception && !was_exception))) {
		since = executed;
		from = block->where;
		first = own = 0;
	}
	was_masked = masked;
	was_exception = exception;
	if (masked && block->where - told.begin < told.end - told.begin) {
		if (!first)
			first = block->where;
		own += block->count;
	}
	executed += block->count;
}

static void marked(unsigned int core, void *what)
{
	(void)core;
	hear(&told, (uintptr_t)what);
	/* A stretch that is begun belongs to the range before. */
	first = 0;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	struct block *block = malloc(sizeof(*block));
	size_t at;

	(void)id;
	if (!block)
		abort();
	block->count = qemu_plugin_tb_n_insns(tb);
	block->where = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	qemu_plugin_register_vcpu_tb_exec_cb(tb, begins, READ_REGS, block);
	for (at = 0; at < block->count; at++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, at);
		uint32_t word = 0, hint;

		qemu_plugin_insn_data(insn, &word, sizeof(word));
		for (hint = BIT_0; hint <= RANGE_END; hint++)
			if (word == MARK_WORD(hint))
				qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGS,
								       (void *)(uintptr_t)hint);
	}
}

static void found(uint64_t id, unsigned int core)
{
	struct array *all;
	unsigned int i;

	(void)id;
	if (core)
		return;
	all = qemu_plugin_get_registers();
	for (i = 0; i < all->len; i++) {
		struct qemu_plugin_reg_descriptor *it = (void *)(all->data + i * sizeof(*it));

		if (!strcmp(it->name, "cpsr"))
			pstate = it->handle;
	}
	if (!pstate)
		abort();
}

static void ended(uint64_t id, void *data)
{
	size_t i;

	(void)id;
	(void)data;
	for (i = 0; i < PLACES; i++)
		if (places[i].times)
			fprintf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %#" PRIx64 "\n", places[i].where,
				places[i].times, places[i].most, places[i].own, places[i].from);
	fclose(out);
}

EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	out = fopen(argv[0] + 4, "w");
	bytes = g_byte_array_new();
	if (!out || !bytes)
		return -1;
	qemu_plugin_register_vcpu_init_cb(id, found);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
