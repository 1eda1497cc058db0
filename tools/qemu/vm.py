# SPDX-License-Identifier: GPL-2.0
"""Boot Debian's arm64 kernel on QEMU's virt machine, with overlays applied.

The guest's console goes to standard output and to build/log/<name>.log; what the
peer writes to its own UART goes to build/log/<name>-peer.log.

Exit status: that of what ran in the guest; 124 when it hung or its time was up (the guest
is ended, what it printed remains), 125 when the guest ended without giving a status (it
crashed), 126 when the machine could not be started.
"""
import argparse
import ctypes
import os
import re
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

from progress import SECOND, Progress

TIMED_OUT, NO_STATUS, NO_MACHINE = 124, 125, 126
EXIT_LINE = re.compile(rb"^HVL-EXIT: (\d+)\s*$")
PR_SET_PDEATHSIG = 1

# With KASLR this kernel gives user space page tables of its own, here too, where nobody speculates: the
# emulator then forgets all translations at each system call, which takes 28 us in place of 3.
EMULATED = ["kpti=off"]

# Where a kernel is that is not QEMU's to start, as in tools/testing/firmware/Makefile.
KERNEL = 0x42000000

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BUILD = os.path.join(TOP, "build")


def arguments():
    """The command line."""
    p = argparse.ArgumentParser(
        prog="vm", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    p.add_argument("--gic", type=int, choices=(2, 3), default=3, help="GIC version (3)")
    p.add_argument("--cpu", default="cortex-a72", help="kind of core (cortex-a72)")
    p.add_argument("--cpus", type=int, default=2, help="number of cores (2)")
    p.add_argument("--accel", default="tcg,thread=multi", help="QEMU's -accel (tcg,thread=multi)")
    p.add_argument("--memory", default="1G", help="memory (1G)")
    p.add_argument("--overlay", action="append", default=[], metavar="DTBO",
                   help="apply this overlay too: a file, or a name in build/dtbs")
    p.add_argument("--no-default-overlay", action="store_true",
                   help="leave out qemu-virt-gicv<N>.dtbo")
    p.add_argument("--dtb-only", metavar="FILE", help="write the merged tree to FILE, boot nothing")
    p.add_argument("--kernel", default="current", metavar="NAME",
                   help="which of build/kernel, with its modules (current); or the file of an image")
    p.add_argument("--append", action="append", default=[], metavar="WORDS",
                   help="more words for the kernel's command line")
    p.add_argument("--run", metavar="COMMAND", help="run this shell command in the guest, then end")
    p.add_argument("--script", metavar="FILE",
                   help="run this file of the host in the guest, then end; arguments after --")
    p.add_argument("--file", action="append", default=[], metavar="HOST:GUEST",
                   help="put a file or a directory of the host into the guest")
    p.add_argument("--kernel-file", action="store_true", help="the guest has the kernel's image as /boot/Image, too")
    p.add_argument("--initrd", action="append", default=[], metavar="CPIO", help="add an archive")
    p.add_argument("--silence", type=float, default=300, metavar="S",
                   help="end the guest when it has said nothing new for so many seconds (300; 0: never; "
                   "not for a shell). The same with other numbers is not new, but for tests (KTAP)")
    p.add_argument("--timeout", type=float, default=0, metavar="S",
                   help="end the guest after so many seconds, however fast this machine is (0: never)")
    p.add_argument("--name", help="name of the log files (vm)")
    p.add_argument("--no-echo", action="store_true", help="console output to the log only")
    p.add_argument("--peer-first", metavar="ELF",
                   help="a boot loader starts this peer on core 1 before it starts Linux (build/testfw/boot.bin)")
    p.add_argument("--peer-words", metavar="WORDS", help="its command line")
    p.add_argument("--qemu-net", action="store_true",
                   help="add QEMU's own virtio-net over virtio-mmio with user networking")
    p.add_argument("--qemu-arg", action="append", default=[], metavar="ARG", help="one more argument for QEMU")
    p.add_argument("args", nargs="*", help="arguments of --script")
    return p.parse_args()


def fail(text):
    """End with a sentence about what is missing."""
    print(f"vm: {text}", file=sys.stderr)
    sys.exit(NO_MACHINE)


class Cpio:
    """Writes an archive the kernel unpacks ("newc")."""

    def __init__(self, out):
        self.out, self.ino, self.dirs = out, 0x700000, set()

    def entry(self, name, mode, data=b""):
        """One file, directory or link; NAME has no leading slash."""
        self.ino += 1
        raw = name.encode() + b"\0"
        fields = (self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        self.out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def parents(self, name):
        """The directories above NAME; those of the base stay as they are."""
        parts = name.split("/")[:-1]
        # /lib, /bin, /sbin are links in the guest: a directory entry would replace them.
        for i in range(1, len(parts) + 1):
            path = "/".join(parts[:i])
            if path not in self.dirs and path not in ("lib", "bin", "sbin"):
                self.dirs.add(path)
                self.entry(path, stat.S_IFDIR | (0o1777 if path == "tmp" else 0o755))

    def add(self, host, guest, more=0):
        """A file, or a directory with all that is in it; MORE bits of its mode."""
        guest = guest.strip("/")
        for link in ("lib", "bin", "sbin"):
            if guest.startswith(link + "/"):
                guest = "usr/" + guest
        self.parents(guest)
        if os.path.isdir(host):
            self.parents(guest + "/.")
            for name in sorted(os.listdir(host)):
                self.add(os.path.join(host, name), f"{guest}/{name}")
        else:
            with open(host, "rb") as f:
                self.entry(guest, stat.S_IFREG | (os.stat(host).st_mode & 0o777) | more, f.read())

    def end(self):
        """The trailer."""
        self.entry("TRAILER!!!", 0)


def image_of(opts):
    """The file of the kernel."""
    return opts.kernel if "/" in opts.kernel else os.path.join(BUILD, "kernel", opts.kernel, "Image")


def initrd(opts, work):
    """Concatenate the archives and what is for this run only."""
    own = "" if opts.kernel == "current" or "/" in opts.kernel else f"-{opts.kernel}"
    names = ("base", f"modules{own}", f"project{own}")
    parts = [os.path.join(BUILD, "initramfs", f"{name}.cpio") for name in names]
    path = os.path.join(work, "initrd")
    with open(path, "wb") as out:
        for part in parts + opts.initrd:
            if not os.path.exists(part):
                fail(f"{part} is not there: run 'make guest' first")
            with open(part, "rb") as f:
                shutil.copyfileobj(f, out, 1 << 20)
        out.write(b"\0" * (-out.tell() % 4))
        extra = Cpio(out)
        for pair in opts.file:
            host, _, guest = pair.rpartition(":")
            if not host or not os.path.exists(host):
                fail(f"--file {pair}: HOST:GUEST with a file or directory of the host is wanted")
            extra.add(host, guest)
        if opts.kernel_file:
            extra.add(image_of(opts), "boot/Image")
        if opts.script:
            extra.add(opts.script, "hvl-run", 0o111)
        elif opts.run is not None:
            extra.entry("hvl-run", stat.S_IFREG | 0o755, f"#!/bin/bash\n{opts.run}\n".encode())
        if opts.script and opts.args:
            quoted = " ".join("'" + a.replace("'", "'\\''") + "'" for a in opts.args)
            extra.entry("hvl-run-args", stat.S_IFREG | 0o755, f"#!/bin/bash\nexec /hvl-run {quoted}\n".encode())
        extra.end()
    return path


def machine(opts):
    """What the machine is made of: the same to dump its tree and to boot it."""
    cmd = ["-machine", f"virt,gic-version={opts.gic}", "-cpu", opts.cpu,
           "-smp", str(opts.cpus), "-m", opts.memory, "-accel", opts.accel,
           "-display", "none", "-nodefaults", "-no-reboot"]
    if opts.qemu_net:
        cmd += ["-netdev", "user,id=net0", "-device", "virtio-net-device,netdev=net0"]
    else:
        cmd += ["-nic", "none"]
    return cmd + opts.qemu_arg


def device_tree(opts, work):
    """The machine's own tree with the overlays applied."""
    own, merged = os.path.join(work, "own.dtb"), os.path.join(work, "merged.dtb")
    cmd = ["qemu-system-aarch64"] + machine(opts)
    cmd[cmd.index("-machine") + 1] += f",dumpdtb={own}"
    # two UARTs, as when it boots: the second is the peer's
    done = subprocess.run(cmd + ["-serial", "null", "-serial", "null"], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    if not os.path.exists(own):
        fail(f"QEMU did not give the tree of its machine: {done.stderr.strip()}")
    names = [] if opts.no_default_overlay else [f"qemu-virt-gicv{opts.gic}.dtbo"]
    files = []
    for name in names + opts.overlay:
        for path in (name, os.path.join(BUILD, "dtbs", name), os.path.join(BUILD, "dtbs", name + ".dtbo")):
            if os.path.isfile(path):
                files.append(path)
                break
        else:
            fail(f"no overlay {name} (neither a file nor in build/dtbs): run 'make dtbs' first")
    if not files:
        return own
    done = subprocess.run(["fdtoverlay", "-i", own, "-o", merged] + files,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"fdtoverlay cannot apply {' '.join(files)}: {done.stderr.strip()}")
    return merged


def die_with_parent():
    """QEMU must not outlive us."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def watch(qemu, opts, log):
    """Pass the console on until the guest ends; returns its status."""
    status, line, ended, why = None, b"", None, ""
    begin = now = time.monotonic()
    progress = Progress(opts.silence)
    sel = selectors.DefaultSelector()
    sel.register(qemu.stdout, selectors.EVENT_READ)
    while True:
        ready, before, now = sel.select(SECOND), now, time.monotonic()
        progress.waited(now - before)
        # (What it has said is read before it is found to be silent.)
        data = os.read(qemu.stdout.fileno(), 65536) if ready else None
        if data == b"":
            return status
        if data:
            data = data.replace(b"\r", b"")
            log.write(data)
            log.flush()
            *lines, line = (line + data).split(b"\n")
            if len(line) > 1 << 16:
                lines, line = lines + [line], b""
            for text in lines:
                progress.line(text)
                found = EXIT_LINE.match(text)
                if found:
                    status, ended = int(found[1]), now
                # what follows the status is the kernel powering off
                if not opts.no_echo and status is None:
                    sys.stdout.buffer.write(text + b"\n")
            if not opts.no_echo:
                sys.stdout.flush()
        if ended and now >= ended + 10:
            break
        if status is None and progress.hangs():
            why = f"said nothing new for {opts.silence:g} s"
            break
        if status is None and opts.timeout and now >= begin + opts.timeout:
            why = f"did not end within {opts.timeout:g} s"
            break
    qemu.kill()
    if line and not opts.no_echo:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.flush()
    if status is None:
        text = f"vm: the guest {why} and was ended; its log: {log.name}"
        print(text, file=sys.stderr)
        log.write(text.encode() + b"\n")
        return TIMED_OUT
    return status


def first_peer(opts, work):
    """The peer that a boot loader starts, with the command line that it is to have."""
    with open(opts.peer_first, "rb") as f:
        data = f.read()
    if opts.peer_words is not None:
        line = b"HVL-CMDLINE:" + opts.peer_words.encode()
        at = data.index(b"HVL-CMDLINE:")
        data = data[:at] + line.ljust(256, b"\0") + data[at + 256:]
    path = os.path.join(work, "peer.elf")
    with open(path, "wb") as f:
        f.write(data)
    return path


def boot(opts, work):
    """Run the machine; returns the exit status."""
    image = image_of(opts)
    if not os.path.exists(image):
        fail(f"{image} is not there: run 'make guest' first")
    logs = os.path.join(BUILD, "log")
    os.makedirs(logs, exist_ok=True)
    console = os.path.join(logs, f"{opts.name}.log")
    interactive = opts.run is None and not opts.script
    words = ["console=ttyAMA0", "rdinit=/init", "loglevel=4", "panic=-1", *EMULATED]
    if not interactive:
        words.append("hvl.run=/hvl-run" + ("-args" if opts.script and opts.args else ""))
    elif re.fullmatch(r"[\w.+-]+", os.environ.get("TERM", "")):
        words.append("hvl.term=" + os.environ["TERM"])
    kernel = ["-kernel", image]
    if opts.peer_first:
        # (An Image may be put anywhere. QEMU puts the initramfs at 0x48000000.)
        kernel = ["-kernel", os.path.join(BUILD, "testfw/boot.bin"),
                  "-device", f"loader,file={image},addr={KERNEL:#x},force-raw=on",
                  "-device", f"loader,file={first_peer(opts, work)}"]
    cmd = ["qemu-system-aarch64"] + machine(opts) + kernel + [
        "-initrd", initrd(opts, work), "-dtb", device_tree(opts, work),
        "-append", " ".join(words + opts.append)]
    if interactive:
        cmd += ["-chardev", f"stdio,id=con,mux=on,signal=off,logfile={console}", "-mon", "chardev=con"]
    else:
        cmd += ["-chardev", "stdio,id=con,signal=off"]
    cmd += ["-serial", "chardev:con", "-serial", f"file:{os.path.join(logs, opts.name)}-peer.log"]
    if interactive:
        return subprocess.run(cmd, check=False, preexec_fn=die_with_parent).returncode
    with open(console, "wb") as log, subprocess.Popen(
            cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent) as qemu:
        try:
            status = watch(qemu, opts, log)
        except BaseException:
            qemu.kill()
            raise
        if status is None:
            print(f"vm: the guest ended without a status (it crashed?); its log: {console}", file=sys.stderr)
            return NO_STATUS
        return status


def main():
    """Parse, make the tree, boot."""
    opts = arguments()
    if not opts.name:
        opts.name = "vm"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(os.path.join(BUILD, "tmp"), exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vm.", dir=os.path.join(BUILD, "tmp")) as work:
        if opts.dtb_only:
            shutil.copyfile(device_tree(opts, work), opts.dtb_only)
            return 0
        return boot(opts, work)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
