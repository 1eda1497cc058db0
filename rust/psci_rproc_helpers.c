// SPDX-License-Identifier: GPL-2.0
/*
 * What psci_rproc needs of the kernel that is a macro or an inline function.
 */
#include "psci_rproc.h"
