# SPDX-License-Identifier: GPL-2.0
"""What the benchmark does: a table of steps."""
import collections
import re

# name; kind: how the result is to be read (trip, bulk, each, doorbell, idle, none); over: what it goes
# over (peer, loopback, mmio, pci, swiotlb, linux, direct); what: the same steps over other things have the
# same; the guest's command; operations: how many of what the counters are divided by (round trips, calls, or
# MiB); part: which devices the peer has; gate: whether bench-check compares it; base: the step that it is
# compared with, if that is not the same over loopback or by swiotlb.
Step = collections.namedtuple("Step", "name kind over what command operations part gate base",
                              defaults=("link", True, ""))
# What a part of the steps needs. words: the peer's command line (nothing: net and vsock); devices: how many of
# Linux's devices have a driver then; boot: which boot it is a part of, since other machines need one of their own (main;
# links: with the cores and regions of several; direct: in direct mode); others: which other links have a peer.
Part = collections.namedtuple("Part", "words devices boot others", defaults=("main", ()))

# The largest table of devices, and the device with the most queues.
DEVICES, PAIRS, QUEUES = 32, 31, 64
PARTS = {
    "link": Part("", 2),
    "queue": Part("devices=bench size=LINKED", 1),
    "messages": Part("", 2),
    "disk": Part("devices=vsock,blk,console", 3),
    "few": Part("devices=net,bench", 2),
    "devices": Part(f"devices=net{',bench' * (DEVICES - 1)}", DEVICES),
    "queues": Part(f"devices=net,bench net-queues={PAIRS} bench-queues={QUEUES}", 2),
    "1 link": Part("devices=net,bench", 2, "links"),
    "2 links": Part("devices=net,bench", 3, "links", (2,)),
    "3 links": Part("devices=net,bench", 4, "links", (2, 3)),
    "4 links": Part("devices=net,bench", 5, "links", (2, 3, 4)),
    "direct": Part("", 2, "direct"),
    "direct disk": Part("devices=vsock,blk", 2, "direct"),
}

PEER, LOOPBACK = "10.77.0.1", "127.0.0.1"
# The hypervisor's own devices: where our services on the host are, behind each.
QEMU = {"mmio": "10.0.2.2", "pci": "10.0.3.2"}
# ICMP's header counts, as what ping(8) calls 56(84) bytes.
PINGS = {56: 64, 1400: 1408}
TRIPS = {"udp": (64, 1400), "tcp": (64, 1400, 16384), "vsock": (64, 1400, 16384)}
SIZES = (64, 1400, 4096, 16384, 65536)
# The hypervisor's link has the usual MTU; no frame of the peer's is larger than 16000 bytes.
DATAGRAMS = (64, 1400, 15000)
# Messages of SOCK_SEQPACKET: none is larger than the peer's buffer. What is written to a port of the console.
MESSAGES = (64, 1400, 16384)
PORT = (64, 4096)
# Of disks; and how many requests are under way if it is not one at a time.
BLOCKS, DEPTH = (512, 4096, 65536), 16
# Those of virtqueues, mappings and copies.
BUFFERS = (64, 1400, 4096, 65536)
MIB = 1 << 20
IDLE_SECONDS = 10
ECHO, DISCARD, CHARGEN = 7, 9, 19
# Calls of what has no other side; of mappings so many that a timer's interrupt more or less does not show.
CALLS = 2000
MAPPINGS = 20000
# Boots with other random numbers (bench --seed, then bench --spread), or other steps in between, have given
# these with differences of nearly 3 to 10 per cent: they say how it is, and nothing about a change.
UNSTEADY = ("tcp to 64 peer", "tcp from 1400 peer", "tcp from 16K peer", "vsock to 64 peer")


def size(count):
    """A size as one says it."""
    return f"{count >> 10}K" if count % 1024 == 0 else f"{count}"


def mib(count, most):
    """MiB of a transfer in pieces of so many bytes: small ones cost much more each."""
    return {64: 1, 512: 1, 1400: max(most // 4, 1)}.get(count, most)


def ends(kind, count, ports):
    """Each other end: its name, address, and ports of echo, discard, chargen, UDP echo."""
    vsock, usual = kind == "vsock", (ECHO, DISCARD, CHARGEN, ECHO)
    yield "loopback", 1 if vsock else LOOPBACK, usual
    yield "peer", 2 if vsock else PEER, usual
    if ports and not vsock and not (kind == "udp" and count > 1400):
        for name, address in QEMU.items():
            yield name, address, ports


def mmio_pings(trips):
    """Pings over the hypervisor's virtio-mmio that its own network answers, at once and whatever the clock says."""
    for shown, count in PINGS.items():
        yield Step(f"ping {shown} mmio", "trip", "mmio", f"ping {shown}", f"rr icmp {QEMU['mmio']} 0 {count} {trips}",
                   trips, "link", False)


def link_steps(trips, most, ports):
    """Over the network and the socket device, and what they are compared with."""
    def add(kind, over, what, command, operations):
        name = f"{what} {over}"
        gate = over == "peer" and name not in UNSTEADY and not what.endswith((" 4K", "from 64"))
        return Step(name, kind, over, what, command, operations, "link", gate)

    for shown, count in PINGS.items():
        for over, address, _ in ends("icmp", count, ports):
            yield add("trip", over, f"ping {shown}", f"rr icmp {address} 0 {count} {trips}", trips)
    for kind, counts in TRIPS.items():
        for count in counts:
            for over, address, port in ends(kind, count, ports):
                yield add("trip", over, f"{kind} trip {size(count)}",
                          f"rr {kind} {address} {port[3 if kind == 'udp' else 0]} {count} {trips}", trips)
    for kind in ("tcp", "vsock"):
        for way in ("to", "from"):
            for count in SIZES:
                for over, address, port in ends(kind, count, ports):
                    yield add("bulk", over, f"{kind} {way} {size(count)}",
                              f"{way} {kind} {address} {port[1 if way == 'to' else 2]} {count} "
                              f"{mib(count, most) * MIB}", mib(count, most))
    for count in DATAGRAMS:
        for over, address, port in ends("udp", count, ports):
            yield add("bulk", over, f"udp both {size(count)}",
                      f"both udp {address} {port[3]} {count} {mib(count, most) * MIB}", mib(count, most))


def queue_steps(trips, most):
    """Over the device for measurements: a virtqueue with nothing on top, mappings, copies."""
    for count in BUFFERS:
        yield Step(f"virtqueue echo {size(count)}", "trip", "peer", "virtqueue echo",
                   f"run echo {count} {trips}", trips, "queue")
    for way, command in (("to", "sink"), ("from", "source")):
        for count in BUFFERS:
            amount = mib(count, most)
            yield Step(f"virtqueue {way} {size(count)}", "bulk", "peer", f"virtqueue {way}",
                       f"run {command} {count} {amount * MIB // count}", amount, "queue")
    for way in ("to", "from"):
        for count in BUFFERS:
            for over, command, calls in (("peer", "map", MAPPINGS), ("swiotlb", "dma", CALLS)):
                what = f"map {way} {size(count)}"
                yield Step(f"{what} {over}", "each", over, what, f"run {command} {way} {count} {calls}", calls,
                           "queue", over == "peer")
    for way in ("in", "out", "within", "linux"):
        for count in BUFFERS:
            yield Step(f"memcpy {way} {size(count)}", "each", "linux", f"memcpy {way}",
                       f"run copy {way} {count} {CALLS}", CALLS, "queue", False)


def message_steps(trips, most):
    """Over sockets that carry messages, compared with streams of bytes."""
    for count in MESSAGES:
        what = f"trip {size(count)}"
        yield Step(f"seqpacket {what} peer", "trip", "peer", f"seqpacket {what}", f"rr seqpacket 2 {ECHO} {count} {trips}",
                   trips, "messages", count == MESSAGES[0], f"vsock {what} peer")
    for way, port in (("to", DISCARD), ("from", CHARGEN)):
        for count in MESSAGES:
            what, amount = f"{way} {size(count)}", min(mib(count, most), max(most // 4, 1))
            yield Step(f"seqpacket {what} peer", "bulk", "peer", f"seqpacket {what}",
                       f"{way} seqpacket 2 {port} {count} {amount * MIB}", amount, "messages", False,
                       f"vsock {what} peer")


def disk_steps(trips, most, overs, part="disk"):
    """Over a disk in memory, one request at a time and several, the hypervisor's among them."""
    for way in ("read", "write"):
        for count in BLOCKS:
            for over in overs:
                what = f"blk {way} {size(count)}"
                base = f"{what} peer" if over == "direct" else ""
                yield Step(f"{what} {over}", "trip", over, what, f"disk {way} /dev/bench/{'peer' if base else over} {count} 1 {trips}",
                           trips, part, over == "peer" and count == 4096, base)
    for way in ("read", "write"):
        for count in BLOCKS:
            amount = mib(count, max(most // (2 if count > 4096 else 4), 1))
            for over in overs:
                what = f"blk {way} {size(count)} x{DEPTH}"
                base = f"{what} peer" if over == "direct" else ""
                yield Step(f"{what} {over}", "bulk", over, what,
                           f"disk {way} /dev/bench/{'peer' if base else over} {count} {DEPTH} {amount * MIB // count}",
                           amount, part, False, base)


def console_steps(trips):
    """Over the console's port that echoes."""
    for count in PORT:
        what = f"console trip {size(count)}"
        yield Step(f"{what} peer", "trip", "peer", what, f"rr port /dev/bench/port 0 {count} {trips}", trips, "disk",
                   count == PORT[0])


def scale_steps(trips):
    """The same beside devices and queues, and in another boot links, that have nothing to do."""
    for part, base in (("few", ""), ("devices", "few"), ("queues", "few"),
                       ("1 link", ""), ("2 links", "1 link"), ("3 links", "1 link"), ("4 links", "1 link")):
        for what, command in (("doorbell", "doorbell"), ("ping 56", f"rr icmp {PEER} 0 {PINGS[56]} {trips}"),
                              ("virtqueue echo 64", f"run echo 64 {trips}")):
            yield Step(f"{what}, {part}", "doorbell" if what == "doorbell" else "trip", "peer", f"{what}, {part}",
                       command, 1000 if what == "doorbell" else trips, part, False, base and f"{what}, {base}")


def direct_steps(trips, most):
    """In direct mode, in a boot of its own, compared with isolated mode."""
    for step in link_steps(trips, most, None):
        if step.over == "peer" and re.fullmatch(r"ping .*|tcp (trip|to|from) .*|vsock trip 64|vsock (to|from) 64K", step.what):
            yield step._replace(name=f"{step.what} direct", over="direct", part="direct", gate=False, base=step.name)
    yield from disk_steps(trips, most, ("direct",), "direct disk")


def steps(trips, most, ports=None, beside=False):
    """All steps in turn, with so many round trips each and so many MiB; ports: the four of our services
    on the host, if they are there; beside: with pings over the hypervisor's device without these."""
    return [Step("none", "none", "peer", "none", "none", 1),
            Step("doorbell", "doorbell", "peer", "doorbell", "doorbell", 1000),
            *link_steps(trips, most, ports),
            *(mmio_pings(trips) if beside else ()),
            Step("idle", "idle", "peer", "idle", f"idle {IDLE_SECONDS}", IDLE_SECONDS),
            *queue_steps(trips, most),
            *message_steps(trips, most),
            *disk_steps(trips, most, ("peer", *QEMU)),
            *console_steps(trips),
            *scale_steps(trips),
            *direct_steps(trips, most)]
