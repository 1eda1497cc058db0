# SPDX-License-Identifier: GPL-2.0
"""Counted figures against those of the baseline."""
import re

# Figures that are worse by more than this many per cent are named.
LIMIT = 3.0
# Two boots of the same code give the same figures, to the last digit. But another order of events, as any
# change makes it, moves some by chance. Boots with other random numbers and kernel addresses (bench --seed,
# then bench --spread), or other steps in between, tell how much: times, instructions and lines by at most
# 2% and so within the limit, doorbells of bulk transfers by up to 8.3%, and one wake-up in ten seconds.
# (What moves more is no figure of the gate: see flat() and steps.UNSTEADY.)
WIDER = {
    r"(tcp|udp|vsock|seqpacket|virtqueue) (to|from|both) .*: (doorbells|interrupts)": 12.0,
    r"blk .* x\d+ .*: (doorbells|interrupts)": 12.0,
    # (Its driver sleeps for the answer, or has it before it does.)
    # (Whether Linux's acknowledgements come one by one or in heaps. It has either, by what was done before.)
    r"tcp from 64K peer: (ns|Linux|transport|peer)": 6.0,
    # (4.4 a MiB alone, whatever the seed; 6.3 behind other steps, if it comes to that.)
    r"tcp from 64K peer: (doorbells|interrupts)": 45.0,
    r"console trip .*: (ns|Linux)": 35.0,
    r"idle: wakeups": 5.0,
}
# Counts below this (a round trip, or a MiB) tell nothing in per cent.
FEW = 0.05
COUNTS = ("doorbells", "interrupts")
# What of both sides' is compared: the name of the figure, and of what it is the sum.
SIDES = {"Linux": ("linux instructions",), "transport": ("linux transport",), "peer": ("peer instructions",),
         "lines": ("linux lines", "peer lines")}


def flat(counted):
    """The figures that are compared, name -> value; less is better for all."""
    found = {}
    for name, entry in counted["steps"].items():
        if not entry.get("gate", entry["over"] == "peer"):
            continue
        if "ns" in entry:
            found[f"{name}: ns"] = entry["ns"]
        for counter in COUNTS if entry["kind"] != "each" else ():
            found[f"{name}: {counter}"] = entry["counts"].get(counter, 0)
        for figure, parts in SIDES.items():
            # A timer's interrupt more or less is much where nothing else is done but calls.
            if "sides" in entry and (entry["kind"] != "each" or figure == "transport"):
                found[f"{name}: {figure}"] = round(sum(entry["sides"][part] for part in parts), 2)
        if "wakeups" in entry["counts"]:
            found[f"{name}: wakeups"] = entry["counts"]["wakeups"]
    for name, entry in counted["set-up"].items():
        for counter in ("transactions", "doorbells"):
            found[f"set-up {name}: {counter}"] = entry[counter]
        if "doorbell" in entry:
            found[f"set-up {name}: doorbell, ns"] = entry["doorbell"]
        # (The time of it depends on who waited for whom.)
        if "books" in entry:
            found[f"set-up {name}: bytes a queue"] = entry["books"]
    return found


def limit(name):
    """Per cent by which a figure may be worse."""
    return max([LIMIT] + [wide for pattern, wide in WIDER.items() if re.fullmatch(pattern, name)])


def stranger(base, now):
    """A sentence if the two cannot be compared, or None."""
    for what in ("qemu", "kernel"):
        if base["machine"].get(what) != now["machine"].get(what):
            return (f"the baseline is of another {what}: {base['machine'].get(what)}, "
                    f"here it is {now['machine'].get(what)}; make one here with 'tools/bench/bench --baseline'")
    return None


def compare(base, now):
    """(worse, better, gone): lines of text for each figure that is not what it was."""
    before, after = base["figures"], flat(now)
    worse, better = [], []
    for name, old in before.items():
        if name not in after:
            continue
        new = after[name]
        if abs(new - old) <= FEW:
            continue
        change = (new - old) / old * 100 if old else float("inf")
        text = f"{name}: {old:g} -> {new:g} ({change:+.1f}%)"
        if change > limit(name):
            worse.append(text)
        elif change < -limit(name):
            better.append(text)
    return worse, better, [name for name in before if name not in after]
