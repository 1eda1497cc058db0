# SPDX-License-Identifier: GPL-2.0
"""Which functions of the firmware execute most: where to look for what a pass costs.

The compiler makes one function of many; what was inlined counts for whom it was inlined into.
"""
import bisect
import collections
import subprocess

# How many are shown.
MOST = 30


def symbols(elf):
    """(addresses, names) of the functions, by address."""
    done = subprocess.run(["aarch64-linux-gnu-nm", "-C", "-n", elf], capture_output=True, text=True, check=True)
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    code = [(int(address, 16), name) for address, kind, name in rows if kind in "tTwW"]
    return [address for address, _ in code], [name for _, name in code]


def show(measured, blocks, elf, base):
    """Print the lists. measured: as of results.measured(); blocks: the peer's, as of shares.read_blocks()."""
    addresses, names = symbols(elf)
    counted, repeats = {}, collections.Counter()
    for (number, name, operations), row in zip(measured, blocks, strict=True):
        if number:
            repeats[name] += 1
            sums = counted.setdefault(name, collections.Counter())
            for offset, count, times in row:
                at = bisect.bisect_right(addresses, base + offset) - 1
                sums[names[at] if at >= 0 else "?"] += count * times / operations
    for name, sums in counted.items():
        print(f"{name}: the peer executes {sum(sums.values()) / repeats[name]:.0f} instructions for one operation")
        for function, times in sums.most_common(MOST):
            print(f"  {times / repeats[name]:9.1f} {function}")
        print()
