/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* As stdint.h. */
#include <linux/stddef.h>
