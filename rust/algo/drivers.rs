// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What has to be known of Linux's drivers, as the device that they talk to.

use super::super::proto::virtio::device;
use super::rpmsg;

/// The network device has a control queue (VIRTIO 5.1.3).
const NET_CTRL_VQ: u32 = 17;
/// It has several pairs of queues, after which comes the control queue.
const NET_MQ: u32 = 22;
/// Likewise.
const NET_RSS: u32 = 60;
/// The status of a block request that has failed (VIRTIO 5.2.6).
const BLK_S_IOERR: u8 = 1;
/// The console has several ports, and queues to control them (VIRTIO 5.3.3).
const CONSOLE_MULTIPORT: u32 = 1;

/// What a device's type must be, and `device` is not, if the peer is `trusted` as the kernel is or not; `None`: it may be
/// of that type.
///
/// Drivers are written for devices that are right. Those of the types that are named here were read and attacked with
/// that in mind, and what they believe is looked at on its way; one of any other type is as strong as nobody knows. What some
/// believe is enough to own Linux: where memory lies that is to be used (virtio_pmem), keys that somebody has pressed
/// (virtio_input).
pub fn refusal(device: u32, trusted: bool) -> Option<&'static str> {
    match device {
        // Its driver also spins without end, broken queue or not.
        device::IOMMU => Some("other than an IOMMU: it decides about the memory of other devices"),
        device::BALLOON | device::MEM => {
            Some("other than a balloon: it decides how much memory Linux has")
        }
        device::NET
        | device::BLOCK
        | device::CONSOLE
        | device::ENTROPY
        | device::RPMSG
        | device::VSOCK => None,
        _ if trusted => None,
        _ => Some(
            "one whose driver is known to bear a wrong peer, unless virtio-hvl,trusted-peer is in \
             the node",
        ),
    }
}

/// How many of a device's `queues` the driver may want to be called for, so that they can use an interrupt.
///
/// That of virtio_net looks by itself for answers of the control queue, the last of an odd number.
pub fn callbacks(device: u32, queues: u32) -> u32 {
    match device {
        device::NET => queues & !1,
        _ => queues,
    }
}

/// Whether the driver of a device of type `device` sleeps in the callback of queue `index`, so that a thread has to
/// call it.
///
/// virtio_rpmsg_bus takes mutexes, makes devices and removes them, and has its clients send answers, for which they
/// wait until the other queue has room. remoteproc, for which it is written, calls it from a thread. (The callback of
/// the other queue only wakes who waits for that: it must not come after the first.)
pub fn sleeps(device: u32, index: u32) -> bool {
    device == device::RPMSG && index == rpmsg::RECEIVE
}

/// How many entries each ring of the driver of a device of type `device` has to have, whatever the device's may
/// have; `None`: any number will do.
pub fn entries(device: u32) -> Option<u16> {
    (device == device::RPMSG).then_some(rpmsg::ENTRIES)
}

/// Whether the buffers of queue `index` of a device of type `device` with `queues` virtqueues come back soon, if its peer
/// does what it is there for: what Linux sends, and requests to a disk. Where a buffer waits for something to happen
/// elsewhere, as all that are there to be received do, silence means nothing.
pub fn returns(device: u32, queues: u32, index: u32) -> bool {
    match device {
        // (The control queue, the last of an odd number, has a deadline anyway: its driver spins.)
        device::NET => index % 2 == 1 && index < callbacks(device, queues),
        device::VSOCK | device::RPMSG => index == 1,
        device::BLOCK => true,
        _ => false,
    }
}

/// Whether a console with these `features` has several ports, and queues to control them.
pub fn has_ports(features: u64) -> bool {
    features & (1 << CONSOLE_MULTIPORT) != 0
}

/// How many bytes the driver of a device of type `device` with these `features` takes to be written in
/// each chain of queue `index`, whatever the used length says; `u32::MAX`: all that can be.
///
/// virtio_blk looks at no length: it would take memory of the kernel's that nobody has written for
/// what was on the disk, and for the status of the request. virtio_console reads a control message of
/// 8 bytes, and takes what is left of the length for that of a name: less than nothing. So does
/// virtio_rpmsg_bus with a message's header of 16.
pub fn least_written(device: u32, features: u64, index: u32) -> u32 {
    match device {
        device::BLOCK => u32::MAX,
        device::CONSOLE if has_ports(features) && index == 2 => 8,
        device::RPMSG if index == rpmsg::RECEIVE => rpmsg::HEADER as u32,
        _ => 0,
    }
}

/// What the last byte of a request is to say that a device of type `device` will not answer any more, if its driver
/// waits for the request whatever becomes of the device.
///
/// virtio_blk does, a broken queue or not: the removal of the disk waits for all requests. The status is their last
/// byte (VIRTIO 5.2.6), and looked at without a look at the length. What comes later it gets an error for, if the queue is
/// broken, and would wait for, if that comes between the request and its notification: so the queue is not.
pub fn last_word(device: u32) -> Option<u8> {
    (device == device::BLOCK).then_some(BLK_S_IOERR)
}

/// Whether queue `index` of a device of type `device` is to be broken, when nobody is to wait for the device any more.
///
/// Nobody waits for those that virtio_console receives by in a way that this would end, and it still has to be told that its
/// ports are closed ([`super::console::Ports::farewell`]); also, it frees a buffer that such a queue does not take back.
pub fn breaks(device: u32, index: u32) -> bool {
    device != device::CONSOLE || index % 2 == 1
}

/// Whether the driver of a device of type `device` with `queues` virtqueues and these `features`
/// spins for queue `index` until the device has used the buffer that it just got.
///
/// virtio_net does so with the RTNL lock held, virtio_console with interrupts off: with a peer that
/// does not answer that would be the end of the CPU, and on the last one nobody would be left to
/// break the queue. virtio_can sleeps, and breaking the queue does not wake it. All of them stop
/// when the notification fails.
pub fn spins(device: u32, queues: u32, features: u64, index: u32) -> bool {
    let has = |feature: u32| features & (1 << feature) != 0;
    match device {
        device::NET if !has(NET_CTRL_VQ) => false,
        device::NET if has(NET_MQ) || has(NET_RSS) => index + 1 == queues,
        device::NET => index == 2,
        // Of a multiport console so does the control queue, and the output of each port that is a
        // terminal, which any can become: `console` knows which ones are.
        device::CONSOLE if has_ports(features) => index % 2 == 1,
        device::CONSOLE => index == 1,
        device::CAN => index == 2,
        _ => false,
    }
}
