// SPDX-License-Identifier: GPL-2.0
/*
 * What virtio_hvl needs of the kernel that is a macro or an inline function, or
 * that the kernel crate does less well.
 */
#include <asm/barrier.h>

#include "virtio_hvl.h"

/* A parameter of a Rust module cannot be seen in /sys/module. */
static unsigned int timeout_ms = 1000;
module_param(timeout_ms, uint, 0444);
MODULE_PARM_DESC(timeout_ms,
		 "Deadline for each answer of a peer in milliseconds, 10 to 60000 (default 1000); a link's node may say otherwise");

unsigned int hvl_timeout_ms(void)
{
	return timeout_ms;
}

/*
 * The reference keeps the task valid for hvl_thread_stop() even when the
 * thread's function has returned by then.
 */
struct task_struct *hvl_thread_run(int (*entry)(void *data), void *data,
				   const char *name)
{
	struct task_struct *task = kthread_create(entry, data, "%s", name);

	if (!IS_ERR(task)) {
		get_task_struct(task);
		wake_up_process(task);
	}
	return task;
}

int hvl_thread_stop(struct task_struct *task)
{
	return kthread_stop_put(task);
}

void hvl_bh_disable(void)
{
	local_bh_disable();
}

void hvl_bh_enable(void)
{
	local_bh_enable();
}

/* As reinit_completion(), but it may be signalled at the same time. */
void hvl_clear_completion(struct completion *completion)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&completion->wait.lock, flags);
	completion->done = 0;
	raw_spin_unlock_irqrestore(&completion->wait.lock, flags);
}

/*
 * As wait_for_completion_timeout(), but for the count: for a thread that looks
 * around every now and then, and is told to do so sooner. Idle, and not
 * interruptible: kthread_stop() leaves a signal pending, with which the thread
 * would not sleep any more while it puts things away.
 */
void hvl_wait_completion_idle(struct completion *completion, unsigned long ticks)
{
	DECLARE_SWAITQUEUE(wait);

	prepare_to_swait_exclusive(&completion->wait, &wait, TASK_IDLE);
	if (!READ_ONCE(completion->done))
		schedule_timeout(ticks);
	finish_swait(&completion->wait, &wait);
}

/* The same, of a time that is shorter than a tick. */
void hvl_wait_completion_us(struct completion *completion, unsigned int us,
			    unsigned int slack_us)
{
	ktime_t end = us_to_ktime(us);
	DECLARE_SWAITQUEUE(wait);

	prepare_to_swait_exclusive(&completion->wait, &wait, TASK_IDLE);
	if (!READ_ONCE(completion->done))
		schedule_hrtimeout_range(&end, (u64)slack_us * NSEC_PER_USEC,
					 HRTIMER_MODE_REL);
	finish_swait(&completion->wait, &wait);
}

void *hvl_page_address(struct page *page)
{
	return page_address(page);
}

/*
 * Drivers that allocate by the DMA API of their device's parent get memory that
 * only this side looks at: what goes to the peer is copied. So any will do, as the
 * caches have it.
 */
void hvl_private_dma(struct device *dev)
{
	dev->coherent_dma_mask = DMA_BIT_MASK(64);
	dev_set_dma_coherent(dev);
}

/*
 * memcpy() and memset() that Rust cannot see into: in C they may be used on
 * memory that somebody else writes at the same time, as for any device.
 */
void hvl_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

void hvl_clear(void *to, size_t len)
{
	memset(to, 0, len);
}

dma_addr_t hvl_dma_map(struct device *dev, void *base, size_t len,
		       enum dma_data_direction direction, unsigned long attrs)
{
	return dma_map_single_attrs(dev, base, len, direction, attrs);
}

bool hvl_dma_needs_sync(struct device *dev)
{
	return dma_dev_need_sync(dev);
}

bool hvl_dma_is_coherent(struct device *dev)
{
	return device_get_dma_attr(dev) == DEV_DMA_COHERENT;
}

/* kernel::device::property gives no access to the node that a phandle means. */
unsigned int hvl_memory_region(const struct device_node *node)
{
	struct device_node *region = of_parse_phandle(node, "memory-region", 0);
	unsigned int what = 0;

	if (!region)
		return 0;
	what |= HVL_REGION_VALID;
	if (of_device_is_compatible(region, "virtio-hvl,region"))
		what |= HVL_REGION_COMPATIBLE;
	if (of_property_read_bool(region, "no-map"))
		what |= HVL_REGION_NO_MAP;
	of_node_put(region);
	return what;
}

/*
 * How many interrupts a node has; -EINVAL if its property has more cells than
 * those take, so that the rest cannot be made out.
 */
int hvl_interrupts(struct device_node *node)
{
	struct of_phandle_args args;
	int count, cells = 0, all;

	for (count = 0; of_irq_parse_one(node, count, &args) == 0; count++) {
		of_node_put(args.np);
		cells += args.args_count;
	}
	all = of_property_count_u32_elems(node, "interrupts");
	if (!of_property_present(node, "interrupts-extended") && cells != all)
		return -EINVAL;
	return count;
}

int hvl_interrupt_names(const struct device_node *node)
{
	return of_property_count_strings(node, "interrupt-names");
}

/* Without a mask: what was said of the interrupt's CPUs holds no more. */
int hvl_irq_set_affinity(unsigned int irq, const struct cpumask *mask)
{
	if (!mask)
		return irq_update_affinity_hint(irq, NULL);
	return irq_set_affinity_and_hint(irq, mask);
}

/* The message that raises a platform MSI, which is known while it is requested. */
bool hvl_irq_message(unsigned int irq, u64 *address, u32 *data)
{
	struct msi_desc *desc = irq_get_msi_desc(irq);

	if (!desc)
		return false;
	*address = desc->msg.address_lo | (u64)desc->msg.address_hi << 32;
	*data = desc->msg.data;
	return true;
}

static void hvl_write_msi_msg(struct msi_desc *desc, struct msi_msg *msg)
{
	desc->msg = *msg;
}

/*
 * On failure there are none. What msi-parent names may be no controller of such
 * interrupts; and of a device without a domain of its own (-ENODEV) there is
 * nothing to free, which the kernel does not check.
 */
int hvl_msi_alloc(struct device *dev, unsigned int count)
{
	int err;

	if (!dev->msi.domain || !irq_domain_is_msi_parent(dev->msi.domain))
		return -EINVAL;
	err = platform_device_msi_init_and_alloc_irqs(dev, count,
						      hvl_write_msi_msg);
	if (err && err != -ENODEV)
		platform_device_msi_free_irqs_all(dev);
	return err;
}

unsigned int hvl_msi_irq(struct device *dev, unsigned int index)
{
	return msi_get_virq(dev, index);
}

void hvl_msi_free(struct device *dev)
{
	platform_device_msi_free_irqs_all(dev);
}

#ifdef HVL_BEFORE_7_3
/* How many locks keep interrupts off on this CPU, and what they were before. */
struct hvl_off {
	unsigned long flags;
	unsigned int locks;
};

static DEFINE_PER_CPU(struct hvl_off, hvl_off);

/*
 * What a spinlock of ours takes interrupts off by. They are counted, since the
 * guards of two locks may be dropped in any order, and flags that each kept for
 * itself would have to be restored in the order of the locks. On PREEMPT_RT
 * spinlocks leave interrupts on.
 */
void hvl_interrupts_off(void)
{
	unsigned long flags;

	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return;
	local_irq_save(flags);
	/* Lets hvl_interrupts_on() see who was woken meanwhile. */
	preempt_disable();
	if (__this_cpu_inc_return(hvl_off.locks) == 1)
		__this_cpu_write(hvl_off.flags, flags);
}

/* The lock is given back. */
void hvl_interrupts_on(void)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		return;
	if (!__this_cpu_dec_return(hvl_off.locks))
		local_irq_restore(__this_cpu_read(hvl_off.flags));
	preempt_enable();
}

void hvl_mb(void)
{
	/* Which pairs with what is known where it is used. */
	mb();
}

void hvl_rmb(void)
{
	/* Which pairs with what is known where it is used. */
	rmb();
}

void hvl_wmb(void)
{
	/* Which pairs with what is known where it is used. */
	wmb();
}

void hvl_dma_mb(void)
{
	dma_mb();
}

void hvl_dma_rmb(void)
{
	dma_rmb();
}

void hvl_dma_wmb(void)
{
	dma_wmb();
}
#endif
