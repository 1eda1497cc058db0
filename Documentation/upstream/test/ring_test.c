// SPDX-License-Identifier: GPL-2.0
/*
 * The virtio core's ring against a device that changes NEXT flags in the descriptor table.
 *
 * It is built into Debian's kernel: so a copy of the file, with or without the patch, is compiled into
 * this module. Parameter "what": 0: nothing is changed; 1: a flag more, 2: a flag less; 3: NEXT everywhere.
 */
#include <linux/module.h>
#undef EXPORT_SYMBOL_GPL
#define EXPORT_SYMBOL_GPL(name)
#undef MODULE_LICENSE
#define MODULE_LICENSE(text)
#undef MODULE_DESCRIPTION
#define MODULE_DESCRIPTION(text)
#include "virtio_ring.c"
#undef MODULE_LICENSE
#define MODULE_LICENSE(text) MODULE_INFO(license, text)
#undef MODULE_DESCRIPTION
#define MODULE_DESCRIPTION(text) MODULE_INFO(description, text)

#define ENTRIES 8
#define PIECES 3
#define CHAINS 2

static int what;
module_param(what, int, 0444);

static struct virtio_device device;

static bool notify(struct virtqueue *vq)
{
	return true;
}

static int __init start(void)
{
	static char data[CHAINS][PIECES][64];
	struct scatterlist sg[PIECES];
	struct vring_desc *table;
	struct virtqueue *vq;
	unsigned int i, j, found = 0;
	void *pages;

	pages = kzalloc(PAGE_SIZE, GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	table = pages;
	device_initialize(&device.dev);
	INIT_LIST_HEAD(&device.vqs);
	spin_lock_init(&device.vqs_list_lock);
	__virtio_set_bit(&device, VIRTIO_F_VERSION_1);

	vq = vring_new_virtqueue(0, ENTRIES, 64, &device, true, false, pages, notify, NULL, "test");
	if (!vq)
		return -ENOMEM;
	for (i = 0; i < CHAINS; i++) {
		sg_init_table(sg, PIECES);
		for (j = 0; j < PIECES; j++)
			sg_set_buf(&sg[j], data[i][j], sizeof(data[i][j]));
		if (virtqueue_add_outbuf(vq, sg, PIECES, data[i], GFP_KERNEL))
			return -ENOSPC;
	}

	if (what == 1)
		table[PIECES - 1].flags |= cpu_to_le16(VRING_DESC_F_NEXT);
	if (what == 2)
		table[0].flags &= ~cpu_to_le16(VRING_DESC_F_NEXT);
	for (i = 0; what == 3 && i < ENTRIES; i++)
		table[i].flags |= cpu_to_le16(VRING_DESC_F_NEXT);

	/* What drivers do when they are unbound. */
	while (virtqueue_detach_unused_buf(vq))
		found++;
	pr_info("ring_test: %d: %u chains came back, %u of %u descriptors are free\n", what, found,
		vq->num_free, ENTRIES);
	vring_del_virtqueue(vq);
	kfree(pages);
	/* Not to be loaded: it has said what there is to say. */
	return found == CHAINS ? -EAGAIN : -EIO;
}
module_init(start);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("virtio_ring against a hostile device");
