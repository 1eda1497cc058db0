/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What psci_rproc needs of the kernel beyond kernel::bindings, and the
 * prototypes of its C helpers. psci_rproc.allow says what is taken from here.
 */
#ifndef PSCI_RPROC_BINDINGS_H
#define PSCI_RPROC_BINDINGS_H

#include <linux/remoteproc.h>

#endif
