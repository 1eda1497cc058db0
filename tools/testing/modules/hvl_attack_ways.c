// SPDX-License-Identifier: GPL-2.0
/* hvl_attack: ways of lying. */
#include "hvl_attack.h"

static struct victim *some_device(void)
{
	return &at.victim[below(at.count)];
}

static struct queue *some_queue(struct victim *victim)
{
	return &victim->queue[below(min(victim->queues, QUEUES))];
}

/* Something that a device of this kind may be told. */
void fill(const struct victim *victim, u32 buffer, u32 len)
{
	u32 i;

	for (i = 0; i < min(len, 256u); i += 4)
		put(buffer + i, below(4) ? 0 : lie(0));
	switch (victim->id) {
	case HVL_DEVICE_NET: /* a header, then a frame of IPv4 to the peer */
		put(buffer, below(3) ? 0 : below(256) | below(256) << 8 | below(2000) << 16);
		put(buffer + 12, 0x00000002);
		put(buffer + 16, 0x00020100 | below(2) << 24);
		put(buffer + 20, 0x02000000);
		put(buffer + 24, 0x00450008 | below(8) << 16);
		put(buffer + 28, noise());
		put(buffer + 36, ONE_OF(0x00000640, 0x00001140, 0x00000140, 0x3a400640) | below(2) << 16);
		put(buffer + 40, 0x02004d0a);
		put(buffer + 44, 0x01004d0a);
		put(buffer + 48, ONE_OF(0x00500700, 0x07000700, 0x43004400, 0x00140900));
		break;
	case HVL_DEVICE_VSOCK: /* contexts, ports, length, type, operation, flags, credit */
		put(buffer, 3);
		put(buffer + 8, 2);
		put(buffer + 16, 1000 + below(40));
		put(buffer + 20, ONE_OF(7, 9, 19, 20, 21, 22));
		put(buffer + 24, below(3) ? below(256) : lie(4096));
		put(buffer + 28, (1 + below(2)) | below(9) << 16);
		put(buffer + 32, below(4));
		put(buffer + 36, below(3) ? SZ_64K : lie(SZ_64K));
		put(buffer + 40, below(3) ? 0 : lie(0));
		break;
	case HVL_DEVICE_BLOCK:
		put(buffer, ONE_OF(0, 1, 4, 8, 11, 13, 14, 99));
		put(buffer + 8, below(3) ? below(64) : lie(0));
		put(buffer + 12, below(8) ? 0 : noise());
		break;
	case HVL_DEVICE_CONSOLE: /* control messages, or a command to the shell */
		put(buffer, below(2) ? below(4) : 0x74617473);
		put(buffer + 4, below(2) ? below(9) | below(4) << 16 : 0x000a0a73);
		break;
	case HVL_DEVICE_RPMSG:
		put(buffer + 4, 0x400 + below(5));
		put(buffer + 12, below(3) ? below(496) : lie(16));
		break;
	}
	if (lies())
		overwrite(buffer + below(64) * 4);
}

static u32 some_length(void)
{
	if (lies())
		return lie(SZ_4K);
	return ONE_OF(1, 12, 16, 44, 64, 512, 1526, 4096, SZ_64K);
}

/* One descriptor; "last" of its chain. The number of the next one, or of a packed chain, comes with it. */
static u32 describe(const struct victim *victim, u32 where, bool writable, bool last, u16 other, u32 flags)
{
	u32 len = some_length(), buffer = at.buffers + below(BUFFERS - SZ_128K);
	u64 here = address(buffer, len);

	if (!writable)
		fill(victim, buffer / 4 * 4, len);
	flags |= (writable ? DESC_WRITE : 0) | (last ? 0 : DESC_NEXT);
	if (lies())
		flags = lie(flags) & 0xffff;
	put(where, here);
	put(where + 4, here >> 32);
	put(where + 8, len);
	at.words += 4;
	return victim->packed ? other | flags << 16 : flags | (u32)other << 16;
}

/* Makes a chain available, in as many descriptors as there may be, or in a table; or one that comes back to itself. */
static void make(struct victim *victim)
{
	struct queue *queue = some_queue(victim);
	u32 count = below(4) ? 1 + below(4) : 60 + below(10), readable = below(count + 1), i, where, head = queue->next % queue->size;
	u32 id = lies() ? lie(head) & 0xffff : head, table = queue->at + TABLES, flags = 0, word, entries = count;
	bool indirect = below(3) == 0, loop = below(16) == 0;

	if (indirect) {
		for (i = 0; i < count; i++) {
			bool last = i + 1 == count;

			where = table + 16 * i;
			put(where + 12, describe(victim, where, i >= readable, victim->packed || (last && !loop),
						 victim->packed ? id : last ? i : i + 1, 0));
		}
		entries = 1;
	}
	entries = min(entries, queue->size);
	for (i = entries; i-- > 0;) {
		u32 slot = (head + i) % queue->size, next;
		bool last;

		where = queue->at + 16 * slot;
		if (victim->packed) {
			bool lap = queue->lap ^ (head + i >= queue->size);

			flags = (lap ? DESC_AVAIL : DESC_USED) | (indirect ? DESC_INDIRECT : 0);
		}
		last = i + 1 == entries;
		next = last ? slot : (slot + 1) % queue->size;
		word = describe(victim, where, i >= readable, last && !loop, victim->packed ? id : next, flags);
		if (indirect) {
			u64 here = address(table, 16 * count);

			put(where, here);
			put(where + 4, here >> 32);
			put(where + 8, lies() ? lie(16 * count) : 16 * count);
			word = victim->packed ? id | (flags | DESC_INDIRECT) << 16 : DESC_INDIRECT;
		}
		/* What shows it comes last. */
		wmb();
		put(where + 12, word);
	}
	if (victim->packed) {
		queue->lap ^= head + entries >= queue->size;
		queue->next = (head + entries) % queue->size;
	} else {
		u32 area = queue->at + DRIVER_AREA;
		u16 index = get(area) >> 16;

		put16(area + 4 + 2 * (index % queue->size), id);
		/* The entry, then the index. */
		wmb();
		put16(area + 2, lies() ? lie(index + 1) : index + 1);
		queue->next += entries;
		/* What has come back, unless that was overwritten. */
		index = get(queue->at + DEVICE_AREA) >> 16;
		if ((u16)(index - queue->seen) <= queue->size)
			at.used += (u16)(index - queue->seen);
		queue->seen = index;
	}
	at.chains++;
	where = victim->window + HVL_WINDOW_NOTIFY + HVL_WINDOW_NOTIFY_SLOT * (queue - victim->queue);
	put(where + 4, lies() ? lie(queue - victim->queue) : queue - victim->queue);
	put(where, get(where) + 1);
	count_notify(victim);
}

/*
 * The same. One lie gives a device up until its reset: most chains are without, but for one word at most; and sometimes the
 * device is set up anew.
 */
static void post(struct victim *victim)
{
	u32 before = at.lies, table = some_queue(victim)->at + (below(2) ? TABLES : 0);

	if (below(12) == 0) {
		at.lies = 0;
		bring_up(victim);
		at.lies = before;
	}
	if (below(6))
		at.lies = 0;
	make(victim);
	if (!at.lies && below(4) == 0)
		overwrite(table + 4 * below(4 * 70));
	at.lies = before;
}

static void any_word(void)
{
	struct victim *victim = some_device();

	switch (below(6)) {
	case 0:
		return overwrite(HVL_LINK_DRIVER_VERSION + 4 * below(16));
	case 1:
		return overwrite(below(2) ? HVL_LINK_DEVICE_NOTIFIES + 4 * below(32) : HVL_LINK_VECTOR_TABLE + 4 * below(256));
	case 2:
		return overwrite(victim->window + HVL_WINDOW_TXN_SEQ + 4 * below(80));
	case 3:
		return overwrite(victim->window + (below(2) ? HVL_WINDOW_QUEUE_DOORBELLS + 4 * below(144) :
							       HVL_WINDOW_QUEUE_VECTORS + 4 * below(64)));
	case 4: /* where the rings are */
		return overwrite(at.pool + 4 * below((at.buffers - at.pool) / 4));
	default:
		return overwrite(at.pool + 4 * below((at.size - at.pool) / 4));
	}
}

static void header(void)
{
	static const u32 words[] = {
		HVL_LINK_DRIVER_VERSION, HVL_LINK_DRIVER_EPOCH, HVL_LINK_EPOCH_ACK, HVL_LINK_DRIVER_STATE,
		HVL_LINK_TEST_REQUEST, HVL_LINK_VECTOR_COUNT, HVL_LINK_RINGS_SEEN, HVL_LINK_DRIVER_FEATURES,
	};

	switch (below(4)) {
	case 0:
		return overwrite(HVL_LINK_VECTOR_TABLE + 4 * below(256));
	case 1:
		return overwrite(HVL_LINK_DEVICE_NOTIFIES + 4 * below(at.count + 1));
	default:
		return overwrite(words[below(ARRAY_SIZE(words))]);
	}
}

static void windows(void)
{
	static const u32 registers[] = {
		HVL_REG_STATUS, HVL_REG_QUEUE_SEL, HVL_REG_QUEUE_SIZE, HVL_REG_QUEUE_READY, HVL_REG_QUEUE_NOTIFY,
		HVL_REG_QUEUE_DESC_LOW, HVL_REG_QUEUE_DRIVER_HIGH, HVL_REG_QUEUE_DEVICE_LOW, HVL_REG_QUEUE_RESET,
		HVL_REG_DRIVER_FEATURES, HVL_REG_DRIVER_FEATURES_SEL, HVL_REG_SHM_SEL, HVL_REG_INTERRUPT_ACK, HVL_WINDOW_CONFIG,
	};
	struct entry entries[HVL_TXN_MAX];
	u32 count = 1 + below(HVL_TXN_MAX), i;

	if (below(3))
		return overwrite(some_device()->window + HVL_WINDOW_TXN_SEQ + 4 * below(0x140 / 4));
	for (i = 0; i < count; i++) {
		entries[i].offset = registers[below(ARRAY_SIZE(registers))] + (below(4) ? 0 : 4 * below(64));
		entries[i].value = below(3) ? below(16) : lie((u32)at.peer_base + at.pool);
	}
	at.words += 3 * count;
	ask(some_device(), entries, count);
}

static void rings(void)
{
	struct victim *victim = some_device();
	struct queue *queue = some_queue(victim);
	u32 slot = below(queue->size);

	switch (below(8)) {
	case 0:
	case 1:
	case 2:
		return post(victim);
	case 3:
		return overwrite(queue->at + 16 * slot + 4 * below(4));
	case 4:
		return overwrite(queue->at + TABLES + 16 * below(70) + 4 * below(4));
	case 5:
		return overwrite(queue->at + DRIVER_AREA + slot / 2 * 4);
	case 6: /* indices, flags, event words */
		return overwrite(queue->at + DRIVER_AREA + (below(2) ? 0 : (4 + 2 * queue->size) / 4 * 4));
	default:
		return overwrite(queue->at + DEVICE_AREA + 4 * below(2 + 2 * queue->size));
	}
}

static void content(void)
{
	u32 before = at.lies;

	at.lies = 0;
	post(some_device());
	at.lies = before;
	overwrite(at.buffers + 4 * below(BUFFERS / 4));
}

/* Ways in which nearly every chain meets a device that was given up: now and then one that works, and goes on from there. */
static bool anew(enum strategy strategy)
{
	struct victim *victim = some_device();

	if ((strategy != RINGS && strategy != CONTENT) || below(16))
		return false;
	victim->up = false;
	deep(victim);
	return true;
}

void live(enum strategy strategy, u64 end)
{
	u32 i, burst;

	at.lives++;
	if (strategy == ALL)
		strategy = 1 + below(STRATEGIES - 1);
	at.lies = 0;
	attach();
	at.lies = ONE_OF(0, 0, 1, 2, 5, 20);
	for (i = 0; i < at.count; i++)
		if (below(4))
			bring_up(&at.victim[i]);
	at.lies = 1u << below(6);
	end = min(end, at.words + 64 + below(LIFE));
	while (at.words < end && !signal_pending(current)) {
		for (burst = 1 + below(1u << below(7)); burst && at.words < end; burst--) {
			if (anew(strategy))
				continue;
			switch (strategy) {
			case UNIFORM:
				any_word();
				break;
			case HEADER:
				header();
				break;
			case WINDOWS:
				windows();
				break;
			case CONTENT:
				content();
				break;
			case DEEP:
				deep(some_device());
				break;
			case STORM:
				ring();
				at.words++;
				if (below(64) == 0)
					rings();
				break;
			default:
				rings();
			}
		}
		if (below(8))
			ring();
		udelay(below(60));
		cond_resched();
	}
}
