// SPDX-License-Identifier: GPL-2.0
/*
 * hvl_attack: a driver that does all that one should, so that devices get far with it, and says one thing that is not so: in
 * a descriptor, a table, an index, a buffer, or the word of a notification; before the peer is told of the chain, or while
 * it walks it.
 */
#include "hvl_attack.h"

/* Buffers of a chain; the library takes 64 descriptors. */
#define PIECES		62u
/* Bytes of one that are filled, and of one that is any. */
#define HEAD_BYTES	512u
#define PIECE_BYTES	2048u
/* A queue has room for so many tables. */
#define TABLE_BYTES	1024u
#define TABLES_MOST	((QUEUE_BYTES - TABLES) / TABLE_BYTES)
/* Microseconds for the peer to get to a chain: a pass of it may take some. */
#define LONG_PATIENCE	10000u
/* How often one word changes while the peer looks. */
#define FLIPS		8u

/* What a queue takes: room for what the device has to say, something for it, or both; is it used at once? */
struct kind {
	bool readable, writable, prompt;
};

struct piece {
	u32 at, len;
	bool writable;
};

struct chain {
	struct piece piece[PIECES];
	u32 count, head, entries, table;
	/* The word that shows a packed one. */
	u32 word;
	bool indirect;
};

static struct kind kind_of(const struct victim *victim, u32 index)
{
	switch (victim->id) {
	case HVL_DEVICE_BLOCK:
		return (struct kind){ true, true, true };
	case HVL_DEVICE_ENTROPY:
		return (struct kind){ false, true, true };
	case HVL_DEVICE_NET: /* an odd one out is the control queue */
		if (victim->queues % 2 && index == victim->queues - 1)
			return (struct kind){ true, true, true };
		fallthrough;
	default:
		return index % 2 ? (struct kind){ true, false, true } : (struct kind){ false, true, false };
	}
}

static struct piece some_piece(u32 len, bool writable)
{
	return (struct piece){ at.buffers + below((BUFFERS - SZ_128K) / 4) * 4, len, writable };
}

/* Buffers as the device wants them. */
static void shape(const struct victim *victim, struct kind kind, u32 most, struct chain *chain)
{
	u32 count = min(below(8) ? 1 + below(4) : PIECES, most), i;
	bool fetch = false;

	chain->count = count = max(count, kind.readable && kind.writable ? 2u : 1u);
	for (i = 0; i < count; i++) {
		bool block = victim->id == HVL_DEVICE_BLOCK;
		u32 len = block ? SZ_512 * (1 + below(4)) : 1 + below(PIECE_BYTES);

		chain->piece[i] = some_piece(len, kind.readable ? fetch : true);
		if (i == 0 && kind.readable) {
			chain->piece[0].len = block ? 16 : HEAD_BYTES;
			fill(victim, chain->piece[0].at, HEAD_BYTES);
			/* Those that read are even. */
			fetch = kind.writable && block && ((get(chain->piece[0].at) & 1) == 0);
		}
	}
	/* The status, or the acknowledgement. */
	if (kind.readable && kind.writable)
		chain->piece[count - 1] = some_piece(1, true);
}

static void put_desc(u32 where, u64 address, u32 len, u32 word)
{
	put(where, address);
	put(where + 4, address >> 32);
	put(where + 8, len);
	put(where + 12, word);
	at.words += 4;
}

static void put_piece(const struct victim *victim, u32 where, const struct piece *piece, u32 flags, u32 other)
{
	flags |= piece->writable ? DESC_WRITE : 0;
	put_desc(where, at.peer_base + piece->at, piece->len, victim->packed ? other | flags << 16 : flags | other << 16);
}

/* The descriptors of a chain, in slots that nobody has; of a packed one all but the word that shows it. False: there is no room. */
static bool describe(const struct victim *victim, struct queue *queue, struct chain *chain)
{
	u32 table = queue->at + TABLES + queue->shown % TABLES_MOST * TABLE_BYTES, i, flags = 0, slot, where;

	BUILD_BUG_ON(16 * PIECES > TABLE_BYTES);
	chain->head = queue->next;
	chain->table = table;
	chain->indirect = victim->features >> HVL_F_INDIRECT_DESC & 1 && (u16)(queue->shown - queue->taken) < TABLES_MOST && below(2);
	chain->entries = chain->indirect ? 1 : chain->count;
	if (queue->held + chain->entries > queue->size)
		return false;
	for (i = 0; chain->indirect && i < chain->count; i++) {
		bool last = i + 1 == chain->count;

		put_piece(victim, table + 16 * i, &chain->piece[i], victim->packed || last ? 0 : DESC_NEXT,
			  victim->packed || last ? 0 : i + 1);
	}
	for (i = chain->entries; i-- > 0;) {
		bool last = i + 1 == chain->entries;
		u32 other;

		slot = (chain->head + i) % queue->size;
		where = queue->at + 16 * slot;
		if (victim->packed)
			flags = queue->lap ^ (chain->head + i >= queue->size) ? DESC_AVAIL : DESC_USED;
		other = victim->packed ? chain->head : last ? 0 : (slot + 1) % queue->size;
		if (chain->indirect) {
			flags |= DESC_INDIRECT;
			put_desc(where, at.peer_base + table, 16 * chain->count,
				 victim->packed ? other | flags << 16 : flags);
		} else {
			put_piece(victim, where, &chain->piece[i], flags | (last ? 0 : DESC_NEXT), other);
		}
		if (victim->packed && i == 0) {
			chain->word = get(where + 12);
			put(where + 12, chain->word ^ (DESC_AVAIL | DESC_USED) << 16);
		}
		/* The first of a packed chain is there after the others. */
		wmb();
	}
	return true;
}

static void show(const struct victim *victim, struct queue *queue, const struct chain *chain)
{
	u32 area = queue->at + DRIVER_AREA;
	u16 index = queue->shown;

	queue->span[chain->head] = chain->entries;
	/* What it is, then that it is there. */
	wmb();
	if (victim->packed) {
		put(queue->at + 16 * chain->head + 12, chain->word);
	} else {
		put16(area + 4 + 2 * (index % queue->size), chain->head);
		/* The entry, then the index. */
		wmb();
		put16(area + 2, index + 1);
	}
	queue->shown++;
	queue->held += chain->entries;
	queue->lap ^= queue->next + chain->entries >= queue->size;
	queue->next = (queue->next + chain->entries) % queue->size;
	at.chains++;
}

/* One chain has come back: the oldest. False: there is none. */
static bool take(struct queue *queue)
{
	u32 entries = queue->span[queue->tail];

	if (!entries || entries > queue->held)
		return false;
	queue->span[queue->tail] = 0;
	queue->taken++;
	queue->held -= entries;
	queue->tail_lap ^= queue->tail + entries >= queue->size;
	queue->tail = (queue->tail + entries) % queue->size;
	at.used++;
	return true;
}

/* Whatever has come back. False: not what was posted. */
static bool collect(const struct victim *victim, struct queue *queue)
{
	u32 i, word;
	u16 id, index;

	if (!victim->packed) {
		for (index = get(queue->at + DEVICE_AREA) >> 16; queue->seen != index; queue->seen++)
			if (!take(queue))
				return false;
		return true;
	}
	for (i = 0; i < queue->size && queue->held; i++) {
		word = get(queue->at + 16 * queue->tail + 12);
		if (!(word >> 16 & DESC_AVAIL) != !queue->tail_lap || !(word >> 16 & DESC_USED) != !queue->tail_lap)
			return true;
		/* In order, the last of some speaks for all of them. */
		id = word;
		while (victim->features >> HVL_F_IN_ORDER & 1 && queue->tail != id)
			if (!take(queue))
				return false;
		if (!take(queue))
			return false;
	}
	return true;
}

static u32 spot(const struct victim *victim, const struct queue *queue, const struct chain *chain)
{
	u32 index = queue - victim->queue, area = queue->at + DRIVER_AREA;

	switch (below(8)) {
	case 0:
		return area;
	case 1:
		return area + (4 + 2 * (queue->shown % queue->size)) / 4 * 4;
	case 2:
		return victim->window + HVL_WINDOW_NOTIFY + HVL_WINDOW_NOTIFY_SLOT * index + 4 * below(2);
	case 3:
		return chain->piece[0].at + 4 * below(16);
	case 4:
	case 5:
		if (chain->indirect)
			return chain->table + 4 * below(4 * chain->count);
		fallthrough;
	default:
		return queue->at + 16 * ((chain->head + below(chain->entries)) % queue->size) + 4 * below(4);
	}
}

/* A chain that is as it should be. With "told" one word is not, from before it is shown on. */
static bool post(struct victim *victim, u32 index, struct chain *chain, bool told)
{
	struct queue *queue = &victim->queue[index];

	shape(victim, kind_of(victim, index), min(PIECES, queue->size), chain);
	if (!describe(victim, queue, chain))
		return false;
	if (told) {
		overwrite(spot(victim, queue, chain));
		at.told++;
	}
	show(victim, queue, chain);
	return true;
}

static void notify(const struct victim *victim, u32 index)
{
	u32 where = victim->window + HVL_WINDOW_NOTIFY + HVL_WINDOW_NOTIFY_SLOT * index;

	put(where + 4, index);
	put(where, get(where) + 1);
	count_notify(victim);
}

/* One word of what the peer walks now is another again and again, and in the end what it was. */
static void flip(u32 where)
{
	u32 old = get(where), i;

	for (i = 0; i < FLIPS; i++) {
		put(where, lie(old));
		udelay(below(4));
		put(where, old);
		udelay(below(4));
	}
	at.words += 2 * FLIPS;
	at.told++;
}

static bool lives_on(const struct victim *victim)
{
	return victim->up && get(victim->window + HVL_REG_STATUS) == 15;
}

void deep(struct victim *victim)
{
	u32 before = at.lies, index, count = 1 + below(8), i, how = below(4);
	struct chain chain = {};
	struct queue *queue;
	bool any = false;

	at.lies = 0;
	if (!lives_on(victim) || below(256) == 0)
		bring_up(victim);
	for (index = 0; index < min(victim->queues, QUEUES); index++) {
		queue = &victim->queue[index];
		victim->up = victim->up && collect(victim, queue);
		if (victim->up && !kind_of(victim, index).prompt && below(4) == 0 && post(victim, index, &chain, false))
			notify(victim, index);
	}
	index = below(min(victim->queues, QUEUES));
	queue = &victim->queue[index];
	for (i = 0; victim->up && i < count; i++)
		any |= post(victim, index, &chain, how == 0 && i + 1 == count);
	if (any) {
		notify(victim, index);
		ring();
		if (how == 1)
			flip(spot(victim, queue, &chain));
		for (i = 0; i < LONG_PATIENCE / 20 && kind_of(victim, index).prompt && queue->held; i++) {
			if (!lives_on(victim) || !collect(victim, queue))
				break;
			udelay(20);
		}
	} else if (kind_of(victim, index).prompt) {
		/* A lie about an index may have left it full for good. */
		victim->up = false;
	}
	at.lies = before;
}
