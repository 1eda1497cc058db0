/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What virtio_hvl needs of the kernel beyond kernel::bindings, and the
 * prototypes of its C helpers. virtio_hvl.allow says what is taken from here.
 */
#ifndef VIRTIO_HVL_BINDINGS_H
#define VIRTIO_HVL_BINDINGS_H

#include <linux/virtio.h>
#include <linux/virtio_config.h>

#endif
