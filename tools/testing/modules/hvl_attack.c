// SPDX-License-Identifier: GPL-2.0
/*
 * hvl_attack: a Linux that attacks its peer. It takes the place of virtio_hvl at a link, and overwrites what Linux may
 * write to: its lines of the header and of the windows, and all of the pool.
 *
 * For tests only. In debugfs, hvl_attack/run: "SEED STRATEGY COUNT" overwrites so many words, and what is read is what came
 * of it: "words W lives L transactions T answered A ready D chains C used U lies L rings R". It lives many lives, each with an epoch of its own:
 * it attaches as it should, mostly, sets some devices up as a driver does, with a lie now and then, and then follows one
 * way of lying. What it writes comes from the seed; when, from what the peer does meanwhile.
 *
 *   all        one of the others in each life
 *   uniform    any word that Linux may write
 *   header     Linux's lines of the header: states, epochs, counters, vectors
 *   windows    transactions: wrong, early, twice, for other devices; notifications, vectors
 *   rings      descriptors, tables, indices, available ids, event words, while the peer walks them
 *   content    what devices are told in buffers
 *   deep       what an honest driver does, and one lie in it, now and then
 *   storm      the doorbell, without a pause
 *
 * hvl_attack/code: a checksum of the peer's code and constants, parameters "code" and "code_size". hvl_attack/canary: how many
 * words of memory of Linux's own, of which nobody was told, are not what they were.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/crc32.h>
#include <linux/debugfs.h>
#include <linux/ioport.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/platform_device.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "hvl_attack.h"

static char *link;
module_param(link, charp, 0444);
MODULE_PARM_DESC(link, "name of the link's platform device");

static unsigned long code, code_size;
module_param(code, ulong, 0444);
MODULE_PARM_DESC(code, "address of what the peer does not write: its code and constants");
module_param(code_size, ulong, 0444);
MODULE_PARM_DESC(code_size, "bytes of that");

/* Memory of Linux's own that is looked at. */
#define CANARY_SIZE	SZ_16M
#define CANARY(at)	(0x5a5a0000u ^ (u32)(at) * 2654435761u)

static const char *const names[] = { "all", "uniform", "header", "windows", "rings", "content", "deep", "storm" };

struct attack at;

static DEFINE_MUTEX(lock);
static struct dentry *dir;
static u32 *canary;
static char result[192];

static void begin(u32 seed)
{
	u32 i, j, next;

	at.noise = ((u64)seed + 1) * 0x9e3779b97f4a7c15ull | 1;
	at.words = at.lives = at.asked = at.answered = at.ready = at.chains = at.used = at.told = at.rings = 0;
	at.count = clamp(get(offsetof(struct hvl_link, device_count)), 1u, DEVICES);
	at.pool = get(offsetof(struct hvl_link, pool_offset));
	at.peer_base = get(offsetof(struct hvl_link, peer_base_low));
	at.peer_base |= (u64)get(offsetof(struct hvl_link, peer_base_high)) << 32;
	next = at.pool;
	for (i = 0; i < at.count; i++) {
		u32 entry = HVL_LINK_DEVICE_TABLE + i * HVL_LINK_DEVICE_ENTRY;

		at.victim[i].window = get(entry);
		at.victim[i].id = get(entry + 4);
		at.victim[i].queues = max(get(entry + 8), 1u);
		for (j = 0; j < QUEUES; j++, next += QUEUE_BYTES) {
			at.victim[i].queue[j].at = next;
			at.victim[i].queue[j].size = 1;
		}
	}
	at.buffers = next;
}

static int attack(u32 seed, const char *name, u32 count)
{
	int strategy = match_string(names, ARRAY_SIZE(names), name);

	if (strategy < 0 || !count || count > COUNT_MAX)
		return -EINVAL;
	if (get(0) != HVL_MAGIC || get(HVL_LINK_PEER_STATE) != HVL_PEER_READY)
		return -ENODEV;
	begin(seed);
	if (at.pool < HVL_PAGE || at.buffers < at.pool || at.buffers + BUFFERS > at.size)
		return -ENOSPC;
	while (at.words < count && !signal_pending(current))
		live(strategy, count);
	put(HVL_LINK_DRIVER_STATE, HVL_DRIVER_ABSENT);
	ring();
	snprintf(result, sizeof(result), "words %llu lives %llu transactions %llu answered %llu ready %llu chains %llu used %llu lies %llu rings %llu\n",
		 at.words, at.lives, at.asked, at.answered, at.ready, at.chains, at.used, at.told, at.rings);
	return signal_pending(current) ? -EINTR : 0;
}

static ssize_t run_write(struct file *file, const char __user *buf, size_t len, loff_t *ppos)
{
	char line[64], name[16];
	u32 seed, count;
	ssize_t ret;

	ret = simple_write_to_buffer(line, sizeof(line) - 1, ppos, buf, len);
	if (ret < 0)
		return ret;
	line[ret] = 0;
	if (sscanf(line, "%u %15s %u", &seed, name, &count) != 3)
		return -EINVAL;
	mutex_lock(&lock);
	ret = attack(seed, name, count);
	mutex_unlock(&lock);
	return ret ?: len;
}

static ssize_t run_read(struct file *file, char __user *buf, size_t len, loff_t *ppos)
{
	ssize_t ret;

	mutex_lock(&lock);
	ret = simple_read_from_buffer(buf, len, ppos, result, strlen(result));
	mutex_unlock(&lock);
	return ret;
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.write = run_write,
	.read = run_read,
};

static int code_get(void *data, u64 *value)
{
	void *memory = code_size ? memremap(code, code_size, MEMREMAP_WB) : NULL;

	if (!memory)
		return -ENODEV;
	*value = crc32_le(~0, memory, code_size);
	memunmap(memory);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(code_fops, code_get, NULL, "%llx\n");

static int canary_get(void *data, u64 *value)
{
	size_t i;

	*value = 0;
	for (i = 0; i < CANARY_SIZE / 4; i++)
		*value += READ_ONCE(canary[i]) != CANARY(i);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(canary_fops, canary_get, NULL, "%llu\n");

/* The link's region and its doorbell, by its node. */
static int find(void)
{
	struct device_node *node = NULL;
	struct device *dev;
	struct resource res;
	u64 bell = 0;
	int ret;

	dev = link ? bus_find_device_by_name(&platform_bus_type, NULL, link) : NULL;
	if (!dev)
		return -ENODEV;
	ret = dev->driver || !of_property_read_bool(dev->of_node, "dma-coherent") ? -EBUSY : 0;
	if (!ret)
		ret = of_property_read_u32(dev->of_node, "virtio-hvl,doorbell-value", &at.bell_value);
	if (!ret)
		ret = of_address_to_resource(dev->of_node, 0, &res);
	bell = res.start;
	if (!ret) {
		node = of_parse_phandle(dev->of_node, "memory-region", 0);
		ret = node ? of_address_to_resource(node, 0, &res) : -ENODEV;
	}
	of_node_put(node);
	put_device(dev);
	if (ret)
		return ret;
	at.size = min_t(u64, resource_size(&res), SZ_1G);
	at.base = memremap(res.start, at.size, MEMREMAP_WB);
	at.bell = ioremap(bell, 4);
	return at.base && at.bell ? 0 : -ENOMEM;
}

static void undo(void)
{
	vfree(canary);
	if (at.base)
		memunmap(at.base);
	if (at.bell)
		iounmap(at.bell);
}

static int __init attack_init(void)
{
	size_t i;
	int ret = find();

	canary = vmalloc(CANARY_SIZE);
	if (!ret && !canary)
		ret = -ENOMEM;
	if (ret) {
		undo();
		return ret;
	}
	for (i = 0; i < CANARY_SIZE / 4; i++)
		canary[i] = CANARY(i);
	dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("run", 0600, dir, NULL, &run_fops);
	debugfs_create_file("code", 0400, dir, NULL, &code_fops);
	debugfs_create_file("canary", 0400, dir, NULL, &canary_fops);
	return 0;
}

static void __exit attack_exit(void)
{
	debugfs_remove(dir);
	undo();
}

module_init(attack_init);
module_exit(attack_exit);
MODULE_DESCRIPTION("A Linux that attacks its virtio-hvl peer, for tests");
MODULE_AUTHOR("virtio-hvl project");
MODULE_LICENSE("GPL");
