// SPDX-License-Identifier: GPL-2.0
/*
 * A network device that offers features without the control queue that they need, and does nothing.
 * Parameter "bit": VIRTIO_NET_F_DEVICE_STATS is 50, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS 2, which comes with
 * offloads that it would switch; 64: only what a device may offer.
 */
#include <linux/module.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <uapi/linux/virtio_ids.h>
#include <uapi/linux/virtio_net.h>

static int bit = 50;
module_param(bit, int, 0444);

static struct device *parent;
static u8 status;

static void get(struct virtio_device *vdev, unsigned int offset, void *buf, unsigned int len)
{
	memset(buf, 0, len);
}

static u8 get_status(struct virtio_device *vdev)
{
	return status;
}

static void set_status(struct virtio_device *vdev, u8 now)
{
	status = now;
}

static void reset(struct virtio_device *vdev)
{
	status = 0;
}

static u64 get_features(struct virtio_device *vdev)
{
	u64 features = BIT_ULL(VIRTIO_F_VERSION_1);

	if (bit < 64)
		features |= BIT_ULL(bit);
	if (bit == VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
		features |= BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4);
	return features;
}

static int finalize_features(struct virtio_device *vdev)
{
	return 0;
}

static bool notify(struct virtqueue *vq)
{
	return true;
}

static void del_vqs(struct virtio_device *vdev)
{
	struct virtqueue *vq, *next;

	list_for_each_entry_safe(vq, next, &vdev->vqs, list)
		vring_del_virtqueue(vq);
}

static int find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[],
		    struct virtqueue_info infos[], struct irq_affinity *desc)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		vqs[i] = vring_create_virtqueue(i, 64, 64, vdev, true, true, infos[i].ctx, notify,
						infos[i].callback, infos[i].name);
		if (!vqs[i]) {
			del_vqs(vdev);
			return -ENOMEM;
		}
	}
	return 0;
}

static const struct virtio_config_ops ops = {
	.get = get,
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.find_vqs = find_vqs,
	.del_vqs = del_vqs,
	.get_features = get_features,
	.finalize_features = finalize_features,
};

static void release(struct device *dev)
{
}

static struct virtio_device device = {
	.id = { .device = VIRTIO_ID_NET, .vendor = 1 },
	.config = &ops,
	.dev = { .release = release },
};

static int __init start(void)
{
	int ret;

	parent = root_device_register("net_test");
	if (IS_ERR(parent))
		return PTR_ERR(parent);
	device.dev.parent = parent;
	ret = register_virtio_device(&device);
	if (ret) {
		put_device(&device.dev);
		root_device_unregister(parent);
		return ret;
	}
	pr_info("net_test: %d: the driver is %s\n", bit, device.dev.driver ? "bound" : "not bound");
	return 0;
}
module_init(start);

static void __exit end(void)
{
	unregister_virtio_device(&device);
	root_device_unregister(parent);
}
module_exit(end);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a network device with features that contradict each other");
