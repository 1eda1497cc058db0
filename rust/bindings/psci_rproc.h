/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What psci_rproc needs of the kernel beyond kernel::bindings, and the
 * prototypes of its C helpers. psci_rproc.allow says what is taken from here.
 */
#ifndef PSCI_RPROC_BINDINGS_H
#define PSCI_RPROC_BINDINGS_H

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/notifier.h>
#include <linux/of_reserved_mem.h>
#include <linux/reboot.h>
#include <linux/remoteproc.h>

void psci_rproc_wmb(void);
void psci_rproc_discard_caches(const void *va, size_t size);
int psci_rproc_cpu(const struct device *dev, u64 *mpidr);
bool psci_rproc_no_map(const struct device_node *np, unsigned int index);
int psci_rproc_conduit(void);
bool psci_rproc_cpu_online(unsigned int cpu);
void psci_rproc_del(struct rproc *rproc);

#endif
