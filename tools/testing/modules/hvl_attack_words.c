// SPDX-License-Identifier: GPL-2.0
/* hvl_attack: numbers, words of the region, and what a driver does before it uses its devices. */
#include "hvl_attack.h"

/* Numbers that look random (xorshift64*). */
u32 noise(void)
{
	at.noise ^= at.noise >> 12;
	at.noise ^= at.noise << 25;
	at.noise ^= at.noise >> 27;
	return (at.noise * 0x2545f4914f6cdd1dull) >> 32;
}

u32 below(u32 end)
{
	return end ? noise() % end : 0;
}

bool lies(void)
{
	return below(100) < at.lies;
}

u32 get(u32 offset)
{
	return offset <= at.size - 4 ? le32_to_cpu(READ_ONCE(*(__le32 *)(at.base + offset))) : 0;
}

void put(u32 offset, u32 value)
{
	if (offset <= at.size - 4 && !(offset % 4))
		WRITE_ONCE(*(__le32 *)(at.base + offset), cpu_to_le32(value));
}

void put16(u32 offset, u16 value)
{
	if (offset <= at.size - 2 && !(offset % 2))
		WRITE_ONCE(*(__le16 *)(at.base + offset), cpu_to_le16(value));
}

void ring(void)
{
	at.rings++;
	/* The words before it. */
	wmb();
	writel_relaxed(at.bell_value, at.bell);
}

/* What stands where "old" should. */
u32 lie(u32 old)
{
	switch (below(10)) {
	case 0:
	case 1:
		return old ^ 1u << below(32);
	case 2:
		return old + 1;
	case 3:
		return old - 1;
	case 4:
		return 0;
	case 5:
		return U32_MAX;
	case 6:
		return below(0x120);
	case 7:
		return (u32)at.peer_base + below(at.size);
	case 8:
		return old + (1u << below(17));
	default:
		return noise();
	}
}

void overwrite(u32 offset)
{
	at.words++;
	put(offset, lie(get(offset)));
}

void count_notify(const struct victim *victim)
{
	u32 offset = HVL_LINK_DEVICE_NOTIFIES + 4 * (victim - at.victim);

	put(offset, get(offset) + 1);
}

/* Register writes, which are waited for if they are to be. */
bool ask(struct victim *victim, const struct entry *entries, u32 count)
{
	u32 window = victim->window, seq = get(window + HVL_WINDOW_TXN_SEQ) + 1, i;

	for (i = 0; i < count; i++) {
		u32 entry = window + HVL_WINDOW_TXN_ENTRIES + i * HVL_WINDOW_TXN_ENTRY;

		put(entry, lies() ? lie(entries[i].offset) : entries[i].offset);
		put(entry + 4, lies() ? lie(4) : 4);
		put(entry + 8, lies() ? lie(entries[i].value) : entries[i].value);
	}
	put(window + HVL_WINDOW_TXN_COUNT, lies() ? lie(count) : count);
	put(window + HVL_WINDOW_TXN_EPOCH, lies() ? lie(get(HVL_LINK_EPOCH)) : get(HVL_LINK_EPOCH));
	/* The sequence number shows the rest. */
	wmb();
	put(window + HVL_WINDOW_TXN_SEQ, seq);
	count_notify(victim);
	ring();
	at.asked++;
	for (i = 0; i < PATIENCE / 10; i++) {
		if (get(window + HVL_WINDOW_DONE_SEQ) == seq) {
			at.answered++;
			return get(window + HVL_WINDOW_DONE_STATUS) == HVL_DONE_OK;
		}
		/* Whoever does not wait asks for the next thing before this one is answered. */
		if (lies())
			return true;
		udelay(10);
	}
	return false;
}

u64 address(u32 offset, u32 len)
{
	u64 here = at.peer_base + offset;

	if (!lies())
		return here;
	switch (below(8)) {
	case 0: /* before the pool, or over its beginning */
		return at.peer_base + below(at.pool + 16);
	case 1: /* over its end */
		return at.peer_base + at.size - below(len + 16);
	case 2: /* around the end of all addresses */
		return U64_MAX - below(64);
	case 3: /* the firmware, or the memory between it and the region */
		return at.peer_base - 1 - below(SZ_32M);
	case 4: /* memory of Linux's */
		return 0x40000000ull + (u64)below(SZ_512M);
	case 5: /* of another queue */
		return at.peer_base + at.pool + below(at.buffers - at.pool) / 16 * 16;
	case 6:
		return here + (1ull << (32 + below(32)));
	default:
		return (u64)noise() << 32 | noise();
	}
}

/* Sets a device up as a driver does. */
void bring_up(struct victim *victim)
{
	const struct entry begin[] = {
		{ HVL_REG_STATUS, 0 }, { HVL_REG_STATUS, 1 }, { HVL_REG_STATUS, 3 }, { HVL_REG_DEVICE_FEATURES_SEL, 0 },
	};
	u64 features;
	u32 i, word, most;

	victim->up = false;
	ask(victim, begin, ARRAY_SIZE(begin));
	features = get(victim->window + HVL_REG_DEVICE_FEATURES);
	ask(victim, &(struct entry){ HVL_REG_DEVICE_FEATURES_SEL, 1 }, 1);
	features |= (u64)get(victim->window + HVL_REG_DEVICE_FEATURES) << 32;
	features &= ((u64)noise() << 32 | noise()) | HVL_F_MANDATORY | (below(2) ? 0 : U32_MAX);
	victim->features = features;
	victim->packed = features >> HVL_F_RING_PACKED & 1;
	for (word = 0; word < 2; word++) {
		const struct entry choose[] = {
			{ HVL_REG_DRIVER_FEATURES_SEL, word }, { HVL_REG_DRIVER_FEATURES, features >> 32 * word },
		};

		ask(victim, choose, ARRAY_SIZE(choose));
	}
	ask(victim, &(struct entry){ HVL_REG_STATUS, 11 }, 1);
	for (i = 0; i < min(victim->queues, QUEUES); i++) {
		struct queue *queue = &victim->queue[i];
		u64 desc, driver, area;

		ask(victim, &(struct entry){ HVL_REG_QUEUE_SEL, i }, 1);
		most = clamp(get(victim->window + HVL_REG_QUEUE_SIZE_MAX), 1u, SIZE_MAX_QUEUE);
		queue->size = lies() ? lie(256) : victim->packed ? 1 + below(most) : 1u << below(fls(most));
		queue->next = queue->seen = queue->shown = queue->taken = queue->tail = queue->held = 0;
		queue->lap = queue->tail_lap = true;
		memset(queue->span, 0, sizeof(queue->span));
		memset(at.base + queue->at, 0, QUEUE_BYTES);
		desc = address(queue->at, 16 * SIZE_MAX_QUEUE);
		driver = address(queue->at + DRIVER_AREA, 6 + 2 * SIZE_MAX_QUEUE);
		area = address(queue->at + DEVICE_AREA, 6 + 8 * SIZE_MAX_QUEUE);
		{
			const struct entry make[] = {
				{ HVL_REG_QUEUE_SIZE, queue->size },
				{ HVL_REG_QUEUE_DESC_LOW, desc }, { HVL_REG_QUEUE_DESC_HIGH, desc >> 32 },
				{ HVL_REG_QUEUE_DRIVER_LOW, driver }, { HVL_REG_QUEUE_DRIVER_HIGH, driver >> 32 },
				{ HVL_REG_QUEUE_DEVICE_LOW, area }, { HVL_REG_QUEUE_DEVICE_HIGH, area >> 32 },
				{ HVL_REG_QUEUE_READY, 1 },
			};

			ask(victim, make, ARRAY_SIZE(make));
		}
		queue->size = clamp(queue->size, 1u, SIZE_MAX_QUEUE);
	}
	victim->up = ask(victim, &(struct entry){ HVL_REG_STATUS, 15 }, 1) &&
		     get(victim->window + HVL_REG_STATUS) == 15;
	at.ready += victim->up;
}

void attach(void)
{
	at.epoch = at.epoch % 0xffff + 1;
	put(HVL_LINK_DRIVER_STATE, HVL_DRIVER_ABSENT);
	put(HVL_LINK_DRIVER_VERSION, HVL_VERSION);
	put(HVL_LINK_DRIVER_FEATURES, below(2) ? HVL_FEATURE_NOTIFY : noise() & 7);
	put(HVL_LINK_EPOCH_ACK, get(HVL_LINK_EPOCH));
	put(HVL_LINK_DRIVER_EPOCH, at.epoch);
	/* All of that is there when the state says so. */
	wmb();
	put(HVL_LINK_DRIVER_STATE, HVL_DRIVER_ATTACHED);
	ring();
	usleep_range(200, 400);
}
