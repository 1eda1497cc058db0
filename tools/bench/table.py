# SPDX-License-Identifier: GPL-2.0
"""The results as a table: ratios first."""


def ratios(found, name):
    """(to loopback, to QEMU's device, to the doorbell), each a text."""
    all_, entry = found["steps"], found["steps"][name]

    def to(other):
        base = all_.get(other, {}).get("ns")
        if not base or other == name:
            return "-"
        # a rate is the better the larger it is, and so is its ratio
        ratio = base / entry["ns"] if entry["kind"] == "bulk" else entry["ns"] / base
        return f"{ratio:.2f}x"

    doorbell = to("doorbell") if entry["kind"] == "trip" else "-"
    return to(f"{entry['what']} loopback"), to(f"{entry['what']} qemu"), doorbell


def show(found):
    """Print it."""
    counted = found["mode"] == "counted"
    print(f"\n{found['mode']}: {'1 instruction of either core = 1 ns' if counted else 'clock of this machine'}; "
          f"median of {found['rounds']} (spread: of the repeats within this boot)")
    print(f"{'':26} {'/loopback':>9} {'' if counted else '  /qemu'} {'/bell':>7} {'median':>12} {'p99':>8} "
          f"{'bells':>7} {'irqs':>7} {'spread':>7}")
    last = None
    for name, entry in found["steps"].items():
        if "ns" not in entry:
            continue
        if entry["kind"] != last:
            last = entry["kind"]
            print({"trip": "round trips, us; counts per round trip",
                   "bulk": "bulk, Mbit/s; counts per MiB; ratios of rates"}.get(last, "raw doorbell, us"))
        loop, qemu, bell = ratios(found, name)
        if entry["kind"] == "bulk":
            value, tail = f"{(1 << 23) * 1000 / entry['ns']:.0f} Mb/s", "-"
        else:
            value, tail = f"{entry['ns'] / 1000:.2f} us", f"{entry['p99'] / 1000:.1f}" if "p99" in entry else "-"
        ours = entry["over"] == "peer"
        bells, irqs = (f"{entry['counts'].get(c, 0):.2f}" if ours else "-" for c in ("doorbells", "interrupts"))
        print(f"  {name:24} {loop:>9} {'' if counted else f'{qemu:>7}'} {bell:>7} {value:>12} {tail:>8} {bells:>7} {irqs:>7} "
              f"{entry['spread']:>6.1f}%")
    idle = found["steps"].get("idle")
    if idle:
        counts = idle["counts"]
        print(f"idle, a second: {counts.get('doorbells', 0):g} doorbells, {counts.get('interrupts', 0):g} interrupts, "
              f"the link's threads woken up {counts.get('wakeups', 0):g} times")
    for name, entry in found["set-up"].items():
        print(f"set-up, {name}: {entry['transactions']} transactions, {entry['doorbells']} doorbells, "
              f"{entry['interrupts']} interrupts")
    print()
