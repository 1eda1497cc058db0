// SPDX-License-Identifier: GPL-2.0
/*
 * hvl_overlay: apply device-tree overlays to the running kernel, and remove them.
 *
 * For tests only: it lets them present drivers with good and bad nodes without
 * a reboot. In debugfs, hvl_overlay/
 *
 *   apply    write a file name: absolute, or relative to the firmware directories
 *   applied  read: "<id> <file name>", one a line, the latest last
 *   remove   write an id, or "all"; what was applied later has to go first
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
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#define MAX_OVERLAY_SIZE	SZ_64K

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

static int __init hvl_overlay_init(void)
{
	pdev = platform_device_register_simple(KBUILD_MODNAME, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev))
		return PTR_ERR(pdev);

	dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("apply", 0200, dir, NULL, &apply_fops);
	debugfs_create_file("applied", 0400, dir, NULL, &applied_fops);
	debugfs_create_file("remove", 0200, dir, NULL, &remove_fops);
	return 0;
}

static void __exit hvl_overlay_exit(void)
{
	debugfs_remove(dir);
	mutex_lock(&lock);
	remove_all();
	mutex_unlock(&lock);
	platform_device_unregister(pdev);
}

module_init(hvl_overlay_init);
module_exit(hvl_overlay_exit);

MODULE_DESCRIPTION("Applies device-tree overlays at run time, for tests");
MODULE_LICENSE("GPL");
