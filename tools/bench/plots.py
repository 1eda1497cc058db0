# SPDX-License-Identifier: GPL-2.0
"""The counted figures as plots for the documentation.

The same figures give the same files, to the byte: what differs in a commit is what was measured.
"""
import io
import re

import matplotlib
matplotlib.use("svg")
# pylint: disable=wrong-import-position
from matplotlib import pyplot  # noqa: E402

import steps  # noqa: E402

matplotlib.rcParams.update({
    "svg.hashsalt": "virtio-hvl", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd",
    "axes.axisbelow": True, "legend.frameon": False,
})
# Colours that are told apart without seeing red and green (Okabe and Ito).
BLUE, SKY, ORANGE, GREEN, RED, GREY = "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#d55e00", "#999999"
MIB_BITS = 1 << 23
TRIPS = (("doorbell", "doorbell"), ("virtqueue echo 64", "virtqueue echo, 64"), ("ping 56 peer", "ping, 56"),
         ("udp trip 64 peer", "UDP, 64"), ("tcp trip 64 peer", "TCP, 64"), ("vsock trip 64 peer", "vsock, 64"),
         ("vsock trip 16K peer", "vsock, 16K"), ("tcp trip 16K peer", "TCP, 16K"))


def trips(found, axes):
    """Which side a round trip's instructions are of."""
    rows = [(label, found["steps"][name]["sides"]) for name, label in TRIPS
            if "sides" in found["steps"].get(name, {})]
    labels = [label for label, _ in rows]
    transport = [sides["linux transport"] / 1000 for _, sides in rows]
    rest = [sides["linux instructions"] / 1000 - ours for (_, sides), ours in zip(rows, transport)]
    peer = [sides["peer instructions"] / 1000 for _, sides in rows]
    axes.barh(labels, transport, color=BLUE, label="virtio_hvl")
    axes.barh(labels, rest, left=transport, color=SKY, label="the rest of Linux")
    axes.barh(labels, peer, left=[a + b for a, b in zip(transport, rest)], color=ORANGE, label="the peer")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("instructions a round trip, thousands")
    axes.legend()


def rate(found, name):
    """Mbit/s of a bulk transfer, or None."""
    entry = found["steps"].get(name)
    return MIB_BITS * 1000 / entry["ns"] if entry else None


def line(axes, points, **how):
    """A line through the points that there are."""
    points = [(x, y) for x, y in points if y]
    if points:
        axes.plot(*zip(*points), marker=".", **how)


def bulk(found, axes):
    """How the rate depends on the size of a call, with the ceiling."""
    for kind, name, colour in (("tcp", "TCP", BLUE), ("vsock", "vsock", GREEN), ("virtqueue", "virtqueue", ORANGE)):
        for way, style in (("to", "-"), ("from", "--")):
            tail = "" if kind == "virtqueue" else " peer"
            line(axes, [(count, rate(found, f"{kind} {way} {steps.size(count)}{tail}")) for count in steps.SIZES],
                 color=colour, linestyle=style, label=f"{name}, {way} the peer")
    copies = [(count, found["steps"].get(f"memcpy in {steps.size(count)}")) for count in steps.BUFFERS]
    line(axes, [(count, count * 8000 / entry["ns"] if entry else None) for count, entry in copies], color=GREY,
         linestyle=":", label="one memcpy to the region")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(50, 100000)
    axes.set_xticks(steps.SIZES, [steps.size(count) for count in steps.SIZES])
    axes.minorticks_off()
    axes.set_xlabel("bytes a call")
    axes.set_ylabel("Mbit/s at 10⁹ instructions a second")
    axes.legend(fontsize=8)


def maps(found, axes):
    """Mappings, with the one copy that each needs, beside those of a bounce by the DMA API."""
    all_ = found["steps"]
    for at, (way, copy) in enumerate((("to", "in"), ("from", "out"))):
        for number, count in enumerate(steps.BUFFERS):
            size = steps.size(count)
            ours, base, copied = (all_.get(name, {}).get("ns", 0) / 1000 for name in (
                f"map {way} {size} peer", f"map {way} {size} swiotlb", f"memcpy {copy} {size}"))
            if not (ours and base and copied):
                continue
            x = number * 3 + at * 1.3
            labels = (None,) * 3 if axes.patches else ("map and unmap", "and one copy", "swiotlb")
            axes.bar(x, ours, 0.5, color=BLUE, label=labels[0])
            axes.bar(x, copied, 0.5, bottom=ours, color=SKY, label=labels[1])
            axes.bar(x + 0.55, base, 0.5, color=GREY, label=labels[2])
    places = [number * 3 + at * 1.3 + 0.27 for number in range(len(steps.BUFFERS)) for at in range(2)]
    axes.set_xticks(places, [f"{way}\n{steps.size(count)}" for count in steps.BUFFERS for way in ("to", "from")])
    axes.grid(axis="x", visible=False)
    if not axes.patches:
        return
    # from below the cheapest to above the dearest that there is any sense in
    axes.set_yscale("log")
    axes.set_ylim(0.3, 60)
    axes.set_yticks((0.5, 1, 2, 5, 10, 20, 50), ("0.5", "1", "2", "5", "10", "20", "50"))
    axes.minorticks_off()
    axes.set_ylabel("thousand instructions a buffer")
    axes.legend()


def devices(found, axes):
    """How a doorbell and attaching grow with devices."""
    rows = [(name, entry) for name, entry in found["set-up"].items() if "doorbell" in entry]
    labels = [{"both": "net, vsock", "1x3": "1 with 3\nqueues", "1x64": "1 with\n64"}.get(
        name, re.sub(r"^(\d+)x(\d+)$", r"\1 with \2\neach", name)) for name, _ in rows]
    axes.bar(labels, [entry.get("doorbell", 0) / 1000 for _, entry in rows], 0.5, color=BLUE)
    axes.set_ylabel("doorbell round trip, thousand instructions")
    axes.grid(axis="x", visible=False)
    for at, (_, entry) in enumerate(rows):
        axes.annotate(f"{entry['doorbells']} bells\nto set up", (at, entry.get("doorbell", 0) / 1000),
                      ha="center", va="bottom", fontsize=8)
    axes.margins(y=0.2)


PLOTS = {"trips": (trips, (7, 3)), "bulk": (bulk, (7, 4)), "maps": (maps, (7, 3.2)), "devices": (devices, (7, 3))}


def tidy(svg):
    """As the tree wants its files: the licence first, nothing at the end of lines, and not too many of these."""
    svg = re.sub(r"<\?xml.*?\?>\s*|<!DOCTYPE.*?>\s*", "", svg, flags=re.S)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    # a path's points on the line of the path, an element's children on its own
    svg = re.sub(r"\s*\n\s*(?!\s*<(g|defs|/svg|text|style))", " ", svg)
    svg = "\n".join(row.strip() for row in svg.splitlines() if row.strip())
    return ('<?xml version="1.0" encoding="utf-8"?>\n<!-- SPDX-License-Identifier: GPL-2.0 -->\n'
            f"{svg}\n")


def draw(found, folder):
    """Writes all plots; returns their paths."""
    paths = []
    for name, (plot, size) in PLOTS.items():
        figure, axes = pyplot.subplots(figsize=size, layout="constrained")
        plot(found, axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
        path = folder / f"bench-{name}.svg"
        path.write_text(tidy(text.getvalue()), encoding="utf-8")
        paths.append(path)
    return paths
