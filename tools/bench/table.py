# SPDX-License-Identifier: GPL-2.0
"""The results as a table: ratios first."""

TITLES = {
    ("link", "doorbell"): "raw doorbell, us",
    ("link", "trip"): "round trips, us; counts per round trip",
    ("link", "bulk"): "bulk, Mbit/s; counts per MiB; ratios of rates",
    ("queue", "trip"): "a virtqueue alone: round trips, us",
    ("queue", "bulk"): "a virtqueue alone: bulk, Mbit/s",
    ("queue", "each"): "map and unmap (/base: that of swiotlb), and what one memcpy costs, us a call",
    ("messages", "trip"): "messages of SOCK_SEQPACKET (/base: a stream's bytes): round trips, us",
    ("messages", "bulk"): "messages: bulk, Mbit/s",
    ("disk", "trip"): "a disk, one request at a time, and the console's port: us",
    ("disk", "bulk"): "a disk, several requests at a time: Mbit/s",
    ("direct", "trip"): "direct mode (/base: isolated mode): round trips, us",
    ("direct", "bulk"): "direct mode: bulk, Mbit/s",
    ("direct disk", "trip"): "direct mode: a disk, one request at a time, us",
    ("direct disk", "bulk"): "direct mode: a disk, several requests at a time, Mbit/s",
}
# All other parts.
SCALE = ("beside what is idle (/base: beside nearly nothing): few: 2 devices; devices: 32; queues: 127 in 2 devices; "
         "links: other peers")


def title(entry):
    """Of the section that a step is in."""
    return TITLES.get((entry["part"], entry["kind"]), SCALE)


def ratio(found, name, other):
    """How many times that of another step a figure is, as a text; the larger the better for bulk."""
    all_ = found["steps"]
    base, entry = all_.get(other, {}).get("ns"), all_[name]
    if not base or other == name:
        return "-"
    # a rate is the better the larger it is, and so is its ratio
    value = base / entry["ns"] if entry["kind"] == "bulk" else entry["ns"] / base
    return f"{value:.2f}x"


def ratios(found, name):
    """(to loopback, swiotlb or what the step names, to QEMU's virtio-mmio, to its virtio-pci, to the doorbell), each
    a text."""
    entry = found["steps"][name]
    base = entry.get("base") or f"{entry['what']} {'swiotlb' if entry['kind'] == 'each' else 'loopback'}"
    bell = ratio(found, name, "doorbell") if entry["kind"] == "trip" else "-"
    return (ratio(found, name, base), *(ratio(found, name, f"{entry['what']} {qemu}") for qemu in ("mmio", "pci")),
            bell)


def value(entry):
    """(the figure with its unit, the 99th percentile), each a text."""
    if entry["kind"] == "bulk":
        return f"{(1 << 23) * 1000 / entry['ns']:.0f} Mb/s", "-"
    return f"{entry['ns'] / 1000:.2f} us", f"{entry['p99'] / 1000:.1f}" if "p99" in entry else "-"


def head():
    """The names of the columns."""
    return (f"{'':26} {'/base':>7} {'/mmio':>7} {'/pci':>7} {'/bell':>7} {'median':>12} {'p99':>8} {'bells':>7} {'irqs':>7} "
            f"{'spread':>7}")


def row(found, name):
    """One line."""
    entry = found["steps"][name]
    base, mmio, pci, bell = ratios(found, name)
    figure, p99 = value(entry)
    ours = entry["over"] in ("peer", "direct") and entry["kind"] != "each"
    bells, irqs = (f"{entry['counts'].get(c, 0):.2f}" if ours else "-" for c in ("doorbells", "interrupts"))
    lost = f"  {entry['counts']['lost']:.2f} lost" if "lost" in entry["counts"] else ""
    return (f"  {name:24} {base:>7} {mmio:>7} {pci:>7} {bell:>7} {figure:>12} {p99:>8} {bells:>7} {irqs:>7} "
            f"{entry['spread']:>6.1f}%{lost}")


def set_up(name, entry):
    """What attaching to a peer has cost, as a line."""
    bell = f"; its doorbell takes {entry['doorbell'] / 1000:.2f} us" if "doorbell" in entry else ""
    memory = (f"; {entry['us']:.0f} us a device, {entry['books'] / 1024:.1f} KiB of Linux's and {entry['share'] / 1024:.0f} "
              f"KiB of the pool a queue ({entry['queues']})") if "books" in entry else ""
    return (f"set-up, {name}: {entry['transactions']} transactions, {entry['doorbells']} doorbells, "
            f"{entry['interrupts']} interrupts{bell}{memory}")


def show(found):
    """Print it."""
    counted = found["mode"] == "counted"
    print(f"\n{found['mode']}: {'1 instruction of either core = 1 ns' if counted else 'clock of this machine'}; "
          f"median of {found['rounds']} (spread: of the repeats within this boot); /base: Linux's loopback")
    print(head())
    last = None
    for name, entry in found["steps"].items():
        if "ns" not in entry:
            continue
        if title(entry) != last:
            last = title(entry)
            print(last)
        print(row(found, name))
    idle = found["steps"].get("idle")
    if idle:
        counts = idle["counts"]
        print(f"idle, a second: {counts.get('doorbells', 0):g} doorbells, {counts.get('interrupts', 0):g} interrupts, "
              f"the link's threads woken up {counts.get('wakeups', 0):g} times")
    for name, entry in found["set-up"].items():
        print(set_up(name, entry))
    show_sides(found)
    print()


def count(value):
    """A count, as short as it can be read."""
    if value < 100:
        return f"{value:.3g}"
    return f"{value:.0f}" if value < 1e5 else f"{value / 1e3:.0f}k" if value < 1e7 else f"{value / 1e6:.1f}M"


def show_sides(found):
    """What each side does for each operation."""
    ours = {name: entry["sides"] for name, entry in found["steps"].items()
            if "sides" in entry and (entry["over"] in ("peer", "direct") or entry["part"] == "disk")}
    if not ours:
        return
    print(f"\n{'instructions, lines written and':29}{'Linux':>8}{'of it the':>10}{'':>8}{'peer':>8} |{'lines':>7} |"
          f"{'Linux':>7}{'Linux':>8}{'peer':>8}{'peer':>8}")
    print(f"{'bytes in shared memory, each':29}{'':>8}{'transport':>10}{'share':>8}{'':>8} |{'both':>7} |"
          f"{'writes':>7}{'reads':>8}{'writes':>8}{'reads':>8}")
    for name, sides in ours.items():
        share = sides["linux transport"] / (sides["linux instructions"] or 1) * 100
        print(f"  {name:27}{count(sides['linux instructions']):>8}{count(sides['linux transport']):>10}{share:>7.1f}%"
              f"{count(sides['peer instructions']):>8} |{count(sides['linux lines'] + sides['peer lines']):>7} |"
              f"{count(sides['linux written']):>7}{count(sides['linux read']):>8}"
              f"{count(sides['peer written']):>8}{count(sides['peer read']):>8}")
