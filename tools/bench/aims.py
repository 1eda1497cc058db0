# SPDX-License-Identifier: GPL-2.0
"""What is aimed at, and what of it was reached: a table of rules over the figures."""
import shares
import steps

# A rule gives (figure, its unit), or raises KeyError where a step that it needs was not measured.


def ns(found, name):
    """Nanoseconds of a step."""
    return found["steps"][name]["ns"]


def times(found, name, other):
    """How many times longer one step takes than another."""
    return ns(found, name) / ns(found, other)


def per(found, name, what, by):
    """How many of what the counters of a step show for each of another."""
    counts = found["steps"][name]["counts"]
    return counts[what] / counts[by]


def firewall(found, name, parts=shares.FIREWALL):
    """The firewall's share of both sides' instructions, per cent."""
    return shares.firewall(found["steps"][name], parts)


def bounce(found, copies):
    """The worst ratio of a mapping, with or without the copy that it needs, to one of swiotlb's."""
    worst = 0
    for count in steps.BUFFERS:
        size = steps.size(count)
        for way, copy in (("to", "in"), ("from", "out")):
            ours = ns(found, f"map {way} {size} peer") + copies * ns(found, f"memcpy {copy} {size}")
            worst = max(worst, ours / ns(found, f"map {way} {size} swiotlb"))
    return worst


def copying(found, way, memcpy):
    """How the rate of a vsock transfer compares with that of one copy."""
    each = ns(found, f"memcpy {memcpy} 64K") * steps.MIB / steps.SIZES[-1]
    return each / ns(found, f"vsock {way} 64K peer")


def doorbells(found, name, other):
    """How many times longer the doorbell of one set of devices takes than that of another."""
    return found["set-up"][name]["doorbell"] / found["set-up"][other]["doorbell"]


# What is aimed at; whether the figure is to be at most or at least the limit; the limit; its unit; the rule.
COUNTED = (
    ("raw doorbell", "<=", 6, "us", lambda f: ns(f, "doorbell") / 1000),
    ("virtqueue echo, to that peer's doorbell", "<=", 1.5, "x",
     lambda f: ns(f, "virtqueue echo 64") / f["set-up"]["1x3"]["doorbell"]),
    ("ping of 56 bytes, to loopback", "<=", 1.8, "x", lambda f: times(f, "ping 56 peer", "ping 56 loopback")),
    ("ping of 1400 bytes, to loopback", "<=", 1.8, "x", lambda f: times(f, "ping 1400 peer", "ping 1400 loopback")),
    ("firewall: what checks the peer, of a ping", "<=", 2, "%", lambda f: firewall(f, "ping 56 peer", ("checks",))),
    ("firewall: the same, of TCP to the peer", "<=", 2, "%", lambda f: firewall(f, "tcp to 64K peer", ("checks",))),
    ("firewall: checks and both rings, of a ping", "<=", 2, "%", lambda f: firewall(f, "ping 56 peer")),
    ("firewall: checks and both rings, of TCP to the peer", "<=", 2, "%", lambda f: firewall(f, "tcp to 64K peer")),
    ("vsock to the peer, to one memcpy", ">=", 0.5, "x", lambda f: copying(f, "to", "in")),
    ("vsock from the peer, to one memcpy", ">=", 0.5, "x", lambda f: copying(f, "from", "out")),
    ("packets a doorbell, TCP to the peer", ">=", 16, "",
     lambda f: per(f, "tcp to 64K peer", "peer net received", "doorbells")),
    ("packets a doorbell, vsock to the peer", ">=", 16, "",
     lambda f: per(f, "vsock to 64K peer", "peer vsock received", "doorbells")),
    ("buffers a doorbell, virtqueue to the peer", ">=", 16, "",
     lambda f: per(f, "virtqueue to 4K", "bench1 used", "doorbells")),
    ("buffers an interrupt, TCP from the peer", ">=", 16, "",
     lambda f: per(f, "tcp from 64K peer", "net0 used", "interrupts")),
    ("packets an interrupt, vsock from the peer", ">=", 16, "",
     lambda f: per(f, "vsock from 64K peer", "peer vsock sent", "interrupts")),
    ("map and unmap, to swiotlb's", "<=", 0.5, "x", lambda f: bounce(f, 0)),
    ("map, one copy and unmap, to swiotlb's", "<=", 0.5, "x", lambda f: bounce(f, 1)),
    ("doorbell, 32 devices, to that of one", "<=", 1.1, "x", lambda f: doorbells(f, "32x3", "1x3")),
    ("doorbell, 64 queues, to that of three", "<=", 1.1, "x", lambda f: doorbells(f, "1x64", "1x3")),
    ("ping beside 31 idle devices, to beside one", "<=", 1.1, "x", lambda f: times(f, "ping 56, devices", "ping 56, few")),
    ("ping with 127 queues, to that with five", "<=", 1.1, "x", lambda f: times(f, "ping 56, queues", "ping 56, few")),
    ("ping beside three idle links, to beside none", "<=", 1.1, "x", lambda f: times(f, "ping 56, 4 links", "ping 56, 1 link")),
    ("doorbells to set up a network device", "<=", 10, "", lambda f: f["set-up"]["net"]["doorbells"]),
    ("doorbells a second when idle", "<=", 0, "", lambda f: f["steps"]["idle"]["counts"].get("doorbells", 0)),
    ("Linux woken up by the link a second when idle", "<=", 1, "", lambda f: f["steps"]["idle"]["counts"]["wakeups"]),
)
WALL = (
    ("virtqueue echo, to the doorbell", "<=", 1.5, "x", lambda f: times(f, "virtqueue echo 64", "doorbell")),
    ("ping of 56 bytes, to virtio-mmio", "<=", 1.1, "x", lambda f: times(f, "ping 56 peer", "ping 56 mmio")),
    ("TCP to the peer, rate to virtio-mmio's", ">=", 6, "x", lambda f: times(f, "tcp to 64K mmio", "tcp to 64K peer")),
    ("TCP from the peer, rate to virtio-mmio's", ">=", 4, "x",
     lambda f: times(f, "tcp from 64K mmio", "tcp from 64K peer")),
)


def judge(found):
    """(what, relation, limit, unit, figure, reached) of each aim that can be judged by these figures."""
    for what, relation, limit, unit, rule in COUNTED if found["mode"] == "counted" else WALL:
        try:
            figure = rule(found)
        except (KeyError, ZeroDivisionError):
            continue
        yield what, relation, limit, unit, figure, figure <= limit if relation == "<=" else figure >= limit


def show(found):
    """Print the table."""
    lines = [f"  {what:56} {relation} {limit:g}{unit:3} {figure:8.2f}{unit:3} {'yes' if reached else 'no'}"
             for what, relation, limit, unit, figure, reached in judge(found)]
    if lines:
        print("\n".join(["aims" + " " * 56 + "limit   reached", *lines, ""]))
