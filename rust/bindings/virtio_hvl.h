/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What virtio_hvl needs of the kernel beyond kernel::bindings, and the
 * prototypes of its C helpers. virtio_hvl.allow says what is taken from here.
 */
#ifndef VIRTIO_HVL_BINDINGS_H
#define VIRTIO_HVL_BINDINGS_H

#include <linux/completion.h>
#include <linux/dma-mapping.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/kstrtox.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/msi.h>
#include <linux/of.h>
#include <linux/of_irq.h>
#include <linux/of_reserved_mem.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/property.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/swait.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

unsigned int hvl_timeout_ms(void);
struct task_struct *hvl_thread_run(int (*entry)(void *data), void *data,
				   const char *name);
int hvl_thread_stop(struct task_struct *task);
void hvl_bh_disable(void);
void hvl_bh_enable(void);
void hvl_clear_completion(struct completion *completion);
void hvl_wait_completion_idle(struct completion *completion, unsigned long ticks);
void hvl_wait_completion_us(struct completion *completion, unsigned int us,
			    unsigned int slack_us);
void *hvl_page_address(struct page *page);
void hvl_private_dma(struct device *dev);
void hvl_copy(void *to, const void *from, size_t len);
void hvl_clear(void *to, size_t len);
dma_addr_t hvl_dma_map(struct device *dev, void *base, size_t len,
		       enum dma_data_direction direction, unsigned long attrs);
bool hvl_dma_needs_sync(struct device *dev);
bool hvl_dma_is_coherent(struct device *dev);

/* What hvl_memory_region() says of a node's memory-region. */
#define HVL_REGION_VALID	1U	/* the phandle leads to a node */
#define HVL_REGION_COMPATIBLE	2U	/* which is meant for this driver */
#define HVL_REGION_NO_MAP	4U	/* and which Linux does not map itself */

unsigned int hvl_memory_region(const struct device_node *node);
int hvl_interrupts(struct device_node *node);
int hvl_interrupt_names(const struct device_node *node);
int hvl_irq_set_affinity(unsigned int irq, const struct cpumask *mask);
bool hvl_irq_message(unsigned int irq, u64 *address, u32 *data);
int hvl_msi_alloc(struct device *dev, unsigned int count);
unsigned int hvl_msi_irq(struct device *dev, unsigned int index);
void hvl_msi_free(struct device *dev);

/* What the kernel crate has since 7.3, see rust/sys/series.rs. */
#ifdef HVL_BEFORE_7_3
void hvl_interrupts_off(void);
void hvl_interrupts_on(void);
void hvl_mb(void);
void hvl_rmb(void);
void hvl_wmb(void);
void hvl_dma_mb(void);
void hvl_dma_rmb(void);
void hvl_dma_wmb(void);
#endif

#endif
