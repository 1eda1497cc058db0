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
MAKE_OVERLAYS = TOP / "tools/testing/selftests/virtio_hvl/make-overlays"
DIRECT_OVERLAY = OUT / "overlays/direct.dtbo"
# The device for measurements is of no type that a peer may have otherwise.
TRUSTED_OVERLAY = OUT / "overlays/trusted.dtbo"
DIRECT = "direct=0x40000000+0x40000000"
# Bytes of it that the link uses where the rest is for copies.
LINKED = 31 << 20
# Machines that need a boot of their own: what they have beside the usual one.
BOOTS = {"main": [], "links": ["--cpus", "5", "--overlay", "qemu-virt-links.dtbo"], "direct": []}
# The peers of the other links: their firmware, and what they are told.
OTHERS = {2: ("hvl-peer-76000000.elf", "region=0x7c000000 size=0x1000000 irq-out=136 irq-in=137 irq-stop=138 uart=none"),
          3: ("hvl-peer-74000000.elf", "region=0x73000000 size=0x1000000 irq-out=144 irq-in=145 irq-stop=146 uart=none"),
          4: ("hvl-peer-71000000.elf", "region=0x70000000 size=0x1000000 irq-out=152 irq-in=153 irq-stop=154 uart=none")}
# The hypervisor's disks, as large as the peer's. Counted: one that does nothing, and at once, since the clock
# stands still meanwhile. (What a device of QEMU's does is no instruction of the machine's.)
DISK_SIZE = 64 << 10
DISKS = {"mmio": "virtio-blk-device", "pci": "virtio-blk-pci"}
# Peers that are only attached to: their devices, and how many those are.
SETUPS = {"net": ("net", 1), "vsock": ("vsock", 1), "both": ("net,vsock", 2), "1x3": ("bench", 1),
          "4x3": ("bench,bench,bench,bench", 4), "4x8": ("bench,bench,bench,bench bench-queues=8", 4),
          "8x3": (",".join(["bench"] * 8), 8), "32x3": (",".join(["bench"] * steps.DEVICES), steps.DEVICES),
          "1x64": (f"bench bench-queues={steps.QUEUES}", 1)}
# Those that the gate leaves out: it is to be quick, and the others show what would show there.
LARGE = ("8x3", "32x3", "1x64")
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


def firmware(name, words, elf="hvl-peer.elf"):
    """The peer with another command line."""
    built, path = BUILD / "peer" / elf, OUT / f"{name}.elf"
    if not built.exists():
        fail(f"no build/peer/{elf}: run 'make guest' first")
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


def disks(counted):
    """QEMU's arguments for its own disks."""
    path = OUT / "disk.img"
    path.write_bytes(bytes(DISK_SIZE))
    for name, device in DISKS.items():
        # (Two of one file, each as if it was alone.)
        drive = (f"driver=null-co,node-name={name},size={DISK_SIZE},read-zeroes=on" if counted
                 else f"driver=file,node-name={name},filename={path},locking=off")
        for arg in ("-blockdev", drive, "-device", f"{device},drive={name},share-rw=on"):
            yield f"--qemu-arg={arg}"
    for transport in ("virtio-mmio", "virtio-pci") if counted else ():
        yield from ("--qemu-arg=-global", f"--qemu-arg={transport}.ioeventfd=off")


def peers(chosen, which, opts, counted):
    """The command lines of the peers: of the parts of these steps, of what is only attached to, and of other links."""
    direct = f" {DIRECT}" if opts.direct or which == "direct" else ""
    setups = SETUPS if counted and which == "main" else {}
    if opts.check or opts.baseline:
        setups = {name: setup for name, setup in setups.items() if name not in LARGE}
    parts = {name: steps.PARTS[name] for name in dict.fromkeys(step.part for step in chosen)}
    words = {name: part.words.replace("LINKED", f"{LINKED:#x}") for name, part in parts.items()}
    words.update({name: f"devices={devices}" for name, (devices, _) in setups.items()})
    found = {name: (f"{text}{direct}", "hvl-peer.elf") for name, text in words.items()}
    for number in sorted({number for part in parts.values() for number in part.others}):
        elf, text = OTHERS[number]
        found[f"other{number}"] = (f"devices=blk {text}", elf)
    texts = {"steps": "".join(f"{step.part}|{step.name}|{step.command}\n" for step in chosen),
             "parts": "".join(f"{name}|{part.devices}|{' '.join(map(str, part.others))}\n" for name, part in parts.items()),
             "setups": "".join(f"{name} {count}\n" for name, (_, count) in setups.items())}
    return found, texts


def boot(name, chosen, rounds, opts, sides, blocks):
    """One boot with these steps; returns what it says. name: (mode, boot); sides, blocks: a file for what each side
    does, and one for which code does it, or None."""
    mode, which = name
    counted, log = mode == "counted", mode if which == "main" else f"{mode}-{which}"
    told, texts = peers(chosen, which, opts, counted)
    texts.update({"linked": f"{LINKED}\n", "text": f"{text_size()}\n"})
    # (Where Linux bounces all of it, a device reaches nothing directly.)
    bounced = "" if opts.direct or which == "direct" else " swiotlb=force"
    command = [TOP / "tools/qemu/vm", "--name", f"bench-{log}", "--append", f"loglevel=1{bounced}",
               "--silence", str(SILENCE), "--no-echo", "--file", f"{OUT / 'guest/load'}:/bench/load", *BOOTS[which]]
    for file, text in texts.items():
        (OUT / f"{mode}.{file}").write_text(text, encoding="ascii")
        command += ["--file", f"{OUT / f'{mode}.{file}'}:/bench/{file}"]
    subprocess.run([MAKE_OVERLAYS, TRUSTED_OVERLAY.parent], check=True)
    command += ["--overlay", TRUSTED_OVERLAY]
    if opts.direct or which == "direct":
        command += ["--overlay", DIRECT_OVERLAY]
    for peer, (words, elf) in told.items():
        peer = peer.replace(" ", "-")
        path = firmware(f"{mode}-{peer}", f"{words} {STILL if counted else ''}".strip(), elf)
        command += ["--file", f"{path}:/lib/firmware/hvl-bench-{peer}.elf"]
    if any(step.over in DISKS and step.part == "disk" for step in chosen):
        command += disks(counted)
    if counted:
        command += COUNTED + ([] if opts.seed else SAME) + ["--qemu-arg=-seed", f"--qemu-arg={opts.seed}"]
        if opts.shares:
            command += ["--qemu-net"]
        if sides:
            command += ["--qemu-arg=-plugin", f"--qemu-arg={OUT / 'host/count.so'},out={sides},"
                        f"region={REGION},size={REGION_SIZE},code={FIRMWARE},code-size={FIRMWARE_SIZE}" + (f",blocks={blocks}" if blocks else "")]
    elif which == "main":
        command += ["--qemu-net", "--qemu-arg=-netdev", "--qemu-arg=user,id=net1,net=10.0.3.0/24",
                    "--qemu-arg=-device", "--qemu-arg=virtio-net-pci,netdev=net1,romfile="]
    done = subprocess.run(command + ["--script", TOP / "tools/bench/measure.sh", str(rounds)], check=False)
    output = (BUILD / f"log/bench-{log}.log").read_text(encoding="utf-8", errors="replace")
    if done.returncode:
        tail = "\n".join(output.splitlines()[-15:])
        fail(f"the guest has failed (status {done.returncode}); the end of build/log/bench-{log}.log:\n{tail}")
    return results.unpack(output)


def wanted(step, mode, opts):
    """Whether this step is done."""
    which = steps.PARTS[step.part].boot
    if opts.check or opts.baseline:
        return step.gate and which == "main"
    if opts.shares:
        return step.name in shares.STEPS
    # (What is in direct mode as a whole is compared with what is not, elsewhere. By the clock, cores that take turns
    # on fewer of this machine's say nothing.)
    if opts.direct and (step.over == "swiotlb" or which != "main"):
        return False
    if which == "links" and mode == "wall":
        return False
    return not opts.only or re.search(opts.only, step.name)


def one_boot(name, chosen, rounds, opts):
    """Measure these steps in one boot, of this mode and machine; (its log, figures of the steps, figures of set-ups)."""
    mode, which = name
    tail = "" if which == "main" else f"-{which}"
    print(f"bench: {mode}: {len(chosen)} steps, {rounds} times and once to warm up "
          f"(progress: build/log/bench-{mode}{tail}.log)", flush=True)
    sides = OUT / f"counted{tail}.sides" if mode == "counted" else None
    # (Not for the gate, which is to be quick.)
    blocks = OUT / "counted.blocks" if sides and not opts.check and not opts.baseline and which == "main" else None
    log = boot(name, chosen, rounds, opts, sides, blocks)
    (OUT / f"{mode}{tail}.log").write_text(log, encoding="utf-8")
    found = results.figures(log, chosen)
    if sides:
        results.add_sides(found, log, chosen, sides.read_text(encoding="ascii"))
    if blocks:
        of_module, of_peer = shares.read_blocks(blocks)
        shares.add(found, results.measured(log, chosen), of_module, the_module())
        if opts.functions:
            functions.show(results.measured(log, chosen), of_peer, BUILD / "peer/hvl-peer.elf", FIRMWARE)
    return log, found, results.set_up(log)


def measure(mode, opts):
    """Measure and write down; returns the results."""
    rounds, trips, most = AMOUNT[mode]
    rounds = opts.rounds or rounds
    OUT.mkdir(parents=True, exist_ok=True)
    found = {"mode": mode, "rounds": rounds, "machine": {}, "steps": {}, "set-up": {}}
    with services() if mode == "wall" else contextlib.nullcontext() as ports:
        chosen = [step for step in steps.steps(trips, most, ports, beside=opts.shares)
                  if step.kind == "none" or wanted(step, mode, opts)]
        for which in BOOTS:
            these = [step for step in chosen if step.kind == "none" or steps.PARTS[step.part].boot == which]
            # Each boot has the step that does nothing.
            if len(these) == 1 and (which != "main" or len(chosen) > 1):
                continue
            log, figures, set_ups = one_boot((mode, which), these, rounds, opts)
            found["steps"].update(figures)
            found["set-up"].update(set_ups)
            found["machine"] = {"qemu": text_of(["qemu-system-aarch64", "--version"]),
                                "kernel": log.splitlines()[0], "cores": os.cpu_count()}
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
