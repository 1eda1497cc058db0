# SPDX-License-Identifier: GPL-2.0
"""What the benchmark does: a table of steps."""
import collections

# name; kind: how the result is to be read (trip, bulk, doorbell, idle, none); over: what it goes
# over (peer, loopback, qemu); what: the same steps over other things have the same; the guest's
# command; operations: how many of what the counters are divided by (round trips, or MiB).
Step = collections.namedtuple("Step", "name kind over what command operations")

PEER, LOOPBACK, QEMU = "10.77.0.1", "127.0.0.1", "10.0.2.2"
# ICMP's header counts, as what ping(8) calls 56(84) bytes.
PINGS = {56: 64, 1400: 1408}
TRIPS = {"udp": (64, 1400), "tcp": (64, 1400, 16384), "vsock": (64, 1400, 16384)}
SIZES = (64, 1400, 16384, 65536)
MIB = 1 << 20
IDLE_SECONDS = 10
ECHO, DISCARD, CHARGEN = 7, 9, 19


def size(count):
    """A size as one says it."""
    return f"{count >> 10}K" if count % 1024 == 0 else f"{count}"


def mib(count, most):
    """MiB of a transfer in pieces of so many bytes: small ones cost much more each."""
    return {64: 1, 1400: most // 4}.get(count, most)


def ends(vsock, qemu):
    """Each other end: its name, address, and ports of echo, discard, chargen, UDP echo."""
    usual = (ECHO, DISCARD, CHARGEN, ECHO)
    yield "loopback", 1 if vsock else LOOPBACK, usual
    yield "peer", 2 if vsock else PEER, usual
    if qemu and not vsock:
        yield "qemu", QEMU, qemu


def steps(trips, most, qemu=None):
    """All steps in turn, with so many round trips each and so many MiB; qemu: the four ports of our services
    on the host."""
    table = [Step("none", "none", "peer", "none", "none", 1),
             Step("doorbell", "doorbell", "peer", "doorbell", "doorbell", 1000)]

    def add(kind, over, what, command, operations):
        table.append(Step(f"{what} {over}", kind, over, what, command, operations))

    for shown, count in PINGS.items():
        for over, address, _ in ends(False, qemu):
            add("trip", over, f"ping {shown}", f"rr icmp {address} 0 {count} {trips}", trips)
    for kind, counts in TRIPS.items():
        for count in counts:
            for over, address, ports in ends(kind == "vsock", qemu):
                port = ports[3 if kind == "udp" else 0]
                add("trip", over, f"{kind} trip {size(count)}",
                    f"rr {kind} {address} {port} {count} {trips}", trips)
    for kind in ("tcp", "vsock"):
        for way in ("to", "from"):
            for count in SIZES:
                if way == "from" and count < 1024:
                    continue
                for over, address, ports in ends(kind == "vsock", qemu):
                    port = ports[1 if way == "to" else 2]
                    add("bulk", over, f"{kind} {way} {size(count)}",
                        f"{way} {kind} {address} {port} {count} {mib(count, most) * MIB}", mib(count, most))
    table.append(Step("idle", "idle", "peer", "idle", f"idle {IDLE_SECONDS}", IDLE_SECONDS))
    return table
