# SPDX-License-Identifier: GPL-2.0
"""Run the selftests of virtio_hvl in guests, one boot a machine. KTAP on stdout.

Two guests run at a time: each mostly waits, for its peer or for its Linux. The output of
one comes after that of the other.

With SCRIPTs, only these, on those machines that run them. Exit status 0: everything
passed; 1: something failed; 2: nothing was run.

Two tiers: without --long each script runs in its short form, on the machines that show what no
other one does. --long adds what LONG says, and the scripts run all they have (HVL_LONG=1).
"""

import argparse
import atexit
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
SELFTESTS = TOP / "tools/testing/selftests/virtio_hvl"
OVERLAYS = TOP / "build/guest/opt/selftests/virtio_hvl/overlays"

# Bulk transfers are an endurance test, the same on every machine: once is enough.
FEWER = ["HVL_FEWER=1", "HVL_BULK_MIB=8"]

# Linux in EL2, as on most boards: PSCI is called by SMC, and the firmware starts in EL2. (With
# KVM, this kernel's own hotplug of a core has an array index out of bounds there.)
EL2 = ["--qemu-arg=-machine", "--qemu-arg=virtualization=on", "--append", "kvm-arm.mode=none"]

# A region that is mapped without caches on both sides.
UNCACHED = ["--no-default-overlay", "--overlay", "qemu-virt-gicv3-uncached.dtbo"]

# Message-signalled interrupts for the queues; and the kernel as it decides by itself, see tools/qemu/vm.py.
MSI = ["--no-default-overlay", "--overlay", "qemu-virt-gicv2-msi.dtbo", "--append", "kpti=on"]
ITS = ["--no-default-overlay", "--overlay", "qemu-virt-gicv3-its.dtbo"]

# Memory that Linux leaves alone, for the peer's disks.
DISK = ["--memory", "1152M", "--append", "mem=1G"]
DISK_AT = "HVL_DISK=0x80000000+0x8000000"

# With fio in it (tools/initramfs/make-programs fio).
FIO = ["--initrd", str(TOP / "build/initramfs/fio.cpio")]

# A boot loader starts the peer before it starts Linux; one that crashes after three seconds of use.
PEER_FIRST = ["--peer-first", str(TOP / "build/peer/hvl-peer.elf")]
PEER_CRASHES = [*PEER_FIRST, "--peer-words", "devices=net,vsock fault=crash"]

# With cyclictest and stress-ng.
RT = ["--initrd", str(TOP / "build/initramfs/rt.cpio")]

# What starts another kernel, and room for one that comes after a panic (tools/testing/selftests/virtio_hvl/kexec.sh).
KEXEC = ["--initrd", str(TOP / "build/initramfs/kexec.cpio"), "--kernel-file", "--memory", "3G",
         "--append", "retain_initrd crashkernel=1G"]

# Three more links, on cores 2 to 4.
LINKS = ["--overlay", "qemu-virt-links.dtbo"]

# name, GIC, CPUs, more for the machine, settings, scripts: with the seconds that each usually takes
# beside another guest on two cores with nothing else to do. They judge nothing.
# Those that take longest come first, so that no core of this machine is without one at the end; but
# those with more cores are not to run side by side.
MACHINES = [
    ("gicv3-2cpu", 3, 2, [], ["HVL_BULK_MIB=8"],
     {"psci_rproc": 61, "probe": 13, "net": 78, "iperf3": 38, "ipv6": 20, "vsock": 50, "vsock_only": 4, "rng": 6,
      "console": 26, "isolation": 15, "doorbell": 13, "polling": 44, "direct": 31,
      "badinput": 71, "lifecycle": 35, "recovery": 39, "vsock_seq": 13, "rpmsg": 14, "soak": 17, "attack": 33}),
    ("gicv3-4cpu", 3, 4, [*DISK, *FIO], [*FEWER, DISK_AT],
     {"blk": 64, "blk_fio": 20, "doorbell_faults": 31, "netmq": 28, "rings": 47, "vectors": 55}),
    ("gicv2-2cpu", 2, 2, [], FEWER,
     {"hostile": 34, "lies": 92, "adversary": 27}),
    ("gicv2-4cpu", 2, 4, [], FEWER, {"held": 32, "watchdog": 39, "suspend": 55, "regions": 78, "vsock_lies": 52}),
    ("gicv3-2cpu-el2", 3, 2, EL2, FEWER,
     {"psci_rproc": 18, "psci_rproc_refusals": 15, "psci_rproc_files": 17, "netlies": 43, "kill": 53}),
    ("gicv3-5cpu-links", 3, 5, LINKS, FEWER, {"links": 39, "scale": 19}),
    ("gicv2-2cpu-msi", 2, 2, MSI, FEWER, {"vectors": 30, "doorbell_faults": 24}),
    ("gicv3-2cpu-its", 3, 2, [*ITS, *RT], FEWER, {"vectors": 20, "latency": 9, "kill_linux": 32}),
    ("gicv3-2cpu-uncached", 3, 2, UNCACHED, FEWER, {"net": 19}),
    ("gicv3-2cpu-attach", 3, 2, PEER_FIRST, FEWER, {"alone": 10, "attach": 20}),
    ("gicv2-2cpu-attach", 2, 2, PEER_CRASHES, FEWER, {"attach_crash": 15}),
    ("gicv2-2cpu-kexec", 2, 2, KEXEC, FEWER, {"kexec": 60}),
]
# Those that wait most of the time, on two cores only: one more at a time, in what the others leave of this machine.
BESIDE = {"gicv3-2cpu-uncached", "gicv3-2cpu-attach", "gicv2-2cpu-attach", "gicv2-2cpu-kexec"}
# What the long tier runs beside that: the same on other machines.
EVERYWHERE = ["probe", "net", "vsock", "isolation", "doorbell", "recovery"]
LONG = {
    "gicv3-4cpu": [*EVERYWHERE, "lies", "held"],
    "gicv2-2cpu": [*EVERYWHERE, "badinput", "lifecycle"],
    "gicv2-4cpu": [*EVERYWHERE, "hostile", "psci_rproc"],
    "gicv3-2cpu-uncached": [*EVERYWHERE, "rings", "regions", "lies", "hostile", "direct"],
    "gicv3-2cpu-el2": EVERYWHERE,
}

# The kernel with PREEMPT_RT (make guest kernel=rt), where interrupt handlers are threads, and locks sleep.
RT_MACHINES = [
    ("rt-gicv3-2cpu", 3, 2, RT, FEWER,
     {"latency": 20, "probe": 15, "net": 70, "vsock": 50, "isolation": 22, "doorbell": 16, "recovery": 48, "lies": 80,
      "hostile": 35, "rpmsg": 30, "attack": 35, "watchdog": 40, "kill_linux": 50, "console": 30}),
    ("rt-gicv3-4cpu", 3, 4, RT, FEWER,
     {"latency": 20, "probe": 17, "net": 50, "rings": 80, "held": 45, "lifecycle": 90}),
]

# The kernel that looks after itself (make guest kernel=debug): KASAN, lockdep, kmemleak and so on, several times slower than
# Debian's.
SLOWER = "HVL_SLOWER=4"
SLOWLY = [*FEWER, "HVL_RELOADS=3", SLOWER]
# (How long each takes depends on what else the machine does more than elsewhere: nobody says what is usual.)
DEBUG_MACHINES = [
    ("debug-gicv3-2cpu", 3, 2, [], SLOWLY, dict.fromkeys((
        "probe", "net", "vsock", "recovery", "lifecycle", "badinput", "isolation", "doorbell", "direct", "console", "rng",
        "rpmsg", "psci_rproc", "vsock_seq", "iperf3", "ipv6", "adversary", "attack", "watchdog", "kill_linux"), 0)),
    ("debug-gicv3-4cpu", 3, 4, DISK, [*SLOWLY, DISK_AT], dict.fromkeys((
        "lies", "hostile", "rings", "held", "blk", "vectors", "regions", "netlies", "vsock_lies", "netmq",
        "doorbell_faults"), 0)),
    ("debug-gicv3-2cpu-its", 3, 2, ITS, SLOWLY, {"vectors": 0}),
    ("debug-gicv3-5cpu-links", 3, 5, LINKS, SLOWLY, {"links": 0, "scale": 0}),
]



def same(kernel, *more, without=()):
    """The machines of the usual kernel for another one, without some scripts."""
    return [(f"{kernel}-{name}", gic, cpus, [*more, *others], settings,
             {script: 0 for script in usual if script not in without})
            for name, gic, cpus, others, settings, usual in MACHINES]


# Which of build/kernel: its machines, and words of its own for its command line.
KERNELS = {
    "current": (MACHINES, ""),
    "rt": (RT_MACHINES, ""),
    # Pages of 16 KiB (an A72 does not know them); and the series before.
    "16k": (same("16k", "--cpu", "cortex-a76"), ""),
    # (Where consoles are for peers that are trusted: threat-model.rst.)
    "7.2": (same("7.2", without=("console",)), ""),
    # It has no remoteproc, so the peer has to be there first.
    "cloud": ([("cloud-gicv3-2cpu", 3, 2, PEER_FIRST, FEWER, {"alone": 0})], ""),
    # (KASAN says of one access only, by default. Who has allocated what is kept by it and by kmemleak: SLUB need not.)
    "debug": (DEBUG_MACHINES, " page_poison=1 kasan_multi_shot slab_debug=FZP"),
}

# From the start of a machine to its first script.
BOOT = 6

# A log that holds all that one script says: the tests look at it from its beginning to its end. And
# no going on after an oops, where the first lock it held would keep the guest for its whole time. Room to bounce
# what a device does not reach (direct.sh): by itself the kernel has 1 MiB, less than a ring full of buffers.
KERNEL = "log_buf_len=4M oops=panic swiotlb=16384"

RESULT = re.compile(r"( *)(not ok|ok) (\d+) ?([^#]*)(# SKIP)?")


class Counter:
    """Counts results of single tests: those of the innermost level."""

    def __init__(self):
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.failures, self.inner, self.script = [], 0, ""

    def line(self, machine, text):
        """Take notice of one line of the guest."""
        if text.startswith("# Subtest: "):
            self.script, self.inner = text.split()[-1], 0
        found = RESULT.match(text)
        if not found:
            return
        indent, result, _, name, skip = found.groups()
        bad, name = result == "not ok", name.strip()
        if not indent:
            # A script: a failure of its own only if none of its tests has failed.
            if bad and not self.inner:
                self.fail(f"{machine} {name}: broke off")
            elif skip:
                self.skip(f"{machine} {name}")
        elif bad:
            self.inner += 1
            self.fail(f"{machine} {self.script}: {name}")
        elif skip:
            self.skip(f"{machine} {self.script}: {name}")
        else:
            self.passed += 1

    def skip(self, what):
        """These guests have everything: what is skipped is not tested, and nobody would notice."""
        self.skipped += 1
        self.failures.append(f"{what} (skipped)")

    def fail(self, what):
        """Remember a failure."""
        self.failed += 1
        self.failures.append(what)


def compare(what, seconds, usual):
    """How long something has taken, and how that compares."""
    if not usual:
        return f"# {what}: {seconds:.0f} s"
    return f"# {what}: {seconds:.0f} s, usually {usual} s: {seconds / usual:.1f} times that"


def prepare(kernel):
    """What the guests need from here: overlays, and an initramfs with the tests of now."""
    os.environ["HVL_KERNEL"] = kernel
    OVERLAYS.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([SELFTESTS / "make-overlays", OVERLAYS], check=True)
    subprocess.run([TOP / "tools/dt/build"], check=True)
    subprocess.run([TOP / "tools/initramfs/make-project"], check=True)


def is_beside(name, opts):
    """Whether the machine of that name runs beside those that have a place."""
    return name in BESIDE and opts.jobs > 1 and not opts.long


class Guest(threading.Thread):
    """One machine with its scripts: boots when there is room; its lines wait to be read."""

    def __init__(self, machine, scripts, opts, room):
        super().__init__(daemon=True)
        name, gic, cpus, more, settings, usual = machine
        settings = ["HVL_LONG=1", *(set(settings) & {DISK_AT, SLOWER})] if opts.long else settings
        self.name, self.room, self.lines = name, room, queue.SimpleQueue()
        # (Nobody has to know how long the long forms take.)
        self.usual = {} if opts.long else usual
        known = not opts.long and all(usual[script] for script in scripts)
        self.usually = BOOT + sum(usual[script] for script in scripts) if known else None
        self.status, self.seconds, self.process = None, 0.0, None
        self.command = [str(word) for word in (
            *(("nice", "-n", "5") if is_beside(name, opts) else ()), TOP / "tools/qemu/vm", "--gic", gic, "--cpus", cpus, "--name", f"test-{name}", "--kernel", opts.kernel,
            "--silence", opts.silence * (4 if SLOWER in settings else 1), "--timeout", opts.timeout, *more, "--append", KERNEL + KERNELS[opts.kernel][1],
            "--overlay", OVERLAYS / "test-regions.dtbo", "--script", TOP / "tools/testing/guest-run", "--", *settings, *opts.set, *scripts)]

    def run(self):
        """Boot it and collect what it says; the last line is None."""
        try:
            with self.room:
                begin = time.monotonic()
                with subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, errors="replace") as self.process:
                    for line in self.process.stdout:
                        self.lines.put((time.monotonic(), line.rstrip("\r\n")))
                self.status, self.seconds = self.process.returncode, time.monotonic() - begin
        except OSError as error:
            self.lines.put((time.monotonic(), f"run: {error}"))
        finally:
            # Whatever happened: show() waits for it.
            self.lines.put(None)

    def show(self, counter):
        """Print what it says until it ends, as a nested test."""
        begun = None
        while (said := self.lines.get()) is not None:
            now, line = said
            if line == "KTAP version 1":
                begun = begun or now
            # What the firmware or an early kernel says is no KTAP.
            print(f"    {line}" if begun else f"    # {line}", flush=True)
            if begun:
                counter.line(self.name, line)
                if (found := RESULT.match(line)) and not found[1]:
                    script = found[4].strip()
                    print("    " + compare(f"{self.name} {script}", now - begun, self.usual.get(script)), flush=True)
                    begun = now


def end_guests(guests):
    """Leave none behind when we are ended ourselves."""
    for guest in guests:
        if guest.process and guest.process.poll() is None:
            guest.process.terminate()


def arguments():
    """The command line."""
    p = argparse.ArgumentParser(prog="run", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("scripts", nargs="*", metavar="SCRIPT", help="net, vsock, ...: see --list")
    p.add_argument("--machine", action="append", default=[], help="only this machine")
    p.add_argument("--kernel", choices=KERNELS, default="current",
                   help="rt: the one with PREEMPT_RT; 16k: with pages of that size; cloud: without remoteproc; 7.2: the series before; debug: the one "
                   "with KASAN, lockdep, kmemleak and the like; each on machines of its own (after make guest kernel=...)")
    p.add_argument("--long", action="store_true", help="the long forms, hours in all")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                   help="a setting of the tests, such as HVL_BULK_MIB=8")
    p.add_argument("--silence", type=float, default=300, metavar="S",
                   help="end a guest when it has said nothing new for so many seconds (300; 0: never)")
    p.add_argument("--timeout", type=float, default=0, metavar="S",
                   help="end a guest after so many seconds, however fast this machine is (0: never)")
    p.add_argument("--jobs", type=int, default=2, help="guests at a time (2), and one of those that wait most of the time")
    p.add_argument("--list", action="store_true", help="list machines and their scripts")
    return p.parse_args()


def scripts_of(machine, long):
    """What runs on it: in the long tier also what the short one leaves to other machines."""
    more = LONG.get(machine[0], []) if long else []
    return [*machine[5], *(script for script in more if script not in machine[5])]


def main():
    """Run what was asked for."""
    opts = arguments()
    wanted = [word.removesuffix(".sh") for word in opts.scripts]
    plan = [(m, [s for s in scripts_of(m, opts.long) if not wanted or s in wanted])
            for m in KERNELS[opts.kernel][0]
            if not opts.machine or m[0] in opts.machine]
    plan = [(machine, scripts) for machine, scripts in plan if scripts]
    if opts.list:
        for machine, scripts in plan:
            print(f"{machine[0]}: {' '.join(scripts)}")
        return 0
    unknown = set(wanted) - {script for _, scripts in plan for script in scripts}
    if unknown or not plan:
        print(f"run: no such test: {' '.join(unknown) or 'nothing selected'}", file=sys.stderr)
        return 2

    prepare(opts.kernel)
    counter, start = Counter(), time.monotonic()
    print(f"KTAP version 1\n1..{len(plan)}", flush=True)
    room, beside = threading.Semaphore(max(opts.jobs, 1)), threading.Semaphore(1)
    guests = [Guest(machine, scripts, opts, beside if is_beside(machine[0], opts) else room) for machine, scripts in plan]
    for guest in guests:
        guest.start()  # they take the room in this order
    atexit.register(end_guests, guests)
    for index, guest in enumerate(guests, 1):
        name, before = guest.name, len(counter.failures)
        print(f"# Subtest: {name}", flush=True)
        guest.show(counter)
        if guest.status == 124:
            counter.fail(f"{name} {counter.script}: hung or out of time, and was ended")
        elif guest.status == 125:
            counter.fail(f"{name} {counter.script}: the guest broke off")
        elif guest.status is None:
            counter.fail(f"{name}: the machine could not be started or read")
        elif guest.status and len(counter.failures) == before:
            counter.fail(f"{name}: status {guest.status}")
        bad = guest.status != 0 or len(counter.failures) > before
        print(f"{'not ok' if bad else 'ok'} {index} {name}", flush=True)
        print(compare(name, guest.seconds, guest.usually), flush=True)
    for failure in counter.failures:
        print(f"# failed: {failure}")
    print(f"# {time.monotonic() - start:.0f} s")
    print(f"# totals: pass:{counter.passed} fail:{counter.failed} skip:{counter.skipped}", flush=True)
    return 1 if counter.failures or not counter.passed else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        print(f"run: {error}", file=sys.stderr)
        sys.exit(2)
