/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What Documentation/virtio-hvl/virtio-hvl.h needs, for a kernel module. */
#include <linux/types.h>
#ifndef UINT64_C
#define UINT64_C(number) number##ULL
#endif
