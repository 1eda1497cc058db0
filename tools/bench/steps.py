# SPDX-License-Identifier: GPL-2.0
"""What the benchmark does: a table of steps."""
import collections

# name; kind: how the result is to be read (trip, bulk, each, doorbell, idle, none); over: what it goes
# over (peer, loopback, mmio, pci, swiotlb, linux); what: the same steps over other things have the same;
# the guest's command; operations: how many of what the counters are divided by (round trips, calls, or
# MiB); part: which devices the peer has (link: net and vsock, queue: only that for measurements); gate:
# whether bench-check compares it.
Step = collections.namedtuple("Step", "name kind over what command operations part gate",
                              defaults=("link", True))

PEER, LOOPBACK = "10.77.0.1", "127.0.0.1"
# The hypervisor's own devices: where our services on the host are, behind each.
QEMU = {"mmio": "10.0.2.2", "pci": "10.0.3.2"}
# ICMP's header counts, as what ping(8) calls 56(84) bytes.
PINGS = {56: 64, 1400: 1408}
TRIPS = {"udp": (64, 1400), "tcp": (64, 1400, 16384), "vsock": (64, 1400, 16384)}
SIZES = (64, 1400, 4096, 16384, 65536)
# The hypervisor's link has the usual MTU; no frame of the peer's is larger than 16000 bytes.
DATAGRAMS = (64, 1400, 15000)
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
UNSTEADY = ("tcp to 64 peer", "tcp from 1400 peer", "vsock to 64 peer")


def size(count):
    """A size as one says it."""
    return f"{count >> 10}K" if count % 1024 == 0 else f"{count}"


def mib(count, most):
    """MiB of a transfer in pieces of so many bytes: small ones cost much more each."""
    return {64: 1, 1400: max(most // 4, 1)}.get(count, most)


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


def steps(trips, most, ports=None, beside=False):
    """All steps in turn, with so many round trips each and so many MiB; ports: the four of our services
    on the host, if they are there; beside: with pings over the hypervisor's device without these."""
    return [Step("none", "none", "peer", "none", "none", 1),
            Step("doorbell", "doorbell", "peer", "doorbell", "doorbell", 1000),
            *link_steps(trips, most, ports),
            *(mmio_pings(trips) if beside else ()),
            Step("idle", "idle", "peer", "idle", f"idle {IDLE_SECONDS}", IDLE_SECONDS),
            *queue_steps(trips, most)]
