// SPDX-License-Identifier: GPL-2.0
/*
 * hvl_overlay: apply device-tree overlays to the running kernel, and remove them;
 * give a peer a buffer that it must not touch.
 *
 * For tests only: it lets them present drivers with good and bad nodes without
 * a reboot, and peers with what no driver of virtio_hvl's ever hands out. In
 * debugfs, hvl_overlay/
 *
 *   apply    write a file name: absolute, or relative to the firmware directories
 *   applied  read: "<id> <file name>", one a line, the latest last
 *   remove   write an id, or "all"; what was applied later has to go first
 *   stray    write an address: a virtio-vsock device that has no driver is given
 *            64 bytes there as a packet to send. The device is kept until the next
 *            write; "none" only lets go of it
 *
 * A write fails with the error of what it asks for. What is left when the module
 * is unloaded is removed, the latest first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/firmware.h>
#include <linux/kernel_read_file.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/vmalloc.h>

#define MAX_OVERLAY_SIZE	SZ_64K
#define STRAY_LEN		64

struct applied {
	struct list_head list;
	int id;
	char name[];
};

static DEFINE_MUTEX(lock);
/* The latest is first, which is the order of removal. */
static LIST_HEAD(overlays);
static struct platform_device *pdev;
static struct dentry *dir;

/* The stray buffer: its address, and the device that has it. */
static u64 stray_address;
static struct virtio_device *stray_vdev;
static bool stray_registered;

static int apply_blob(const char *name, const void *blob, size_t size)
{
	struct applied *new;
	int ret;

	new = kzalloc(struct_size(new, name, strlen(name) + 1), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	strscpy(new->name, name, strlen(name) + 1);

	ret = of_overlay_fdt_apply(blob, size, &new->id, NULL);
	if (ret) {
		pr_err("%s cannot be applied: %d\n", name, ret);
		/* What it has applied in part is ours to remove. */
		if (new->id)
			of_overlay_remove(&new->id);
		kfree(new);
		return ret;
	}
	list_add(&new->list, &overlays);
	return 0;
}

static int apply(const char *name)
{
	const struct firmware *fw;
	void *blob = NULL;
	ssize_t size;
	int ret;

	if (name[0] == '/') {
		size = kernel_read_file_from_path(name, 0, &blob, MAX_OVERLAY_SIZE,
						  NULL, READING_FIRMWARE);
		if (size < 0)
			return size;
		ret = apply_blob(name, blob, size);
		vfree(blob);
		return ret;
	}

	ret = request_firmware(&fw, name, &pdev->dev);
	if (ret)
		return ret;
	ret = apply_blob(name, fw->data, fw->size);
	release_firmware(fw);
	return ret;
}

static int remove(struct applied *overlay)
{
	int ret = of_overlay_remove(&overlay->id);

	if (ret) {
		pr_err("%s cannot be removed: %d\n", overlay->name, ret);
		return ret;
	}
	list_del(&overlay->list);
	kfree(overlay);
	return 0;
}

static int remove_all(void)
{
	struct applied *overlay, *next;
	int ret;

	list_for_each_entry_safe(overlay, next, &overlays, list) {
		ret = remove(overlay);
		if (ret)
			return ret;
	}
	return 0;
}

static int remove_id(int id)
{
	struct applied *overlay;

	list_for_each_entry(overlay, &overlays, list)
		if (overlay->id == id)
			return remove(overlay);
	return -ENOENT;
}

/* The word that was written, to be freed. */
static char *word_from_user(const char __user *buf, size_t count)
{
	char *word, *trimmed;

	if (count > PATH_MAX)
		return ERR_PTR(-ENAMETOOLONG);
	word = memdup_user_nul(buf, count);
	if (!IS_ERR(word)) {
		trimmed = strim(word);
		memmove(word, trimmed, strlen(trimmed) + 1);
	}
	return word;
}

static ssize_t apply_write(struct file *file, const char __user *buf, size_t count,
			   loff_t *pos)
{
	char *name = word_from_user(buf, count);
	int ret;

	if (IS_ERR(name))
		return PTR_ERR(name);
	mutex_lock(&lock);
	ret = apply(name);
	mutex_unlock(&lock);
	kfree(name);
	return ret ?: count;
}

static ssize_t remove_write(struct file *file, const char __user *buf, size_t count,
			    loff_t *pos)
{
	char *word = word_from_user(buf, count);
	int id, ret;

	if (IS_ERR(word))
		return PTR_ERR(word);
	mutex_lock(&lock);
	if (!strcmp(word, "all"))
		ret = remove_all();
	else
		ret = kstrtoint(word, 0, &id) ?: remove_id(id);
	mutex_unlock(&lock);
	kfree(word);
	return ret ?: count;
}

static int applied_show(struct seq_file *seq, void *unused)
{
	struct applied *overlay;

	mutex_lock(&lock);
	list_for_each_entry_reverse(overlay, &overlays, list)
		seq_printf(seq, "%d %s\n", overlay->id, overlay->name);
	mutex_unlock(&lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(applied);

static int stray_probe(struct virtio_device *vdev)
{
	struct virtqueue_info info[] = { { "rx" }, { "tx" } };
	struct virtqueue *vqs[ARRAY_SIZE(info)];
	struct scatterlist sg;
	int ret;

	if (stray_vdev)
		return -EBUSY;

	ret = virtio_find_vqs(vdev, ARRAY_SIZE(vqs), vqs, info, NULL);
	if (ret)
		return ret;
	virtio_device_ready(vdev);

	/* Mapped already, it says: so that the address stays what it is. */
	sg_init_table(&sg, 1);
	sg_dma_address(&sg) = stray_address;
	sg_dma_len(&sg) = STRAY_LEN;
	ret = virtqueue_add_outbuf_premapped(vqs[1], &sg, 1, &stray_address, GFP_KERNEL);
	if (ret) {
		virtio_reset_device(vdev);
		vdev->config->del_vqs(vdev);
		return ret;
	}
	virtqueue_kick(vqs[1]);
	stray_vdev = vdev;
	return 0;
}

static void stray_remove(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	stray_vdev = NULL;
}

static const struct virtio_device_id stray_ids[] = {
	{ VIRTIO_ID_VSOCK, VIRTIO_DEV_ANY_ID },
	{ },
};

static struct virtio_driver stray_driver = {
	.driver.name	= "hvl_stray",
	.id_table	= stray_ids,
	.probe		= stray_probe,
	.remove		= stray_remove,
};

static void stray_end(void)
{
	if (stray_registered)
		unregister_virtio_driver(&stray_driver);
	stray_registered = false;
}

static int stray(const char *word)
{
	int ret;

	stray_end();
	if (!strcmp(word, "none"))
		return 0;
	ret = kstrtou64(word, 0, &stray_address);
	if (ret)
		return ret;

	ret = register_virtio_driver(&stray_driver);
	if (ret)
		return ret;
	stray_registered = true;
	return stray_vdev ? 0 : -ENODEV;
}

static ssize_t stray_write(struct file *file, const char __user *buf, size_t count,
			   loff_t *pos)
{
	char *word = word_from_user(buf, count);
	int ret;

	if (IS_ERR(word))
		return PTR_ERR(word);
	mutex_lock(&lock);
	ret = stray(word);
	mutex_unlock(&lock);
	kfree(word);
	return ret ?: count;
}

static const struct file_operations apply_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = apply_write,
	.llseek = noop_llseek,
};

static const struct file_operations remove_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = remove_write,
	.llseek = noop_llseek,
};

static const struct file_operations stray_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = stray_write,
	.llseek = noop_llseek,
};

static int __init hvl_overlay_init(void)
{
	pdev = platform_device_register_simple(KBUILD_MODNAME, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);

	dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("apply", 0200, dir, NULL, &apply_fops);
	debugfs_create_file("applied", 0400, dir, NULL, &applied_fops);
	debugfs_create_file("remove", 0200, dir, NULL, &remove_fops);
	debugfs_create_file("stray", 0200, dir, NULL, &stray_fops);
	return 0;
}

static void __exit hvl_overlay_exit(void)
{
	debugfs_remove(dir);
	mutex_lock(&lock);
	stray_end();
	remove_all();
	mutex_unlock(&lock);
	platform_device_unregister(pdev);
}

module_init(hvl_overlay_init);
module_exit(hvl_overlay_exit);

MODULE_DESCRIPTION("Overlays at run time and stray buffers, for tests");
MODULE_LICENSE("GPL");
