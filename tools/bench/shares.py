# SPDX-License-Identifier: GPL-2.0
"""What the parts of the transport's code execute.

The compiler makes one function of many, so addresses of functions tell little. But the debug information
says of each instruction by which source line it is there, through all that was inlined: what belongs
to none of the parts, such as an access to memory, is that of whom it was inlined into.
"""
import re
import statistics
import subprocess

# What is looked at with --shares.
STEPS = ("ping 56 peer", "ping 1400 peer", "udp trip 64 peer", "tcp trip 64 peer", "tcp to 64K peer", "tcp from 64K peer",
         "vsock trip 64 peer", "vsock to 64K peer", "vsock from 64K peer", "virtqueue echo 64",
         "ping 56 loopback", "ping 56 mmio", "ping 1400 mmio")

# A part of the code, and what the innermost frame that belongs to any of them looks like: "file:line function".
PARTS = (
    # What can say no to the peer: the used index, id and length against the book.
    ("checks", re.compile(r"algo/ring/book\.rs:\d+ .*::(look_up|take|with_device)\b|algo/ring/split\.rs:\d+ .*::look\b|"
                          r"algo/ring/packed\.rs:\d+ .*::marked\b|algo/ring/lie\.rs:")),
    # The ring in the region and the book of it.
    ("shared ring", re.compile(r"algo/ring/")),
    # The ring that the virtio core works on.
    ("private ring", re.compile(r"algo/shadow/(flow|private|mod)|virtio_hvl/(private|queue/(traffic|books))")),
    # Buffers: where they lie in the region, and the copies.
    ("bounce", re.compile(r"algo/shadow/(maps|pool)|virtio_hvl/queue/memory|virtio/map")),
    ("doorbells", re.compile(r"virtio_hvl/doorbell/")),
    ("devices", re.compile(r"virtio_hvl/(device/|queue/mod|driver|link/|window)|virtio/")),
)
FIREWALL = ("checks", "shared ring", "private ring")
REST = "rest"


def part_of(frames):
    """Which part an instruction belongs to; frames: "file:line function", the innermost first."""
    for frame in frames:
        for name, pattern in PARTS:
            if pattern.search(frame):
                return name
    return REST


def look_up(offsets, module):
    """Offset in the code -> the part that it belongs to."""
    asked = sorted(offsets)
    done = subprocess.run(["aarch64-linux-gnu-addr2line", "-a", "-i", "-f", "-C", "-j", ".text", "-e", module],
                          input="".join(f"{offset:#x}\n" for offset in asked),
                          capture_output=True, text=True, check=True)
    found = {}
    for chunk in re.split(r"^0x", done.stdout, flags=re.M)[1:]:
        address, *lines = chunk.splitlines()
        found[int(address, 16)] = part_of(f"{where} {name}" for name, where in zip(lines[::2], lines[1::2]))
    return found


def read_blocks(path):
    """What count.c has written: for each of results.measured() the blocks of Linux's and of the peer's side, each
    (offset, instructions, times)."""
    rows = []
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = [int(word) for word in line.split()]
            rows.append(list(zip(words[::3], words[1::3], words[2::3])))
    return rows[::2], rows[1::2]


def add(found, measured, blocks, module):
    """Instructions of each part for one operation, into figures as results.figures() has made them. measured: as
    of results.measured(), blocks: the module's, as read_blocks() has them."""
    # Blocks overlap, instructions do not.
    offsets = {offset + 4 * at for row in blocks for offset, count, _ in row for at in range(count)}
    part = look_up(offsets, module)
    counted = {}
    for (number, name, operations), row in zip(measured, blocks, strict=True):
        sums = dict.fromkeys((*(name for name, _ in PARTS), REST), 0)
        for offset, count, times in row:
            for at in range(count):
                sums[part[offset + 4 * at]] += times
        if number:
            counted.setdefault(name, []).append({key: value / operations for key, value in sums.items()})
    for name, repeats in counted.items():
        found[name]["parts"] = {key: round(statistics.median(one[key] for one in repeats), 2) for key in repeats[0]}


def firewall(step, parts=FIREWALL):
    """Per cent of both sides' instructions that these parts execute."""
    sides = step["sides"]
    return sum(step["parts"][name] for name in parts) / (
        sides["linux instructions"] + sides["peer instructions"]) * 100


def show(steps):
    """Print the table."""
    rows = [(name, steps[name]) for name in STEPS if any(steps.get(name, {}).get("parts", {}).values())]
    if not rows:
        return
    names = [*(name for name, _ in PARTS), REST]
    print("instructions of virtio_hvl.ko's parts, each round trip or MiB; of both sides', per cent")
    print("  " + " " * 22 + "".join(f"{name:>13}" for name in names) + "     firewall     checks")
    for name, step in rows:
        print(f"  {name:22}" + "".join(f"{step['parts'][part]:13.0f}" for part in names)
              + f"{firewall(step):12.2f}%{firewall(step, ('checks',)):10.2f}%")
    print()
    # What Linux alone does, the hypervisor's device beside ours: nothing of theirs is an instruction here.
    for shown in ("ping 56", "ping 1400"):
        if all("sides" in steps.get(f"{shown} {over}", {}) for over in ("peer", "mmio")):
            ours, theirs = (steps[f"{shown} {over}"]["sides"]["linux instructions"] for over in ("peer", "mmio"))
            own = steps[f"{shown} peer"]["sides"]["linux transport"]
            print(f"  {shown}: Linux executes {ours:.0f} instructions over the peer's device, {own:.0f} of them "
                  f"virtio_hvl's, and {theirs:.0f} over virtio-mmio: {ours / theirs:.2f}x")
    print()
