# SPDX-License-Identifier: GPL-2.0
"""Measure the link beside its limits: its doorbell, Linux's loopback, the hypervisor's device.

counted: one boot in which one instruction, of either core, takes one nanosecond; it costs the same
on any machine, and repeats. wall: one boot by the clock of this machine; only the ratios within a
run say something, and QEMU's own network device is one of those compared.

What was measured goes to build/bench/counted.json and wall.json. Exit status: 0; 1: something is worse
than the baseline; 2: nothing could be measured; 4: the baseline is of another kernel or QEMU.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import aims
import compare
import functions
import results
import shares
import steps
import table

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
OUT = BUILD / "bench"
DOCUMENTS = TOP / "Documentation/virtio-hvl"
BASELINE = TOP / "tools/bench/baseline.json"

# One instruction a nanosecond, one core after the other, and nothing from outside: no random
# numbers, no clock of this machine.
COUNTED = ["--accel", "tcg,thread=single", "--qemu-arg=-icount", "--qemu-arg=shift=0,align=off,sleep=off",
           "--qemu-arg=-rtc", "--qemu-arg=base=2026-01-01,clock=vm"]
SAME = ["--qemu-arg=-machine", "--qemu-arg=dtb-randomness=off", "--append", "nokaslr norandmaps"]
# The peer must not spend instructions on looking around while it waits.
STILL = "spin=0"
# The region of the overlays, and the peer's firmware (samples/peer/machine/link.ld).
REGION, REGION_SIZE = 0x7a000000, 32 << 20
FIRMWARE, FIRMWARE_SIZE = 0x78000000, 24 << 20
# For direct mode: what makes the node ask for it, and the machine's memory.
DIRECT_OVERLAY = BUILD / "guest/opt/selftests/virtio_hvl/overlays/direct.dtbo"
DIRECT = "direct=0x40000000+0x40000000"
# Bytes of it that the link uses where the rest is for copies.
LINKED = 31 << 20
# Peers that are only attached to: their devices, and how many those are.
SETUPS = {"net": ("net", 1), "vsock": ("vsock", 1), "both": ("net,vsock", 2), "1x3": ("bench", 1),
          "4x3": ("bench,bench,bench,bench", 4), "4x8": ("bench,bench,bench,bench bench-queues=8", 4)}
# Repeats, round trips, MiB.
AMOUNT = {"counted": (3, 500, 32), "wall": (5, 200, 8)}
# Exit status, that of a test that is skipped.
STRANGER = 4
# Seconds without anything new from the guest: a round takes a while, and this machine may be busy.
SILENCE = 1800


def fail(text):
    """End with a sentence."""
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(2)


def arguments():
    """The command line."""
    p = argparse.ArgumentParser(prog="bench", formatter_class=argparse.RawDescriptionHelpFormatter,
                                description=__doc__)
    p.add_argument("--mode", choices=("counted", "wall", "both"), default="both", help="which (both)")
    p.add_argument("--rounds", type=int, default=0,
                   help=f"repeats ({AMOUNT['counted'][0]} counted, {AMOUNT['wall'][0]} by the clock)")
    p.add_argument("--only", metavar="REGEX", help="only the steps that it matches")
    p.add_argument("--check", action="store_true", help="counted, and compare with tools/bench/baseline.json")
    p.add_argument("--baseline", action="store_true", help="counted, and write tools/bench/baseline.json")
    p.add_argument("--shares", action="store_true", help="counted, a few steps: what each part of the transport's "
                   "code executes, the ring firewall among them")
    p.add_argument("--functions", action="store_true", help="counted: which functions of the firmware execute most, "
                   "for each step that --only names")
    p.add_argument("--seed", type=int, default=0, help="counted with other random numbers, and so other addresses "
                   "and orders of events: how much of a figure is chance")
    p.add_argument("--direct", action="store_true", help="in direct mode: the peer reaches Linux's buffers; the results "
                   "go to counted-direct.json and wall-direct.json")
    p.add_argument("--plots", action="store_true", help="measure nothing; draw build/bench/counted.json into "
                   "Documentation/virtio-hvl")
    p.add_argument("--spread", nargs="+", metavar="JSON", help="measure nothing; how these results of "
                   "the same kind differ, figure by figure")
    return p.parse_args()


def text_of(command):
    """The first line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0].strip()


def firmware(name, words):
    """The peer with another command line."""
    built, path = BUILD / "peer/hvl-peer.elf", OUT / f"{name}.elf"
    if not built.exists():
        fail("no build/peer/hvl-peer.elf: run 'make guest' first")
    shutil.copyfile(built, path)
    subprocess.run([TOP / "samples/peer/cmdline", path, words], check=True)
    return path


@contextlib.contextmanager
def services():
    """Our services on this machine, for the guest's user network; yields their ports."""
    with subprocess.Popen([OUT / "host/load", "serve", "127.0.0.1", "0", "0", "0"],
                          stdout=subprocess.PIPE, text=True) as server:
        try:
            yield tuple(int(port) for port in server.stdout.readline().split())
        finally:
            server.kill()


def the_module():
    """The transport's module, with what debuggers know of it."""
    try:
        release = (BUILD / "kernel/current/release").read_text(encoding="ascii").strip()
    except OSError:
        release = ""
    module = BUILD / "modules" / release / "virtio_hvl.ko"
    if not module.is_file():
        fail(f"no {module}: run 'make guest' first")
    return module


def text_size():
    """Bytes of the transport's code."""
    module = the_module()
    done = subprocess.run(["aarch64-linux-gnu-objdump", "-h", module], capture_output=True, text=True, check=True)
    return int(re.search(r" \.text +([0-9a-f]+) ", done.stdout)[1], 16)


def boot(mode, chosen, rounds, opts, sides, blocks):
    """One boot with these steps; returns what it says. sides, blocks: a file for what each side does, and
    one for which code does it, or None."""
    counted = mode == "counted"
    setups = SETUPS if counted else {}
    texts = {"steps": "".join(f"{step.part}|{step.name}|{step.command}\n" for step in chosen),
             "setups": "".join(f"{name} {count}\n" for name, (_, count) in setups.items()),
             "linked": f"{LINKED}\n", "text": f"{text_size()}\n"}
    peers = {"link": "", "queue": f"devices=bench size={LINKED:#x}",
             **{name: f"devices={devices}" for name, (devices, _) in setups.items()}}
    # (Where Linux bounces all of it, a device reaches nothing directly.)
    bounced = "" if opts.direct else " swiotlb=force"
    command = [TOP / "tools/qemu/vm", "--name", f"bench-{mode}", "--append", f"loglevel=1{bounced}",
               "--silence", str(SILENCE), "--no-echo", "--file", f"{OUT / 'guest/load'}:/bench/load"]
    for name, text in texts.items():
        (OUT / f"{mode}.{name}").write_text(text, encoding="ascii")
        command += ["--file", f"{OUT / f'{mode}.{name}'}:/bench/{name}"]
    if opts.direct:
        command += ["--overlay", DIRECT_OVERLAY]
        peers = {name: f"{words} {DIRECT}" for name, words in peers.items()}
    for name, words in peers.items():
        path = firmware(f"{mode}-{name}", f"{words} {STILL if counted else ''}".strip())
        command += ["--file", f"{path}:/lib/firmware/hvl-bench-{name}.elf"]
    if counted:
        command += COUNTED + ([] if opts.seed else SAME) + ["--qemu-arg=-seed", f"--qemu-arg={opts.seed}"]
        if opts.shares:
            command += ["--qemu-net"]
        if sides:
            command += ["--qemu-arg=-plugin", f"--qemu-arg={OUT / 'host/count.so'},out={sides},"
                        f"region={REGION},size={REGION_SIZE},code={FIRMWARE},code-size={FIRMWARE_SIZE}" + (f",blocks={blocks}" if blocks else "")]
    else:
        command += ["--qemu-net", "--qemu-arg=-netdev", "--qemu-arg=user,id=net1,net=10.0.3.0/24",
                    "--qemu-arg=-device", "--qemu-arg=virtio-net-pci,netdev=net1,romfile="]
    done = subprocess.run(command + ["--script", TOP / "tools/bench/measure.sh", str(rounds)], check=False)
    output = (BUILD / f"log/bench-{mode}.log").read_text(encoding="utf-8", errors="replace")
    if done.returncode:
        tail = "\n".join(output.splitlines()[-15:])
        fail(f"the guest has failed (status {done.returncode}); the end of build/log/bench-{mode}.log:\n{tail}")
    return results.unpack(output)


def wanted(step, opts):
    """Whether this step is done."""
    if opts.check or opts.baseline:
        return step.gate
    if opts.shares:
        return step.name in shares.STEPS
    if opts.direct and step.over == "swiotlb":
        return False
    return not opts.only or re.search(opts.only, step.name)


def measure(mode, opts):
    """Measure and write down; returns the results."""
    rounds, trips, most = AMOUNT[mode]
    rounds = opts.rounds or rounds
    OUT.mkdir(parents=True, exist_ok=True)
    with services() if mode == "wall" else contextlib.nullcontext() as ports:
        chosen = [step for step in steps.steps(trips, most, ports, beside=opts.shares)
                  if step.kind == "none" or wanted(step, opts)]
        print(f"bench: {mode}: {len(chosen)} steps, {rounds} times and once to warm up "
              f"(progress: build/log/bench-{mode}.log)", flush=True)
        sides = OUT / "counted.sides" if mode == "counted" else None
        # (Not for the gate, which is to be quick.)
        blocks = OUT / "counted.blocks" if sides and not opts.check and not opts.baseline else None
        log = boot(mode, chosen, rounds, opts, sides, blocks)
    (OUT / f"{mode}.log").write_text(log, encoding="utf-8")
    found = {
        "mode": mode, "rounds": rounds,
        "machine": {"qemu": text_of(["qemu-system-aarch64", "--version"]),
                    "kernel": log.splitlines()[0], "cores": os.cpu_count()},
        "steps": results.figures(log, chosen), "set-up": results.set_up(log),
    }
    if sides:
        results.add_sides(found["steps"], log, chosen, sides.read_text(encoding="ascii"))
    if blocks:
        of_module, of_peer = shares.read_blocks(blocks)
        shares.add(found["steps"], results.measured(log, chosen), of_module, the_module())
        if opts.functions:
            functions.show(results.measured(log, chosen), of_peer, BUILD / "peer/hvl-peer.elf", FIRMWARE)
    (OUT / f"{mode}{'-direct' if opts.direct else ''}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="ascii")
    table.show(found)
    shares.show(found["steps"])
    aims.show(found)
    return found


def read(path):
    """A JSON file."""
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        return fail(f"{path} cannot be read: {error}")


def spread(paths):
    """How far apart each figure is in several results; the furthest first."""
    all_ = [compare.flat(read(path)) for path in paths]
    rows = []
    for name in all_[0]:
        values = [one[name] for one in all_ if name in one]
        if max(values) - min(values) > compare.FEW:
            rows.append(((max(values) - min(values)) / (min(values) or 1) * 100, name, values))
    for per_cent, name, values in sorted(rows, reverse=True):
        print(f"{per_cent:6.2f}%  {name}: {' '.join(f'{value:g}' for value in values)}")
    print(f"{len(rows)} of {len(all_[0])} figures differ at all")


def check(now):
    """Compare with the baseline; returns the exit status."""
    base = read(BASELINE)
    if why := compare.stranger(base, now):
        print(f"bench-check: {why}", file=sys.stderr)
        return STRANGER
    worse, better, gone = compare.compare(base, now)
    for what, lines in (("worse", worse), ("better", better), ("not measured", gone)):
        for line in lines:
            print(f"bench-check: {what}: {line}")
    print(f"bench-check: {len(worse)} worse, {len(better)} better, of {len(base['figures'])} figures "
          f"(limit {compare.LIMIT:g}%, wider where compare.py says so)")
    return 1 if worse or gone else 0


def main():
    """Measure what is asked for."""
    opts = arguments()
    if opts.spread:
        spread(opts.spread)
        return 0
    if opts.plots:
        # (what draws is large, and nobody else waits for it)
        import plots  # pylint: disable=import-outside-toplevel
        for path in plots.draw(read(OUT / "counted.json"), DOCUMENTS):
            print(f"bench: {path} written")
        return 0
    if opts.direct and (opts.check or opts.baseline):
        fail("the baseline is of isolated mode")
    modes = {"both": ("counted", "wall")}.get(opts.mode, (opts.mode,))
    if opts.check or opts.baseline or opts.shares or opts.functions:
        modes = ("counted",)
        if opts.check:
            read(BASELINE)
    found = {mode: measure(mode, opts) for mode in modes}
    if opts.baseline:
        now = found["counted"]
        text = json.dumps({"": "SPDX-License-Identifier: GPL-2.0", "machine": now["machine"],
                           "figures": compare.flat(now)}, indent=1)
        BASELINE.write_text(text + "\n", encoding="ascii")
        print(f"bench: {BASELINE} written")
    return check(found["counted"]) if opts.check else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except results.Unreadable as why_not:
        fail(str(why_not))
    except KeyboardInterrupt:
        sys.exit(130)
