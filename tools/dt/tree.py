# SPDX-License-Identifier: GPL-2.0
"""A merged device tree, and what has to be true of one that has virtio-hvl in it.

Schemas see one node at a time. Whether two nodes fit each other (memory that overlaps,
an interrupt that somebody else uses, a phandle that leads to the wrong core) is checked
here; every check returns a list of complaints, one sentence each.
"""

import re
import struct

import libfdt

PAGE = 4096
# Size of header, one window and the smallest pool (protocol.rst, "Region layout").
REGION_MIN = 2 * PAGE + 0x10000
ISPENDR = 0x200
FIRST_SPI = 32


class Node:
    """A node: properties as bytes, children by name."""

    def __init__(self, name, parent):
        self.name, self.parent = name, parent
        self.props, self.children = {}, {}

    @property
    def path(self):
        if self.parent is None:
            return "/"
        return self.parent.path.rstrip("/") + "/" + self.name

    def cells(self, prop):
        raw = self.props.get(prop, b"")
        return list(struct.unpack(f">{len(raw) // 4}I", raw[: len(raw) // 4 * 4]))

    def cell(self, prop, default=None):
        cells = self.cells(prop)
        return cells[0] if cells else default

    def strings(self, prop):
        return [s.decode() for s in self.props.get(prop, b"").split(b"\0") if s]

    def walk(self):
        yield self
        for child in self.children.values():
            yield from child.walk()

    def reg(self):
        """(address, size) pairs, as the parent's bus counts."""
        ac, sc = self.parent.cell("#address-cells", 2), self.parent.cell("#size-cells", 1)
        cells, out = self.cells("reg"), []
        for i in range(0, len(cells) - (ac + sc) + 1, ac + sc):
            out.append((number(cells[i : i + ac]), number(cells[i + ac : i + ac + sc])))
        return out

    def cpu_address(self, address):
        """An address of the parent's bus as the cores see it, through `ranges`."""
        bus = self.parent
        while bus is not None and bus.parent is not None:
            child, parent = bus.cell("#address-cells", 2), bus.parent.cell("#address-cells", 2)
            size, cells = bus.cell("#size-cells", 1), bus.cells("ranges")
            for i in range(0, len(cells), child + parent + size):
                start = number(cells[i : i + child])
                to = number(cells[i + child : i + child + parent])
                length = number(cells[i + child + parent : i + child + parent + size])
                if start <= address < start + length:
                    address = to + address - start
                    break
            bus = bus.parent
        return address


class Tree:
    """A device tree blob, read."""

    def __init__(self, path):
        with open(path, "rb") as file:
            fdt = libfdt.FdtRo(file.read())
        self.reservations = [fdt.get_mem_rsv(i)[-2:] for i in range(fdt.num_mem_rsv())]
        self.root = self._read(fdt, 0, "", None)
        self.phandles = {}
        for node in self.root.walk():
            if "phandle" in node.props:
                self.phandles.setdefault(node.cell("phandle"), []).append(node)

    def _read(self, fdt, offset, name, parent):
        node = Node(name, parent)
        prop = fdt.first_property_offset(offset, [libfdt.NOTFOUND])
        while prop >= 0:
            p = fdt.get_property_by_offset(prop)
            node.props[p.name] = bytes(p)
            prop = fdt.next_property_offset(prop, [libfdt.NOTFOUND])
        sub = fdt.first_subnode(offset, [libfdt.NOTFOUND])
        while sub >= 0:
            child = fdt.get_name(sub)
            node.children[child] = self._read(fdt, sub, child, node)
            sub = fdt.next_subnode(sub, [libfdt.NOTFOUND])
        return node

    def compatible(self, name):
        return [n for n in self.root.walk() if name in n.strings("compatible")]

    def follow(self, node, prop):
        """The node that a property's first phandle leads to, or None."""
        found = self.phandles.get(node.cell(prop), [])
        return found[0] if len(found) == 1 else None

    def gic(self):
        for node in self.root.walk():
            if "interrupt-controller" in node.props and node.cell("#interrupt-cells") == 3:
                return node
        return None


def number(cells):
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value


def overlap(a, b):
    return a[0] < b[0] + b[1] and b[0] < a[0] + a[1]


def span(range_):
    return f"{range_[0]:#x}-{range_[0] + range_[1]:#x}"


def spis_used(tree, ignore):
    """SPI number -> path of the node that uses it, for all nodes but `ignore`."""
    gic, used = tree.gic(), {}
    number_of = gic.cell("phandle")

    def parent_of(node):
        while node is not None:
            if "interrupt-parent" in node.props:
                return node.cell("interrupt-parent")
            node = node.parent
        return None

    for node in tree.root.walk():
        if node in ignore:
            continue
        if node.cell("interrupt-parent", parent_of(node)) == number_of:
            cells = node.cells("interrupts")
            for i in range(0, len(cells) - 2, 3):
                if cells[i] == 0:
                    used[cells[i + 1]] = node.path
        cells = node.cells("interrupts-extended")
        for i, cell in enumerate(cells):
            if cell == number_of and cells[i + 1 : i + 2] == [0]:
                used[cells[i + 2]] = node.path
        used.update((spi, node.path) for spi in mapped(node, gic))
        cells = node.cells("msi-ranges")
        if len(cells) >= 5 and cells[0] == number_of and cells[1] == 0:
            used.update((cells[2] + i, node.path) for i in range(cells[4]))
        if "arm,gic-v2m-frame" in node.strings("compatible"):
            # QEMU's frame, unless the tree says otherwise: SPIs 48-111.
            # The base is an INTID.
            base = node.cell("arm,msi-base-spi", 80) - 32
            count = node.cell("arm,msi-num-spis", 64)
            used.update((base + i, node.path) for i in range(count))
    return used


def mapped(node, gic):
    """SPIs in an interrupt-map whose parent is the GIC."""
    cells = node.cells("interrupt-map")
    key = node.cell("#address-cells", 2) + node.cell("#interrupt-cells", 1)
    step = key + 1 + gic.cell("#address-cells", 0) + 3
    for i in range(0, len(cells) - step + 1, step):
        spec = cells[i + step - 3 : i + step]
        if cells[i + key] == gic.cell("phandle") and spec[0] == 0:
            yield spec[1]


def check_unchanged(tree, base, allowed):
    """The overlay adds; it changes nothing that the machine's own tree says."""
    bad = []

    def compare(old, new):
        for name, value in old.props.items():
            if new.props.get(name) != value and f"{new.path}:{name}" not in allowed:
                bad.append(f"{new.path}: {name} is no longer what the machine's tree says")
        for name, child in old.children.items():
            if name == "__symbols__":
                continue
            if name in new.children:
                compare(child, new.children[name])
            else:
                bad.append(f"{child.path} is gone")

    compare(base.root, tree.root)
    return bad


def check_phandles(tree):
    return [
        f"phandle {number_:#x} is given to {', '.join(n.path for n in nodes)}"
        for number_, nodes in tree.phandles.items()
        if len(nodes) > 1
    ]


def check_memory(tree):
    """Regions: there, aligned, in memory, not in each other's way or anyone else's."""
    bad, ours, kept = [], {}, tree.root.children.get("reserved-memory")
    wants = (("virtio-hvl,link", "virtio-hvl,region"), ("virtio-hvl,psci-rproc", None))
    for user, compatible in wants:
        for node in tree.compatible(user):
            target = tree.follow(node, "memory-region")
            if target is None or target.parent is not kept:
                bad.append(f"{node.path}: memory-region leads to no reserved memory")
                continue
            if compatible and compatible not in target.strings("compatible"):
                bad.append(f"{target.path} is used as a region, but is not {compatible}")
            if "no-map" not in target.props:
                bad.append(f"{target.path} lacks no-map")
            if target in ours:
                bad.append(f"{target.path} is used by {ours[target].path} and {node.path}")
            ours[target] = node
            start, size = target.reg()[0]
            if start % PAGE or size % PAGE:
                bad.append(f"{target.path}: {span((start, size))} is not made of 4 KiB pages")
            if compatible and size < REGION_MIN:
                bad.append(f"{target.path}: {size:#x} bytes, less than {REGION_MIN:#x}")
    memory = [r for n in tree.root.children.values() if n.strings("device_type") == ["memory"]
              for r in n.reg()]
    taken = [(f"/memreserve/ {span(r)}", r) for r in tree.reservations]
    taken += [(n.path, r) for n in kept.children.values() if n not in ours for r in n.reg()]
    nodes = list(ours)
    for i, node in enumerate(nodes):
        own = node.reg()[0]
        if not any(m[0] <= own[0] and own[0] + own[1] <= m[0] + m[1] for m in memory):
            bad.append(f"{node.path}: {span(own)} is not within the machine's memory")
        others = taken + [(n.path, n.reg()[0]) for n in nodes[i + 1 :]]
        bad += [f"{node.path} overlaps {name}" for name, other in others if overlap(own, other)]
        for pool in kept.children.values():
            ranges = pool.cells("alloc-ranges")
            if ranges and overlap(own, (number(ranges[:2]), number(ranges[2:4]))):
                bad.append(f"{node.path} lies where {pool.path} may be allocated")
    return bad


def doorbell_spi(tree, node):
    """The SPI whose set-pending bit the node's doorbell is, and complaints."""
    gic = tree.gic()
    distributor = gic.cpu_address(gic.reg()[0][0])
    address, size = node.reg()[0]
    value = node.cell("virtio-hvl,doorbell-value", 0)
    offset = address - distributor - ISPENDR
    if size != 4 or offset % 4 or not 0 <= offset < 0x80:
        return None, [f"{node.path}: doorbell {address:#x} is no GICD_ISPENDR of {gic.path}"]
    if value == 0 or value & (value - 1):
        return None, [f"{node.path}: doorbell value {value:#x} is not one bit"]
    return offset * 8 + value.bit_length() - 1 - FIRST_SPI, []


def number_in_name(node):
    """What tells the nodes of further links from those of the first: "-2" in virtio-hvl-2@8000210."""
    return "".join(re.findall(r"-[0-9a-f]+(?=@|$)", node.name))


def check_interrupts(tree, expect):
    """Interrupt and doorbells: the SPIs meant, and nobody else's."""
    bad, found = [], {}
    ours = tree.compatible("virtio-hvl,link") + tree.compatible("virtio-hvl,psci-rproc")
    for node in ours:
        spi, complaints = doorbell_spi(tree, node)
        bad += complaints
        link, which = "virtio-hvl,link" in node.strings("compatible"), number_in_name(node)
        if spi is not None:
            found[("peer" if link else "stop") + which] = spi
        if link:
            cells = node.cells("interrupts") or [None] * 3
            for index in range(0, len(cells), 3):
                kind, spi, flags = (cells[index:] + [None] * 3)[:3]
                if kind != 0 or flags != 1:
                    bad.append(f"{node.path}: its interrupt is not an SPI with a rising edge")
                found[(f"vector {index // 3}" if index else "linux") + which] = spi
    fixed = {name: spi for name, spi in found.items() if not name.startswith("vector")}
    if fixed != expect:
        bad.append(f"SPIs are {fixed}, should be {expect}")
    used = spis_used(tree, ours)
    bad += [f"SPI {spi} ({name}) is used by {used[spi]}" for name, spi in found.items()
            if spi in used]
    if len(set(found.values())) != len(found):
        bad.append(f"one SPI twice: {found}")
    return bad


def check_cpus(tree, paths, method):
    """The core of each link: the one meant, still in the topology, started by PSCI."""
    bad = []
    nodes = sorted(tree.compatible("virtio-hvl,psci-rproc"), key=number_in_name)
    for node, path in zip(nodes, paths):
        cpu = tree.follow(node, "cpus")
        if cpu is None or cpu.path != path:
            where = cpu.path if cpu is not None else f"phandle {node.cell('cpus')!r}, no node"
            bad.append(f"{node.path}: cpus leads to {where}, should be {path}")
            continue
        if cpu.strings("device_type") != ["cpu"] or cpu.strings("enable-method") != ["psci"]:
            bad.append(f"{path} is not a core that PSCI starts")
    for node in tree.root.walk():
        if "cpu" in node.props and len(node.props["cpu"]) == 4 and node.name != "aliases":
            if node.cell("cpu") not in tree.phandles:
                bad.append(f"{node.path}: cpu leads nowhere")
    psci = tree.root.children.get("psci")
    if psci is None or psci.strings("method") != [method]:
        bad.append(f"/psci: method is not {method}")
    return bad
