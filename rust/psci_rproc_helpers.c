// SPDX-License-Identifier: GPL-2.0
/*
 * What psci_rproc needs of the kernel that is a macro or an inline function, or
 * has no Rust abstraction: looking things up in the device tree.
 */
#include <linux/arm-smccc.h>
#include <linux/cleanup.h>
#include <linux/cpumask.h>
#include <linux/device.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/remoteproc.h>
#include <linux/spinlock.h>

#include <asm/barrier.h>
#include <asm/cpufeature.h>
#include <asm/sysreg.h>

#include "psci_rproc.h"

void psci_rproc_wmb(void)
{
	/* What was written to the memory is there before the core that reads it starts. */
	wmb();
}

/*
 * No function that does this is exported on all kernels: arch_invalidate_pmem()
 * does nothing without CONFIG_ARM64_PMEM, which is the user's choice.
 *
 * What is written back on the way is overwritten next. That it is not just
 * dropped, as IVAC would, is what a hypervisor would make of that anyway. What
 * the memory is mapped as here does not matter, only its physical address does.
 */
void psci_rproc_discard_caches(const void *va, size_t size)
{
	u64 ctr = read_sanitised_ftr_reg(SYS_CTR_EL0);
	size_t line = 4 << SYS_FIELD_GET(CTR_EL0, DminLine, ctr);
	const void *end = va + size;

	for (va = PTR_ALIGN_DOWN(va, line); va < end; va += line)
		asm volatile("dc civac, %0" : : "r" (va) : "memory");
	dsb(sy);
}

/*
 * rproc_del(), after which no operation of @rproc runs, nor ever will.
 *
 * By itself it does not promise that. It gives up waiting for the lock when a
 * signal is pending, and goes on while somebody starts the processor; and who
 * has opened the character device can still write "stop" to it.
 */
void psci_rproc_del(struct rproc *rproc)
{
	/* As rproc_del() does it: from here on nobody begins to start it. */
	scoped_guard(spinlock_irqsave, &rproc->crash_handler_lock)
		WRITE_ONCE(rproc->deleting, true);
	/* Who has begun gets it done. */
	scoped_guard(mutex, &rproc->lock) {
	}

	rproc_del(rproc);

	/* Without this operation the framework refuses to stop it. */
	scoped_guard(mutex, &rproc->lock)
		rproc->ops->stop = NULL;
}

bool psci_rproc_cpu_online(unsigned int cpu)
{
	return cpu_online(cpu);
}

/*
 * The logical number of the core that "cpus" names, and its MPIDR.
 *
 * -ENOENT: there is no such property or it names nothing; -E2BIG: it names more
 * than one; -ENODEV: the node is not one of Linux's cores; -ENXIO: the core's
 * "reg" is malformed; -EOPNOTSUPP: it is not started by PSCI.
 */
int psci_rproc_cpu(const struct device *dev, u64 *mpidr)
{
	struct device_node *core __free(device_node) =
		of_parse_phandle(dev->of_node, "cpus", 0);
	struct device_node *other __free(device_node) =
		of_parse_phandle(dev->of_node, "cpus", 1);
	const char *method;
	const __be32 *reg;
	int cpu, len;

	if (!core)
		return -ENOENT;
	if (other)
		return -E2BIG;
	cpu = of_cpu_node_to_id(core);
	if (cpu < 0)
		return -ENODEV;
	reg = of_get_property(core, "reg", &len);
	if (!reg || (len != 4 && len != 8))
		return -ENXIO;
	*mpidr = of_read_number(reg, len / 4);
	if (of_property_read_string(core, "enable-method", &method) ||
	    strcmp(method, "psci"))
		return -EOPNOTSUPP;
	return cpu;
}

bool psci_rproc_no_map(const struct device_node *np, unsigned int index)
{
	struct device_node *region __free(device_node) =
		of_parse_phandle(np, "memory-region", index);

	return region && of_property_read_bool(region, "no-map");
}

/*
 * How PSCI is called: SMCCC_CONDUIT_HVC or SMCCC_CONDUIT_SMC.
 *
 * -ENODEV: no PSCI here; -EOPNOTSUPP: only version 0.1, without standard
 * function numbers; -EINVAL: the method is neither of the two.
 */
int psci_rproc_conduit(void)
{
	struct device_node *np __free(device_node) = NULL;
	struct device_node *old __free(device_node) = NULL;
	const char *method;

	np = of_find_compatible_node(NULL, NULL, "arm,psci-1.0");
	if (!np)
		np = of_find_compatible_node(NULL, NULL, "arm,psci-0.2");
	if (!np) {
		old = of_find_compatible_node(NULL, NULL, "arm,psci");
		return old ? -EOPNOTSUPP : -ENODEV;
	}
	if (of_property_read_string(np, "method", &method))
		return -EINVAL;
	if (!strcmp(method, "hvc"))
		return SMCCC_CONDUIT_HVC;
	if (!strcmp(method, "smc"))
		return SMCCC_CONDUIT_SMC;
	return -EINVAL;
}
