# SPDX-License-Identifier: GPL-2.0
"""What reads and compares the figures of the benchmark. KTAP on stdout."""
import base64
import copy
import gzip
import pathlib
import re
import sys
import tempfile
import unittest
import unittest.mock
import xml.dom.minidom

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]
# pylint: disable=wrong-import-position
import aims  # noqa: E402
import compare  # noqa: E402
import plots  # noqa: E402
import results  # noqa: E402
import shares  # noqa: E402
import steps  # noqa: E402
import table  # noqa: E402
import tap  # noqa: E402

LINUX = """@linux
doorbells: {0}
interrupts: {0}
8000210.virtio-hvl.0: type 1 window 0x1000 queues 2 config 12 status 0xf
  queue 1: share 0x10000 size 256 kicks {0} posted {1} pool 5/100 full 0"""
PEER = """@peer
doorbells: {0} in, {0} out, 0 merged
net: status 0xf, features 0x1, transactions 14
  queue 1: kicks {0} chains {1} bytes 0"""


def repeat(number, name, result, before, after):
    """What the guest prints of one repeat, with the counters before and after it."""
    dumps = [text.format(*values) for values in (before, after) for text in (PEER, LINUX)]
    return f"@step {number} {name}\n{dumps[0]}\n{dumps[1]}\n@result\n{result}\n{dumps[3]}\n{dumps[2]}\n"


def log(ns=20000, bells=100):
    """What the guest prints of two repeats of a ping, after one to warm up."""
    text = "Linux\n"
    for number in range(3):
        wild = 7 if number == 0 else 1
        text += repeat(number, "none", "", (0, 0), (2, 2))
        text += repeat(number, "ping 56 peer", f"rr {100 * wild} 9 {ns * wild} 30000 40000", (5, 5),
                       (5 + bells * wild, 105))
    return text + "@setup net\n" + LINUX.format(15, 15).replace("@linux\n", "") + "\ntransactions: 14\n"


TABLE = [steps.Step("none", "none", "peer", "none", "none", 1),
         steps.Step("ping 56 peer", "trip", "peer", "ping 56", "rr", 50)]


def found(**how):
    """Results, as they are written down."""
    text = log(**how)
    return {"machine": {"qemu": "10", "kernel": "7"}, "steps": results.figures(text, TABLE),
            "set-up": results.set_up(text)}


def baseline():
    """A baseline of them."""
    return {"machine": found()["machine"], "figures": compare.flat(found())}


class Reading(unittest.TestCase):
    """From text to figures."""

    def test_figures(self):
        """times are the median of the repeats without the first; counters are for each operation"""
        entry = found()["steps"]["ping 56 peer"]
        self.assertEqual((entry["ns"], entry["p99"]), (20000, 30000))
        # 50 and the 50 that warm up
        self.assertEqual((entry["counts"]["doorbells"], entry["counts"]["net1 posted"]), (1, 1))

    def test_nothing(self):
        """what reading the peer's counters costs is taken off"""
        self.assertEqual(found()["steps"]["ping 56 peer"]["counts"]["peer rung"], 0.98)

    def test_set_up(self):
        """the counters after attaching are those of the set-up"""
        self.assertEqual(found()["set-up"], {"net": {"transactions": 14, "doorbells": 15, "interrupts": 15}})

    def test_doorbell(self):
        """a peer that is only attached to has its doorbell measured"""
        text = log() + "samples: 10 of 10\nmedian-ns: 5600\n"
        self.assertEqual(results.set_up(text)["net"]["doorbell"], 5600)

    def test_memory(self):
        """what a device has taken to set up, and what a queue has, are the mean of all"""
        lines = [f"{name}: type 63 window 0x1000 queues 2 config 0 status 0xf set-up-us {us}"
                 f"\n  queue 0: share 0x1000 size 4 kicks 0 books {books}\n  queue 1: share 0x3000 size 4 kicks 0 books 100"
                 for name, us, books in (("a", 10, 100), ("b", 30, 500))]
        found_ = results.set_up("@setup x\n" + "\n".join(lines) + "\n@step 0 none\n@result\n")["x"]
        self.assertEqual([found_[key] for key in ("devices", "queues", "us", "books", "share")], [2, 4, 20, 200, 0x2000])

    def test_kinds(self):
        """of several devices of a kind none hides another"""
        text = ["a: type 63 window", "  queue 0: kicks 5 used 7", "b: type 63 window", "  queue 0: kicks 0 used 0"]
        self.assertEqual(results.counters(text), {"bench0 kicks": 5, "bench0 used": 7, "bench2-0 kicks": 0, "bench2-0 used": 0})

    def test_warm(self):
        """what the module warms up with is between the marks, what the load does is not"""
        table_ = [steps.Step("a", "trip", "peer", "a", "run echo 64 10", 10), steps.Step("b", "trip", "peer", "b", "rr", 10)]
        rows = list(results.measured("@step 0 a\n@step 1 b\n", table_))
        self.assertEqual(rows, [(0, "a", 10 + results.WARM), (1, "b", 10)])

    def test_each(self):
        """calls that are timed together are divided by their number"""
        step = steps.Step("map to 64 peer", "each", "peer", "map to 64", "map", 2000)
        times, _ = results.one(step, ["@result", "each 2000 1000000"])
        self.assertEqual(times, {"median": 500})

    def test_lost(self):
        """lost datagrams are counted, and those that came make the rate"""
        step = steps.Step("udp both 64 peer", "bulk", "peer", "udp both 64", "both", 1)
        times, risen = results.one(step, ["@result", "bulk 524288 1000 7"])
        self.assertEqual((times["median"], risen["lost"]), (2000, 7))

    def test_sides(self):
        """what count.c has counted is that of the steps in their order, for each operation, without the first
        repeat; a line too few is an error"""
        numbers = [" ".join(str(n * (10 * side + what + 1)) for side in range(2) for what in range(5))
                   for n in (700, 50, 50)]
        figures = found()["steps"]
        results.add_sides(figures, log(), TABLE, "\n".join(numbers))
        sides = figures["ping 56 peer"]["sides"]
        self.assertEqual((sides["linux instructions"], sides["linux read"], sides["peer lines"]), (1, 5, 13))
        self.assertEqual(compare.flat({"steps": figures, "set-up": {}})["ping 56 peer: lines"], 16)
        with self.assertRaises(results.Unreadable):
            results.add_sides(figures, log(), TABLE, "\n".join(numbers[1:]))

    def test_missing(self):
        """a step without a result is an error"""
        with self.assertRaises(results.Unreadable):
            results.figures(log().replace("rr 100", "no 100"), TABLE)

    def test_packed(self):
        """what the guest packs is unpacked, with other lines in between; half of it is an error"""
        packed = base64.encodebytes(gzip.compress(log().encode())).decode()
        lines = packed.splitlines()
        text = "\n".join(["@packed", lines[0], "[ 1.0] a message", *lines[1:], "@end"])
        self.assertEqual(results.unpack(text), log())
        for bad in (text.replace("@end", ""), text.replace(lines[1], "")):
            with self.assertRaises(results.Unreadable):
                results.unpack(bad)


class Comparing(unittest.TestCase):
    """Against a baseline."""

    def test_same(self):
        """the same is neither worse nor better"""
        self.assertEqual(compare.compare(baseline(), found()), ([], [], []))

    def test_worse(self):
        """what got worse by more than the limit is named, and only that"""
        worse, better, gone = compare.compare(baseline(), found(ns=20700))
        self.assertEqual((worse, better, gone), (["ping 56 peer: ns: 20000 -> 20700 (+3.5%)"], [], []))
        self.assertEqual(compare.compare(baseline(), found(ns=20500))[0], [])

    def test_counts(self):
        """a doorbell more in ten is worse though the time is the same"""
        self.assertEqual(len(compare.compare(baseline(), found(bells=110))[0]), 2)

    def test_better(self):
        """what got better is named"""
        worse, better, _ = compare.compare(baseline(), found(ns=15000))
        self.assertEqual((worse, better), ([], ["ping 56 peer: ns: 20000 -> 15000 (-25.0%)"]))

    def test_gone(self):
        """a figure that is not measured any more is named"""
        now = found()
        del now["set-up"]["net"]
        self.assertEqual(compare.compare(baseline(), now)[2],
                         ["set-up net: transactions", "set-up net: doorbells"])

    def test_stranger(self):
        """a baseline of another QEMU or kernel is refused with a sentence"""
        self.assertIsNone(compare.stranger(baseline(), found()))
        for what in ("qemu", "kernel"):
            base = copy.deepcopy(baseline())
            base["machine"][what] = "other"
            self.assertIn(f"of another {what}", compare.stranger(base, found()))

    def test_steps(self):
        """no two steps have one name, and none is only by chance in the gate"""
        all_ = steps.steps(1, 4, (1, 2, 3, 4))
        names = [step.name for step in all_]
        self.assertEqual(len(names), len(set(names)))
        gate = {step.name: step for step in all_ if step.gate}
        self.assertTrue(set(steps.UNSTEADY) < set(names) - set(gate))
        self.assertEqual({step.over for step in gate.values()}, {"peer"})

    def test_parts(self):
        """each step has a part, and is compared with one of its kind; nothing of direct mode is in the gate"""
        all_ = {step.name: step for step in steps.steps(1, 4, (1, 2, 3, 4))}
        self.assertEqual({step.part for step in all_.values()}, set(steps.PARTS))
        for step in all_.values():
            self.assertTrue(not step.base or all_[step.base].kind == step.kind, step.name)
            self.assertTrue(not step.gate or step.over != "direct")
        # What a firmware can be told has its limit, with more words to come.
        self.assertTrue(all(len(part.words) <= 200 for part in steps.PARTS.values()))

    def test_gate(self):
        """what is not in the gate is not compared"""
        without = [TABLE[0], TABLE[1]._replace(gate=False)]
        flat = compare.flat({"steps": results.figures(log(), without), "set-up": {}})
        self.assertEqual(flat, {})


class Showing(unittest.TestCase):
    """The table."""

    def entry(self, **how):
        """A figure of a step."""
        return {"kind": "trip", "over": "peer", "what": "ping 56", "part": "link", "gate": True, "ns": 2000,
                "spread": 0.0, "counts": {}, **how}

    def test_ratios(self):
        """a round trip is compared with loopback and the doorbell, a rate the other way round, a call with
        swiotlb"""
        bulk = {"kind": "bulk", "what": "tcp to 64"}
        call = {"kind": "each", "what": "map to 64", "part": "queue"}
        all_ = {"doorbell": self.entry(ns=1000), "ping 56 peer": self.entry(),
                "ping 56 loopback": self.entry(ns=500, over="loopback"),
                "tcp to 64 peer": self.entry(**bulk), "tcp to 64 loopback": self.entry(ns=500, **bulk),
                "map to 64 peer": self.entry(**call), "map to 64 swiotlb": self.entry(ns=4000, **call)}
        found_ = {"steps": all_, "mode": "counted"}
        self.assertEqual(table.ratios(found_, "ping 56 peer"), ("4.00x", "-", "-", "2.00x"))
        self.assertEqual(table.ratios(found_, "tcp to 64 peer")[0], "0.25x")
        self.assertEqual(table.ratios(found_, "map to 64 peer")[0], "0.50x")
        self.assertTrue(all(len(table.row(found_, name)) < 126 for name in all_))

    def test_base(self):
        """a step that names what it is compared with is compared with that"""
        all_ = {"vsock trip 64 peer": self.entry(ns=1000), "seqpacket trip 64 peer": self.entry(base="vsock trip 64 peer")}
        self.assertEqual(table.ratios({"steps": all_, "mode": "counted"}, "seqpacket trip 64 peer")[0], "2.00x")

    def test_titles(self):
        """each part has a title"""
        scale = {"few", "devices", "queues", "1 link", "2 links", "3 links", "4 links"}
        titled = {step.part for step in steps.steps(1, 4) if step.kind not in ("none", "idle")
                  and table.title(step._asdict()) != table.SCALE}
        self.assertEqual(titled, set(steps.PARTS) - scale)


class Judging(unittest.TestCase):
    """Against what is aimed at."""

    def test_aims(self):
        """a figure at its limit is reached, one beyond is not, and what was not measured is left out"""
        steps_ = {"doorbell": {"ns": 6000}, "ping 56 peer": {"ns": 200}, "ping 56 loopback": {"ns": 100},
                  "idle": {"counts": {"wakeups": 1}}}
        rows = {row[0]: row[-2:] for row in aims.judge({"mode": "counted", "steps": steps_, "set-up": {}})}
        self.assertEqual(rows, {"raw doorbell": (6, True), "ping of 56 bytes, to loopback": (2, False),
                                "doorbells a second when idle": (0, True),
                                "Linux woken up by the link a second when idle": (1, True)})

    def test_bounce(self):
        """the worst of all sizes and ways counts, with the copy where that is meant"""
        all_ = {f"map {way} {steps.size(count)} {over}": {"ns": value}
                for way in ("to", "from") for count in steps.BUFFERS for over, value in (("peer", 1), ("swiotlb", 10))}
        all_.update({f"memcpy {way} {steps.size(count)}": {"ns": 2} for way in ("in", "out") for count in steps.BUFFERS})
        all_["map from 4K swiotlb"]["ns"] = 5
        self.assertEqual((aims.bounce({"steps": all_}, 0), aims.bounce({"steps": all_}, 1)), (0.2, 0.6))

    def test_names(self):
        """every step that an aim asks for is one that there is"""
        names = {step.name for step in steps.steps(1, 4, (1, 2, 3, 4))}
        asked = set()

        class Asked(dict):
            """Notes what is asked for."""
            def __missing__(self, key):
                asked.add(key)
                return Figures()

        class Figures(dict):
            """Has everything."""
            def __missing__(self, key):
                return Figures() if key in ("counts", "sides", "parts") else 1

        for mode in ("counted", "wall"):
            list(aims.judge({"mode": mode, "steps": Asked(), "set-up": Asked()}))
        self.assertEqual(asked - names, {"1x3", "1x64", "32x3", "net"})


class Shares(unittest.TestCase):
    """Which code of the transport's executes how much."""

    def test_part(self):
        """the innermost frame that belongs to a part decides, and an access to memory is its caller's"""
        book, memory = "/x/rust/algo/ring/book.rs:9 <Book<B>>::", "/x/rust/virtio_hvl/shmem.rs:7 <Region>::read32"
        self.assertEqual(shares.part_of([memory, book + "look_up::{closure#0}", book + "release"]), "checks")
        self.assertEqual(shares.part_of([memory, book + "release", book + "take"]), "shared ring")
        self.assertEqual(shares.part_of([memory]), shares.REST)

    def test_source(self):
        """each part is code that there is"""
        top, found_ = HERE.parents[1], set()
        for path in (top / "rust").glob("**/*.rs"):
            for name in re.findall(r"\bfn (\w+)", path.read_text(encoding="utf-8")):
                frame = f"{path}:1 <T>::{name}"
                found_ |= {part for part, pattern in shares.PARTS if pattern.search(frame)}
                if shares.part_of([frame]) == "checks":
                    found_.add(f"{path.stem} {name}")
        self.assertLessEqual({part for part, _ in shares.PARTS}, found_)
        self.assertLessEqual({"book look_up", "book take", "book with_device", "split look", "packed marked"}, found_)

    def test_add(self):
        """blocks count for each of their instructions and for each time, for each operation, without the first
        repeat; what is not of the transport is no part"""
        step, figures = "ping 56 peer", {"ping 56 peer": {"sides": {"linux instructions": 60, "peer instructions": 40}}}
        module = {0: "checks", 4: "private ring", 8: shares.REST}
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(shares, "look_up", lambda offsets, _: {o: module[o] for o in offsets}):
            blocks = pathlib.Path(folder) / "blocks"
            blocks.write_text("0 1 900 \n\n0 2 10 4 2 20 \n16 1 7 \n\n\n", encoding="ascii")
            of_module, of_peer = shares.read_blocks(blocks)
            shares.add(figures, [(0, step, 10), (1, step, 10), (0, step, 1)], of_module, None)
        self.assertEqual(of_peer, [[], [(16, 1, 7)], []])
        parts = figures[step]["parts"]
        self.assertEqual((parts["checks"], parts["private ring"], parts[shares.REST], parts["bounce"]), (1, 3, 2, 0))
        self.assertEqual((shares.firewall(figures[step]), shares.firewall(figures[step], ("checks",))), (4, 1))

    def test_steps(self):
        """what is looked at is measured"""
        self.assertLessEqual(set(shares.STEPS), {step.name for step in steps.steps(1, 4, beside=True)})


class Drawing(unittest.TestCase):
    """Plots."""

    def test_plots(self):
        """the same figures give the same files, as the tree wants them, also where most were not measured"""
        figures = {"steps": {"virtqueue to 64": {"ns": 1000}}, "set-up": {"net": {"doorbells": 1, "doorbell": 1}}}
        with tempfile.TemporaryDirectory() as folder:
            first = [path.read_text() for path in plots.draw(figures, pathlib.Path(folder))]
            again = [path.read_text() for path in plots.draw(figures, pathlib.Path(folder))]
        self.assertEqual(first, again)
        self.assertEqual(len(first), len(plots.PLOTS))
        for text in first:
            lines = text.splitlines()
            self.assertIn("SPDX-License-Identifier", lines[1])
            self.assertFalse(any(line != line.rstrip() for line in lines))
            xml.dom.minidom.parseString(text)


if __name__ == "__main__":
    sys.exit(tap.main(sys.modules[__name__]))
