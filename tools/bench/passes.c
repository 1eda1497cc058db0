// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin of QEMU's: what the passes of a peer cost in instructions of its core, and where it writes to.
 *
 * A pass is what lies between the hints of samples/peer/machine/src/control.rs. Counted are the instructions of the
 * firmware, which runs where it is loaded to, so that it does not matter what Linux's cores do meanwhile, and how QEMU
 * shares this machine among them. (Runs of the control loop that fall into a pass are part of it here.) Also counted is the
 * longest stretch with interrupts masked once they were not, sleep left out: by so much the control loop's can be held up.
 *
 * Arguments: out=FILE, code=ADDRESS, code-size=BYTES (the firmware), and at=ADDRESS, size=BYTES, once or more, for what else
 * the peer may write to. out's gets a line for each life of the peer: "passes N p50 I p99 I p999 I max I masked I stores N
 * stray N ADDRESS", the last being the first address of those that it may not write to.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 4;

/* Instructions by which the peer shows what it does. */
#define PASS_BEGIN	0xd5032d5f /* hint #106 */
#define PASS_END	0xd5032d7f /* hint #107 */
#define MASK		0xd50342df /* msr daifset, #2 */
#define UNMASK		0xd50342ff /* msr daifclr, #2 */
#define WFI		0xd503207f
#define ERET		0xd69f03e0
#define HVC		0xd4000002
#define SMC		0xd4000003

/* Four sizes of pass for each bit. */
#define BUCKETS 256
#define PLACES 8

static uint64_t code, code_size, places[PLACES][2], place;
static FILE *out;

/* Of this life. */
static struct {
	uint64_t executed, begin, passes, most, stores, stray, where;
	uint64_t masked_at, masked;
	uint64_t buckets[BUCKETS];
	int in_pass, was_open;
} life;

static unsigned int bucket(uint64_t value)
{
	unsigned int log = 63 - __builtin_clzll(value | 4);

	return 4 * log + ((value >> (log - 2)) & 3);
}

static uint64_t quantile(uint64_t permille)
{
	uint64_t seen = 0, at;

	for (at = 0; at < BUCKETS; at++) {
		seen += life.buckets[at];
		if (seen * 1000 >= life.passes * permille)
			break;
	}
	return (((uint64_t)1 << at / 4) / 4) * (5 + at % 4) - 1;
}

static void tell(void)
{
	if (life.passes) {
		fprintf(out, "passes %" PRIu64 " p50 %" PRIu64 " p99 %" PRIu64 " p999 %" PRIu64 " max %" PRIu64
			" masked %" PRIu64 " stores %" PRIu64 " stray %" PRIu64 " %#" PRIx64 "\n", life.passes,
			quantile(500), quantile(990), quantile(999), life.most, life.masked, life.stores, life.stray,
			life.where);
		fflush(out);
	}
	memset(&life, 0, sizeof(life));
}

/* "after" are the instructions of the block from this one on, which were counted as it began. */
static void happened(unsigned int core, void *data)
{
	uint64_t what = (uintptr_t)data >> 32, now = life.executed - (uint32_t)(uintptr_t)data, cost;

	(void)core;
	switch (what) {
	case 0:
		life.begin = now;
		life.in_pass = 1;
		break;
	case 1:
		if (!life.in_pass)
			break;
		cost = now - life.begin;
		life.in_pass = 0;
		life.passes++;
		life.buckets[bucket(cost)]++;
		if (cost > life.most)
			life.most = cost;
		break;
	case 2:
		/* Masked already: the stretch goes on. */
		if (life.was_open && !life.masked_at)
			life.masked_at = now;
		break;
	case 3:
	case 4: /* of the control loop's interrupt, in which it is masked again, for nothing */
		if (life.masked_at && now - life.masked_at > life.masked)
			life.masked = now - life.masked_at;
		life.masked_at = 0;
		life.was_open = 1;
		break;
	case 5:
		/* What is pending ends it, and is looked for next. */
		if (life.masked_at && now - life.masked_at > life.masked)
			life.masked = now - life.masked_at;
		if (life.masked_at)
			life.masked_at = now;
		break;
	default:
		tell();
	}
}

static void block(unsigned int core, void *data)
{
	(void)core;
	life.executed += (uintptr_t)data;
}

static void stored(unsigned int core, uint32_t info, uint64_t at, void *data)
{
	uint64_t i;

	(void)core;
	(void)data;
	if (!qemu_plugin_mem_is_store(info))
		return;
	life.stores++;
	/* The peer sees each address as it is. */
	if (at - code < code_size)
		return;
	for (i = 0; i < place; i++)
		if (at - places[i][0] < places[i][1])
			return;
	if (!life.stray++)
		life.where = at;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	static const uint32_t words[] = { PASS_BEGIN, PASS_END, MASK, UNMASK, ERET, WFI, HVC, SMC };
	size_t count = qemu_plugin_tb_n_insns(tb), at, kind;

	(void)id;
	if (qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0)) - code >= code_size)
		return;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, block, NO_REGS, (void *)(uintptr_t)count);
	for (at = 0; at < count; at++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, at);
		uint32_t word = 0;

		qemu_plugin_register_vcpu_mem_cb(insn, stored, NO_REGS, MEM_RW, NULL);
		qemu_plugin_insn_data(insn, &word, sizeof(word));
		for (kind = 0; kind < sizeof(words) / sizeof(*words); kind++)
			if (word == words[kind])
				qemu_plugin_register_vcpu_insn_exec_cb(insn, happened, NO_REGS,
								       (void *)(uintptr_t)(kind << 32 | (count - at)));
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
		else if (!strncmp(argv[i], "code=", 5))
			code = strtoull(value, NULL, 0);
		else if (!strncmp(argv[i], "code-size=", 10))
			code_size = strtoull(value, NULL, 0);
		else if (!strncmp(argv[i], "at=", 3) && place < PLACES)
			places[place][0] = strtoull(value, NULL, 0);
		else if (!strncmp(argv[i], "size=", 5) && place < PLACES)
			places[place++][1] = strtoull(value, NULL, 0);
		else
			return -1;
	}
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
