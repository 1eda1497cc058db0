# SPDX-License-Identifier: GPL-2.0
"""From what the guest prints to figures."""
import base64
import collections
import gzip
import re
import statistics
import zlib

PAIR = re.compile(r"([a-z-]+) (\d+)\b(?!/)")
# Round trips before those that are measured, as in load.c and hvl_bench.c.
WARM = 50
KINDS = {"1": "net", "2": "blk", "3": "console", "19": "vsock", "63": "bench"}


class Unreadable(Exception):
    """The guest has not printed what it should."""


def unpack(output):
    """The guest's log, out of its console output."""
    found = re.search(r"^@packed$(.*)^@end$", output, re.M | re.S)
    if not found:
        raise Unreadable("the guest has not come to its end")
    lines = [line for line in found[1].splitlines() if re.fullmatch(r"[A-Za-z0-9+/=]+", line)]
    try:
        return gzip.decompress(base64.b64decode("".join(lines))).decode(errors="replace")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise Unreadable(f"what the guest has packed is damaged: {error}") from error


def counters(text):
    """Linux's counters of the link (stats) and of each queue (devices): name -> value. Of several devices of a
    kind, all but the first have a number in the name."""
    found, device, kinds = {}, "", collections.Counter()
    for line in text:
        if match := re.match(r"(\S+): type (\d+) ", line):
            kind = KINDS.get(match[2], match[1])
            kinds[kind] += 1
            device = kind if kinds[kind] == 1 else f"{kind}{kinds[kind]}-"
        elif match := re.match(r"  queue (\d+): (.*)", line):
            for name, value in PAIR.findall(match[2]):
                found[f"{device}{match[1]} {name}"] = int(value)
        elif match := re.match(r"([a-z-]+): (\d+)$", line):
            found[match[1]] = int(match[2])
    return found


def page(text):
    """The counters of the peer's status page."""
    found, device = {}, ""
    for line in text:
        if match := re.match(r"doorbells: (\d+) in, (\d+) out, (\d+) merged", line):
            found.update(zip(("peer rung", "peer rings", "peer merged"), map(int, match.groups())))
        elif match := re.match(r"passes: (\d+), slept (\d+) times", line):
            found.update(zip(("peer passes", "peer sleeps"), map(int, match.groups())))
        elif match := re.match(r"(\w+): (status|received) ", line):
            device = match[1]
            if match[2] == "received":
                found.update({f"peer {device} {name}": int(n) for name, n in PAIR.findall(line)})
        elif match := re.match(r"  queue (\d+): (.*)", line):
            found.update({f"peer {device}{match[1]} {name}": int(n) for name, n in PAIR.findall(match[2])})
    return found


def difference(dumps):
    """How much each counter has risen from the last but one dump to the last."""
    if len(dumps) < 2:
        return {}
    return {name: value - dumps[-2].get(name, 0) for name, value in dumps[-1].items()}


def one(step, lines):
    """One repeat of a step: times in ns and differences of counters."""
    linux, peer, at, times, wakeups, lost = [], [], None, {}, [], 0
    for line in lines:
        if line in ("@linux", "@peer"):
            at = []
            (linux if line == "@linux" else peer).append(at)
        elif line == "@result":
            at = None
        elif line.startswith("wakeups: "):
            wakeups.append(int(line.split()[1]))
        elif at is not None:
            at.append(line)
        elif match := re.match(r"(min|median|p99|max)-ns: (\d+)", line):
            times[match[1]] = int(match[2])
        elif match := re.match(r"rr (\d+) (\d+) (\d+) (\d+) (\d+)$", line):
            times = dict(zip(("min", "median", "p99", "max"), map(int, match.groups()[1:])))
        elif match := re.match(r"bulk (\d+) (\d+)( \d+)?$", line):
            times = {"median": int(match[2]) * (1 << 20) / max(int(match[1]), 1)}
            if match[3]:
                lost = int(match[3])
        elif match := re.match(r"each (\d+) (\d+)$", line):
            times = {"median": int(match[2]) / int(match[1])}
    if step.kind not in ("none", "idle") and "median" not in times:
        raise Unreadable(f"{step.name}: no result in {lines[:40]}")
    risen = difference([counters(text) for text in linux])
    risen.update(difference([page(text) for text in peer]))
    if lost:
        risen["lost"] = lost
    if len(wakeups) >= 2:
        risen["wakeups"] = wakeups[-1] - wakeups[0]
    return times, risen


def figures(log, table):
    """The figures of all steps: name -> times (ns a round trip, or a MiB) and counts (a round trip or MiB)."""
    repeats = {step.name: [] for step in table}
    by_name = {step.name: step for step in table}
    for part in log.split("@step ")[1:]:
        part = part.split("@setup ")[0]
        head, *lines = part.splitlines()
        number, name = head.split(" ", 1)
        if int(number):
            repeats[name].append(one(by_name[name], lines))
    # What looking at the counters costs is in the peer's, which are read over the link.
    nothing = {name: statistics.median(r[1].get(name, 0) for r in repeats["none"])
               for name in repeats["none"][0][1] if name.startswith("peer ")} if repeats["none"] else {}
    found = {}
    for name, list_ in repeats.items():
        if name == "none" or not list_:
            continue
        step = by_name[name]
        medians = [times["median"] for times, _ in list_ if times]
        entry = {key: getattr(step, key) for key in ("kind", "over", "what", "part", "gate", "base")}
        if medians:
            middle = statistics.median(medians)
            entry["ns"] = round(middle, 1)
            entry["spread"] = round((max(medians) - min(medians)) / middle * 100, 2)
            for other in ("min", "p99", "max"):
                if other in list_[0][0]:
                    entry[other] = statistics.median(times[other] for times, _ in list_)
        # The load warms up before it measures, and what it warms up with is counted.
        warm = WARM if step.kind == "trip" else 0
        entry["counts"] = {}
        for counter in sorted({c for _, risen in list_ for c in risen}):
            value = statistics.median(risen.get(counter, 0) for _, risen in list_) - nothing.get(counter, 0)
            if value:
                entry["counts"][counter] = round(value / (step.operations + warm), 4)
        found[name] = entry
    return found


def memory(lines):
    """What the devices took to set up, microseconds each, and what a queue has of Linux's memory and of the pool."""
    text = "\n".join(lines)
    times = [int(us) for us in re.findall(r" set-up-us (\d+)", text)]
    books = [int(count) for count in re.findall(r"^  queue .* books (\d+)", text, re.M)]
    shares = [int(count, 16) for count in re.findall(r"^  queue \d+: share (0x[0-9a-f]+)", text, re.M)]
    if not times or not books:
        return {}
    return {"devices": len(times), "queues": len(books), "us": round(statistics.mean(times), 1),
            "books": round(statistics.mean(books)), "share": round(statistics.mean(shares))}


def set_up(log):
    """What attaching costs: for each set of devices, transactions, doorbells, interrupts, time and memory."""
    found = {}
    for part in log.split("@setup ")[1:]:
        name, *lines = part.split("@step ")[0].splitlines()
        all_ = counters(lines)
        found[name] = {counter: all_.get(counter, 0) for counter in ("transactions", "doorbells", "interrupts")}
        found[name].update(memory(lines))
        bell = [int(line.split()[1]) for line in lines if line.startswith("median-ns: ")]
        if bell:
            found[name]["doorbell"] = bell[0]
    return found


# What count.c counts of each side.
SIDES = ("linux", "peer")
OF_A_SIDE = ("instructions", "transport", "lines", "written", "read")


def measured(log, table):
    """What was counted between two marks, in turn: the number of the round, the step, and how many of its operations."""
    by_name = {step.name: step for step in table}
    for number, name in (head.split(" ", 1) for head in re.findall(r"^@step (.*)$", log, re.M)):
        step = by_name[name]
        if step.kind not in ("none", "idle"):
            # What hvl_bench warms up with is between the marks, what load does is not.
            warm = WARM if step.kind == "trip" and step.command.startswith("run ") else 0
            yield int(number), name, step.operations + warm


def add_sides(found, log, table, text):
    """What each side does for one operation of each step, into figures as figures() has made them."""
    all_, lines = list(measured(log, table)), text.splitlines()
    if len(lines) != len(all_):
        raise Unreadable(f"{len(all_)} times something was measured, {len(lines)} times it was counted")
    counted, operations = {}, {}
    for (number, name, done), line in zip(all_, lines):
        operations[name] = done
        if number:
            counted.setdefault(name, []).append([int(word) for word in line.split()])
    for name, repeats in counted.items():
        done = operations[name]
        middle = [statistics.median(values) / done for values in zip(*repeats)]
        names = [f"{side} {what}" for side in SIDES for what in OF_A_SIDE]
        found[name]["sides"] = {key: round(value, 2) for key, value in zip(names, middle)}
