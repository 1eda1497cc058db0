// SPDX-License-Identifier: GPL-2.0
/*
 * What virtio_hvl needs of the kernel that is a macro or an inline function.
 */
#include "virtio_hvl.h"
