// SPDX-License-Identifier: GPL-2.0
/*
 * hvl_bench: a driver for the peer's device for measurements, and what its figures are compared with.
 *
 * For the benchmark only. In debugfs, hvl_bench/run: what is written is done at once, and what is read is
 * the result of it, as that of tools/bench/load.c:
 *
 *   echo SIZE COUNT          a buffer there and back, one at a time: "rr COUNT MIN MEDIAN P99 MAX"
 *   sink SIZE COUNT          buffers to the device, as many at a time as the queue holds: "bulk BYTES TIME"
 *   source SIZE COUNT        and from it
 *   map to|from SIZE COUNT   a buffer is mapped for the link's device and unmapped: "each COUNT TIME"
 *   dma to|from SIZE COUNT   the same by the DMA API, for a device that bounces ("swiotlb=force")
 *   copy in|out|within|linux SIZE COUNT
 *                            memcpy into the region, out of it, inside of it, and of Linux's own memory
 *
 * Module parameter "spare": the address of SPARE_SIZE bytes of the region that the link does not use.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>

/* The device type of samples/peer/device/src/bench.rs. */
#define ID_BENCH	63
#define SIZE_MAX_BENCH	SZ_64K
#define COUNT_MAX	10000000
#define WARM		50
#define DEPTH		256
/* Bytes that are on the way at most. */
#define FLIGHT		SZ_4M
#define PATIENCE	(10 * HZ)
#define SPARE_SIZE	(2 * SIZE_MAX_BENCH)

enum { ECHO, SINK, SOURCE, QUEUES };

static unsigned long spare;
module_param(spare, ulong, 0444);
MODULE_PARM_DESC(spare, "address of 128 KiB of the region that the link does not use");

static DEFINE_MUTEX(lock);
static DECLARE_WAIT_QUEUE_HEAD(used);
/* The first device; more of them only show what devices cost. */
static struct virtio_device *bench;
static struct virtqueue *vqs[QUEUES];
static struct platform_device *pdev;
static struct dentry *dir;
static void *region;
static char result[128];

static void wake(struct virtqueue *vq)
{
	wake_up(&used);
}

/* The next buffer that the device has used. */
static void *take(struct virtqueue *vq)
{
	unsigned int len;
	void *buf;

	wait_event_timeout(used, (buf = virtqueue_get_buf(vq, &len)) || virtqueue_is_broken(vq), PATIENCE);
	return buf;
}

static int by_time(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

static int round_trip(struct virtqueue *vq, void *from, void *to, size_t size)
{
	struct scatterlist out, in, *both[] = { &out, &in };
	int ret;

	sg_init_one(&out, from, size);
	sg_init_one(&in, to, size);
	ret = virtqueue_add_sgs(vq, both, 1, 1, from, GFP_KERNEL);
	if (ret)
		return ret;
	virtqueue_kick(vq);
	return take(vq) ? 0 : -EIO;
}

static int do_echo(size_t size, size_t count)
{
	void *from = kzalloc(size, GFP_KERNEL), *to = kzalloc(size, GFP_KERNEL);
	u64 *times = kvcalloc(count, sizeof(*times), GFP_KERNEL);
	int ret = from && to && times ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; !ret && i < WARM + count; i++) {
		u64 begin = ktime_get_ns();

		ret = round_trip(vqs[ECHO], from, to, size);
		if (i >= WARM)
			times[i - WARM] = ktime_get_ns() - begin;
	}
	if (!ret) {
		sort(times, count, sizeof(*times), by_time, NULL);
		snprintf(result, sizeof(result), "rr %zu %llu %llu %llu %llu\n", WARM + count, times[0],
			 times[count / 2], times[count * 99 / 100], times[count - 1]);
	}
	kvfree(times);
	/* A device that has not answered may still write there. */
	if (ret != -EIO) {
		kfree(from);
		kfree(to);
	}
	return ret;
}

static int add(struct virtqueue *vq, void *buf, size_t size)
{
	struct scatterlist sg;

	sg_init_one(&sg, buf, size);
	return vq == vqs[SINK] ? virtqueue_add_outbuf(vq, &sg, 1, buf, GFP_KERNEL) :
				 virtqueue_add_inbuf(vq, &sg, 1, buf, GFP_KERNEL);
}

static int bulk(struct virtqueue *vq, size_t size, size_t count, void **idle, size_t depth)
{
	size_t left = count, away = 0;
	unsigned int len;
	void *buf;

	while (left || away) {
		bool added = false;

		while (left && away < depth && !add(vq, idle[depth - away - 1], size)) {
			away++;
			left--;
			added = true;
		}
		if (added)
			virtqueue_kick(vq);
		buf = take(vq);
		if (!buf)
			return -EIO;
		do {
			away--;
			idle[depth - away - 1] = buf;
			buf = virtqueue_get_buf(vq, &len);
		} while (buf);
	}
	return 0;
}

static int do_bulk(struct virtqueue *vq, size_t size, size_t count)
{
	size_t depth = min_t(size_t, virtqueue_get_vring_size(vq), DEPTH), i;
	void **idle = kcalloc(DEPTH, sizeof(*idle), GFP_KERNEL);
	int ret = idle ? 0 : -ENOMEM;
	u64 begin;

	depth = max_t(size_t, min_t(size_t, depth, FLIGHT / size), 1);
	for (i = 0; !ret && i < depth; i++) {
		idle[i] = kzalloc(size, GFP_KERNEL);
		if (!idle[i])
			ret = -ENOMEM;
	}
	begin = ktime_get_ns();
	if (!ret)
		ret = bulk(vq, size, count, idle, depth);
	if (!ret)
		snprintf(result, sizeof(result), "bulk %zu %llu\n", size * count, ktime_get_ns() - begin);
	for (i = 0; idle && ret != -EIO && i < depth; i++)
		kfree(idle[i]);
	kfree(idle);
	return ret;
}

static void said_each(size_t count, u64 begin)
{
	snprintf(result, sizeof(result), "each %zu %llu\n", count, ktime_get_ns() - begin);
}

static int do_map(enum dma_data_direction dir, size_t size, size_t count)
{
	struct virtqueue *vq = vqs[dir == DMA_TO_DEVICE ? SINK : SOURCE];
	void *buf = kzalloc(size, GFP_KERNEL);
	int ret = buf ? 0 : -ENOMEM;
	u64 begin = ktime_get_ns();
	size_t i;

	for (i = 0; !ret && i < count; i++) {
		dma_addr_t at = virtqueue_map_single_attrs(vq, buf, size, dir, 0);

		ret = virtqueue_map_mapping_error(vq, at);
		if (!ret)
			virtqueue_unmap_single_attrs(vq, at, size, dir, 0);
	}
	if (!ret)
		said_each(count, begin);
	kfree(buf);
	return ret;
}

static int do_dma(enum dma_data_direction dir, size_t size, size_t count)
{
	void *buf = kzalloc(size, GFP_KERNEL);
	int ret = buf ? 0 : -ENOMEM;
	u64 begin = ktime_get_ns();
	size_t i;

	for (i = 0; !ret && i < count; i++) {
		dma_addr_t at = dma_map_single(&pdev->dev, buf, size, dir);

		ret = dma_mapping_error(&pdev->dev, at);
		if (ret)
			break;
		if (at == virt_to_phys(buf))
			ret = -EOPNOTSUPP;
		dma_unmap_single(&pdev->dev, at, size, dir);
	}
	if (!ret)
		said_each(count, begin);
	else if (ret == -EOPNOTSUPP)
		pr_err("nothing bounces: boot with swiotlb=force\n");
	kfree(buf);
	return ret;
}

static int do_copy(const char *way, size_t size, size_t count)
{
	void *one = kzalloc(size, GFP_KERNEL), *two = kzalloc(size, GFP_KERNEL);
	void *from = one, *to = two;
	int ret = one && two ? 0 : -ENOMEM;
	u64 begin;
	size_t i;

	if (!strcmp(way, "in") || !strcmp(way, "within"))
		to = region;
	if (!strcmp(way, "out"))
		from = region;
	if (!strcmp(way, "within"))
		from = region + SIZE_MAX_BENCH;
	if (!ret && (!from || !to))
		ret = -ENODEV;
	begin = ktime_get_ns();
	for (i = 0; !ret && i < count; i++) {
		memcpy(to, from, size);
		/* None of the copies is one that nobody needs. */
		barrier();
	}
	if (!ret)
		said_each(count, begin);
	kfree(one);
	kfree(two);
	return ret;
}

static int do_run(const char *what, const char *way, size_t size, size_t count)
{
	enum dma_data_direction dir = strcmp(way, "from") ? DMA_TO_DEVICE : DMA_FROM_DEVICE;

	if (!size || size > SIZE_MAX_BENCH || !count || count > COUNT_MAX)
		return -EINVAL;
	if (!strcmp(what, "copy"))
		return do_copy(way, size, count);
	if (!strcmp(what, "dma"))
		return do_dma(dir, size, count);
	if (!bench)
		return -ENODEV;
	if (!strcmp(what, "map"))
		return do_map(dir, size, count);
	if (!strcmp(what, "echo"))
		return do_echo(size, count);
	if (!strcmp(what, "sink") || !strcmp(what, "source"))
		return do_bulk(vqs[what[1] == 'i' ? SINK : SOURCE], size, count);
	return -EINVAL;
}

static ssize_t run_write(struct file *file, const char __user *buf, size_t count, loff_t *ppos)
{
	char line[64], what[16], way[16] = "";
	size_t size, times;
	ssize_t ret;

	ret = simple_write_to_buffer(line, sizeof(line) - 1, ppos, buf, count);
	if (ret < 0)
		return ret;
	line[ret] = 0;
	if (sscanf(line, "%15s %zu %zu", what, &size, &times) != 3 &&
	    sscanf(line, "%15s %15s %zu %zu", what, way, &size, &times) != 4)
		return -EINVAL;
	mutex_lock(&lock);
	ret = do_run(what, way, size, times);
	mutex_unlock(&lock);
	return ret ?: count;
}

static ssize_t run_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	ssize_t ret;

	mutex_lock(&lock);
	ret = simple_read_from_buffer(buf, count, ppos, result, strlen(result));
	mutex_unlock(&lock);
	return ret;
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.write = run_write,
	.read = run_read,
};

static int bench_probe(struct virtio_device *vdev)
{
	struct virtqueue_info info[QUEUES] = {
		{ "echo", wake },
		{ "sink", wake },
		{ "source", wake },
	};
	struct virtqueue *found[QUEUES];
	int ret;

	ret = virtio_find_vqs(vdev, QUEUES, found, info, NULL);
	if (ret)
		return ret;
	virtio_device_ready(vdev);
	mutex_lock(&lock);
	if (!bench) {
		memcpy(vqs, found, sizeof(vqs));
		bench = vdev;
	}
	mutex_unlock(&lock);
	return 0;
}

static void bench_remove(struct virtio_device *vdev)
{
	mutex_lock(&lock);
	if (bench == vdev)
		bench = NULL;
	mutex_unlock(&lock);
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
}

static const struct virtio_device_id ids[] = {
	{ ID_BENCH, VIRTIO_DEV_ANY_ID },
	{}
};
MODULE_DEVICE_TABLE(virtio, ids);

static struct virtio_driver driver = {
	.driver.name = KBUILD_MODNAME,
	.id_table = ids,
	.probe = bench_probe,
	.remove = bench_remove,
};

static int __init bench_init(void)
{
	int ret;

	if (spare) {
		region = memremap(spare, SPARE_SIZE, MEMREMAP_WB);
		if (!region)
			return -EINVAL;
	}
	pdev = platform_device_register_simple(KBUILD_MODNAME, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev)) {
		ret = PTR_ERR(pdev);
		goto unmap;
	}
	ret = dma_coerce_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (ret)
		goto unregister;
	/* As the link's region is: the cost of cache maintenance is not that of bouncing. */
	dev_assign_dma_coherent(&pdev->dev, true);
	ret = register_virtio_driver(&driver);
	if (ret)
		goto unregister;
	dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("run", 0600, dir, NULL, &run_fops);
	return 0;

unregister:
	platform_device_unregister(pdev);
unmap:
	if (region)
		memunmap(region);
	return ret;
}

static void __exit bench_exit(void)
{
	debugfs_remove(dir);
	unregister_virtio_driver(&driver);
	platform_device_unregister(pdev);
	if (region)
		memunmap(region);
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_DESCRIPTION("Driver for the virtio-hvl sample peer's device for measurements");
MODULE_AUTHOR("virtio-hvl project");
MODULE_LICENSE("GPL");
