// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Constants of the VIRTIO specification, version 1.3, that both sides need.

/// Registers of the MMIO transport (VIRTIO 4.2.2), as offsets into the view.
pub mod reg {
    /// `"virt"`.
    pub const MAGIC: u32 = 0x000;
    /// Register layout version, 2.
    pub const VERSION: u32 = 0x004;
    /// Device type.
    pub const DEVICE_ID: u32 = 0x008;
    /// Vendor.
    pub const VENDOR_ID: u32 = 0x00c;
    /// 32 feature bits of the device, those of `DEVICE_FEATURES_SEL`.
    pub const DEVICE_FEATURES: u32 = 0x010;
    /// Which 32 feature bits of the device are shown.
    pub const DEVICE_FEATURES_SEL: u32 = 0x014;
    /// 32 feature bits that the driver accepts.
    pub const DRIVER_FEATURES: u32 = 0x020;
    /// Which 32 feature bits the driver writes.
    pub const DRIVER_FEATURES_SEL: u32 = 0x024;
    /// Which queue the queue registers speak of.
    pub const QUEUE_SEL: u32 = 0x030;
    /// Largest size of the queue; 0: no such queue.
    pub const QUEUE_SIZE_MAX: u32 = 0x034;
    /// Size of the queue.
    pub const QUEUE_SIZE: u32 = 0x038;
    /// Whether the queue is in use.
    pub const QUEUE_READY: u32 = 0x044;
    /// Notification; replaced by the notify words of the window.
    pub const QUEUE_NOTIFY: u32 = 0x050;
    /// Interrupt cause; replaced by the event counters, reads as 0.
    pub const INTERRUPT_STATUS: u32 = 0x060;
    /// Interrupt acknowledgement; replaced by the event counters, cannot be written.
    pub const INTERRUPT_ACK: u32 = 0x064;
    /// Device status.
    pub const STATUS: u32 = 0x070;
    /// Descriptor area, low word.
    pub const QUEUE_DESC_LOW: u32 = 0x080;
    /// Descriptor area, high word.
    pub const QUEUE_DESC_HIGH: u32 = 0x084;
    /// Driver area, low word.
    pub const QUEUE_DRIVER_LOW: u32 = 0x090;
    /// Driver area, high word.
    pub const QUEUE_DRIVER_HIGH: u32 = 0x094;
    /// Device area, low word.
    pub const QUEUE_DEVICE_LOW: u32 = 0x0a0;
    /// Device area, high word.
    pub const QUEUE_DEVICE_HIGH: u32 = 0x0a4;
    /// Which shared-memory region the registers below speak of.
    pub const SHM_SEL: u32 = 0x0ac;
    /// Length of the shared-memory region, low word; all ones: no such region.
    pub const SHM_LEN_LOW: u32 = 0x0b0;
    /// Length of the shared-memory region, high word.
    pub const SHM_LEN_HIGH: u32 = 0x0b4;
    /// Base of the shared-memory region, low word, as the peer sees it.
    pub const SHM_BASE_LOW: u32 = 0x0b8;
    /// Base of the shared-memory region, high word.
    pub const SHM_BASE_HIGH: u32 = 0x0bc;
    /// Resets the selected queue when 1 is written.
    pub const QUEUE_RESET: u32 = 0x0c0;
    /// Changes whenever the configuration space does.
    pub const CONFIG_GENERATION: u32 = 0x0fc;
}

/// Value of [`reg::MAGIC`].
pub const MMIO_MAGIC: u32 = 0x7472_6976;
/// Value of [`reg::VERSION`].
pub const MMIO_VERSION: u32 = 2;

/// Device status bits (VIRTIO 2.1).
pub mod status {
    /// The driver has noticed the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// The driver knows how to drive the device.
    pub const DRIVER: u32 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u32 = 4;
    /// Feature negotiation is complete.
    pub const FEATURES_OK: u32 = 8;
    /// The device needs a reset.
    pub const NEEDS_RESET: u32 = 64;
    /// The driver has given up.
    pub const FAILED: u32 = 128;
}

/// Feature bits that belong to queues and transports (VIRTIO 6), as bit numbers.
pub mod feature {
    /// Indirect descriptors.
    pub const INDIRECT_DESC: u32 = 28;
    /// Notification suppression by event index.
    pub const EVENT_IDX: u32 = 29;
    /// Version 1 of the specification.
    pub const VERSION_1: u32 = 32;
    /// Addresses go through the platform: here, they lie in the pool.
    pub const ACCESS_PLATFORM: u32 = 33;
    /// Packed virtqueues.
    pub const RING_PACKED: u32 = 34;
    /// Buffers are used in the order in which they were made available.
    pub const IN_ORDER: u32 = 35;
    /// Memory is ordered as the platform orders it: barriers of device strength.
    pub const ORDER_PLATFORM: u32 = 36;
    /// Notifications carry more than the queue's index.
    pub const NOTIFICATION_DATA: u32 = 38;
    /// Queues can be reset one by one.
    pub const RING_RESET: u32 = 40;

    /// What every device of a link must offer and every driver must accept (protocol.rst,
    /// "Features").
    pub const MANDATORY: u64 = (1 << VERSION_1) | (1 << ACCESS_PLATFORM) | (1 << ORDER_PLATFORM);
}

/// Device types (VIRTIO 5).
pub mod device {
    /// Network device.
    pub const NET: u32 = 1;
    /// Block device.
    pub const BLOCK: u32 = 2;
    /// Console.
    pub const CONSOLE: u32 = 3;
    /// Entropy source.
    pub const ENTROPY: u32 = 4;
    /// Memory balloon.
    pub const BALLOON: u32 = 5;
    /// rpmsg bus.
    pub const RPMSG: u32 = 7;
    /// SCSI host.
    pub const SCSI: u32 = 8;
    /// 9P transport.
    pub const P9: u32 = 9;
    /// Graphics adapter.
    pub const GPU: u32 = 16;
    /// Socket device.
    pub const VSOCK: u32 = 19;
    /// Crypto device.
    pub const CRYPTO: u32 = 20;
    /// IOMMU.
    pub const IOMMU: u32 = 23;
    /// Memory that is plugged and unplugged.
    pub const MEM: u32 = 24;
    /// Sound card.
    pub const SOUND: u32 = 25;
    /// File system.
    pub const FS: u32 = 26;
    /// Persistent memory.
    pub const PMEM: u32 = 27;
    /// SCMI device.
    pub const SCMI: u32 = 32;
    /// I2C adapter.
    pub const I2C: u32 = 34;
    /// CAN controller.
    pub const CAN: u32 = 36;
    /// Bluetooth controller.
    pub const BLUETOOTH: u32 = 40;
    /// GPIO controller.
    pub const GPIO: u32 = 41;
}

/// What a control message of a console with several ports is about (VIRTIO 5.3.6.2).
pub mod console {
    /// The driver has found the device, or has not.
    pub const DEVICE_READY: u16 = 0;
    /// There is this port.
    pub const DEVICE_ADD: u16 = 1;
    /// There is no such port any more.
    pub const DEVICE_REMOVE: u16 = 2;
    /// The driver has made the port, or could not.
    pub const PORT_READY: u16 = 3;
    /// The port is a terminal.
    pub const CONSOLE_PORT: u16 = 4;
    /// The terminal has another size, which follows.
    pub const RESIZE: u16 = 5;
    /// The port was opened or closed.
    pub const PORT_OPEN: u16 = 6;
    /// The port has a name, which follows.
    pub const PORT_NAME: u16 = 7;
}
