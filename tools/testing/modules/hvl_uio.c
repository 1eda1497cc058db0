// SPDX-License-Identifier: GPL-2.0
/*
 * hvl_uio: an interrupt for a program to wait for, with nothing in between.
 *
 * For tests only: what uio_pdrv_genirq does, for an interrupt that comes on an edge. A
 * node "virtio-hvl,test-uio" with one interrupt is a /dev/uioN called "hvl_uio", whose
 * read() waits for it.
 */
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/uio_driver.h>

static irqreturn_t happened(int irq, struct uio_info *info)
{
	return IRQ_HANDLED;
}

static int hvl_uio_probe(struct platform_device *pdev)
{
	struct uio_info *info;
	int irq = platform_get_irq(pdev, 0);

	if (irq < 0)
		return irq;
	info = devm_kzalloc(&pdev->dev, sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;
	info->name = "hvl_uio";
	info->version = "1";
	info->irq = irq;
	info->handler = happened;
	return devm_uio_register_device(&pdev->dev, info);
}

static const struct of_device_id hvl_uio_of_match[] = {
	{ .compatible = "virtio-hvl,test-uio" },
	{ }
};
MODULE_DEVICE_TABLE(of, hvl_uio_of_match);

static struct platform_driver hvl_uio_driver = {
	.probe = hvl_uio_probe,
	.driver = {
		.name = "hvl_uio",
		.of_match_table = hvl_uio_of_match,
	},
};
module_platform_driver(hvl_uio_driver);

MODULE_DESCRIPTION("An interrupt for a program to wait for, for tests");
MODULE_LICENSE("GPL");
