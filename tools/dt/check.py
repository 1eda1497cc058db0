# SPDX-License-Identifier: GPL-2.0
"""Check schemas, examples, overlays and the trees that they make. KTAP on stdout.

Run by tools/dt/check, which sees to the tools: dtc, fdtoverlay, qemu-system-aarch64,
dtschema, libfdt.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import bad
import tree as dt

TOP = pathlib.Path(__file__).resolve().parents[2]
BINDINGS = TOP / "Documentation/devicetree/bindings"
DTBS = TOP / "build/dtbs"
BOARDS = TOP / "build/kernel/current/dtb"
OUT = TOP / "build/dt-check"
SCHEMAS = OUT / "schemas.json"

# Lines that are ours in what dt-validate says about a whole machine, whose other nodes
# are not ours to judge.
OURS = re.compile(r"^/(virtio-hvl|remoteproc|reserved-memory(/|$))")


class Ktap:
    """One line a test; what is wrong goes before it as a comment."""

    def __init__(self):
        self.count, self.failed, self.skipped = 0, 0, 0
        print("KTAP version 1", flush=True)

    def result(self, name, complaints):
        self.count += 1
        for line in complaints:
            print("# " + line.replace("\n", "\n# "))
        self.failed += bool(complaints)
        print(f"{'not ok' if complaints else 'ok'} {self.count} {name}", flush=True)

    def skip(self, name, reason):
        self.count += 1
        self.skipped += 1
        print(f"ok {self.count} {name} # SKIP {reason}", flush=True)

    def finish(self):
        print(f"1..{self.count}")
        passed = self.count - self.failed - self.skipped
        print(f"# Totals: pass:{passed} fail:{self.failed} xfail:0 xpass:0 "
              f"skip:{self.skipped} error:0")
        return 1 if self.failed or not passed else 0


def run(*args, text=None):
    """Run a tool: (its status, what it said)."""
    done = subprocess.run(
        [str(a) for a in args], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )
    return done.returncode, done.stdout


def must(*args, text=None):
    """Run a tool that has to succeed silently: complaints."""
    status, said = run(*args, text=text)
    return [said or f"{args[0]}: status {status}"] if status or said else []


def compile_overlay(source, out):
    return must("dtc", "-@", "-q", "-I", "dts", "-O", "dtb", "-o", out,
                "-W", "no-interrupts_property", "-", text="/dts-v1/;\n/plugin/;\n" + source)


def merge(base, out, *overlays):
    status, said = run("fdtoverlay", "-i", base, "-o", out, *overlays)
    return [said or f"fdtoverlay: status {status}"] if status else []


def validate(dtb, ours_only):
    """What the schemas, ours and dtschema's core ones, have against a tree."""
    report = OUT / "report.json"
    report.unlink(missing_ok=True)
    status, said = run("dt-validate", "-s", SCHEMAS, "--json-output", report, dtb)
    if status or not report.exists():
        return [f"dt-validate: status {status}: {said}"]
    found = json.loads(report.read_text())
    # What cannot even be decoded comes without a node: that is anybody's, so ours.
    return [f"{e.get('nodename')}: {'/'.join(map(str, e.get('property_path', [])))}: {e['message']}"
            for e in found if not ours_only or OURS.match(e.get("node") or "/virtio-hvl")]


def check_schemas(ktap):
    for path in sorted(BINDINGS.rglob("*.yaml")):
        ktap.result(f"schema {path.stem}", must("dt-doc-validate", path))
    # A schema that lacks what every schema must have: the check has to see it.
    broken = OUT / "broken.yaml"
    text = (BINDINGS / "virtio/virtio-hvl,link.yaml").read_text()
    text = re.sub(r"maintainers:\n.*\n", "", text)
    broken.write_text(text.replace("virtio/virtio-hvl,link", "broken"))
    status, said = run("dt-doc-validate", broken)
    ktap.result("rejected: schema without maintainers",
                [] if "'maintainers' is a required property" in said
                else [f"dt-doc-validate accepted it: status {status}: {said}"])
    ktap.result("schemas processed", must("dt-mk-schema", "-j", "-o", SCHEMAS, BINDINGS))


def check_examples(ktap):
    for path in sorted(BINDINGS.rglob("*.yaml")):
        status, source = run("dt-extract-example", path)
        dtb = OUT / f"{path.stem}.example.dtb"
        compatible = path.stem
        complaints = [source] if status else []
        if source.count(f'compatible = "{compatible}"') != source.count("    example-"):
            complaints.append("an example does not show the node that the schema is about")
        complaints = complaints or must("dtc", "-q", "-I", "dts", "-O", "dtb", "-o", dtb, "-",
                                        text=source)
        ktap.result(f"examples of {path.stem}", complaints or validate(dtb, False))


def machines():
    """(name, maker of the machine's own tree, overlays, expected SPIs, core of each link, PSCI method)"""
    qemu_spis, core = {"linux": 100, "peer": 101, "stop": 102}, ["/cpus/cpu@1"]
    more_spis = {"linux-2": 104, "peer-2": 105, "stop-2": 106, "linux-3": 112, "peer-3": 113, "stop-3": 114,
                 "linux-4": 120, "peer-4": 121, "stop-4": 122}
    for gic in (2, 3):
        for cpus in (2, 4):
            yield (f"QEMU virt, GICv{gic}, {cpus} CPUs",
                   lambda out, gic=gic, cpus=cpus: qemu(out, gic, cpus),
                   [f"qemu-virt-gicv{gic}"], qemu_spis, core, "hvc")
        yield (f"QEMU virt, GICv{gic}, 4 links", lambda out, gic=gic: qemu(out, gic, 5),
               [f"qemu-virt-gicv{gic}", "qemu-virt-links"], qemu_spis | more_spis,
               [f"/cpus/cpu@{n}" for n in (1, 2, 3, 4)], "hvc")
    yield ("QEMU virt, GICv2, MSI", lambda out: qemu(out, 2, 2),
           ["qemu-virt-gicv2-msi"], qemu_spis, core, "hvc")
    yield ("QEMU virt, GICv3, ITS", lambda out: qemu(out, 3, 2),
           ["qemu-virt-gicv3-its"], qemu_spis, core, "hvc")
    yield ("QEMU virt, GICv3, uncached", lambda out: qemu(out, 3, 2),
           ["qemu-virt-gicv3-uncached"], qemu_spis, core, "hvc")
    pi_spis = {"linux": 284, "peer": 285, "stop": 286}
    for board in ("bcm2712-rpi-5-b", "bcm2712-d-rpi-5-b"):
        for gib in (2, 4):
            yield (f"{board}, {gib} GB",
                   lambda out, board=board, gib=gib: raspberry(out, board, gib),
                   ["bcm2712-rpi-5-b"], pi_spis, ["/cpus/cpu@3"], "smc")


def qemu(out, gic, cpus):
    status, said = run("qemu-system-aarch64", "-M", f"virt,gic-version={gic},dumpdtb={out}",
                       "-cpu", "cortex-a72", "-smp", cpus, "-m", "1G", "-nodefaults",
                       "-display", "none", "-serial", "null", "-serial", "null")
    return [f"qemu-system-aarch64: status {status}: {said}"] if status or not out.exists() else []


def raspberry(out, board, gib):
    """The board's tree with the memory node as its boot loader leaves it."""
    shutil.copy(BOARDS / f"broadcom/{board}.dtb", out)
    return must("fdtput", "-t", "x", out, "/memory@0", "reg",
                "0", "0", "0", "3fc00000", "0", "40000000", "0", f"{(gib - 1) << 30:x}")


def check_tree(merged, base, spis, cores, method):
    """All the complaints about a merged tree as a whole."""
    tree, own = dt.Tree(merged), dt.Tree(base)
    allowed = {"/intc@8000000/v2m@8020000:arm,msi-base-spi",
               "/intc@8000000/v2m@8020000:arm,msi-num-spis"}
    for compatible in ("virtio-hvl,link", "virtio-hvl,region", "virtio-hvl,psci-rproc"):
        if len(tree.compatible(compatible)) != len(cores):
            return [f"{len(tree.compatible(compatible))} nodes are {compatible}, should be {len(cores)}"]
    return (dt.check_unchanged(tree, own, allowed) + dt.check_phandles(tree)
            + dt.check_memory(tree) + dt.check_interrupts(tree, spis)
            + dt.check_cpus(tree, cores, method))


def check_machines(ktap):
    """Merge each overlay with its machine; returns what the negative cases start from."""
    good = None
    for index, (name, make, overlays, *expect) in enumerate(machines()):
        base, merged = OUT / f"base{index}.dtb", OUT / f"merged{index}.dtb"
        base.unlink(missing_ok=True)
        if "bcm2712" in overlays[0] and not (BOARDS / "broadcom").is_dir():
            ktap.skip(f"{name}: merge", "no board trees: build/kernel/current is not made")
            continue
        complaints = make(base) or merge(base, merged, *(DTBS / f"{overlay}.dtbo" for overlay in overlays))
        ktap.result(f"{name}: merge", complaints)
        if complaints:
            continue
        ktap.result(f"{name}: schemas", validate(merged, True))
        ktap.result(f"{name}: nodes fit each other", check_tree(merged, base, *expect))
        if good is None:
            good = (merged, base, *expect)
    return good


def make_bad(good, source):
    out = OUT / "bad.dtb"
    if isinstance(source, tuple):
        shutil.copy(good, out)
        return out, must("fdtput", "-t", "x", out, *source)
    overlay = OUT / "bad.dtbo"
    return out, compile_overlay(source, overlay) or merge(good, out, overlay)


def check_rejected(ktap, good):
    """The bad trees: each has to draw the complaint that it is there for."""
    merged, *rest = good
    for what, cases in (("schema", bad.SCHEMA), ("tree", bad.TREE)):
        for name, source, expected in cases:
            dtb, complaints = make_bad(merged, source)
            if not complaints:
                said = validate(dtb, True) if what == "schema" else check_tree(dtb, *rest)
                if not any(re.search(expected, line) for line in said):
                    complaints = [f"expected: {expected}", *(said or ["it was accepted"])]
            ktap.result(f"rejected by {what}: {name}", complaints)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    ktap = Ktap()
    check_schemas(ktap)
    check_examples(ktap)
    good = check_machines(ktap)
    if good:
        check_rejected(ktap, good)
    return ktap.finish()


if __name__ == "__main__":
    sys.exit(main())
