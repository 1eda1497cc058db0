# SPDX-License-Identifier: GPL-2.0
"""What tells a guest or a test that hangs from one that is slow. KTAP on stdout."""
import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu")]
# pylint: disable=wrong-import-position
import run  # noqa: E402
import tap  # noqa: E402
import vm  # noqa: E402
from progress import Progress  # noqa: E402

LIB = HERE / "selftests/virtio_hvl/lib.sh"


def hangs_after(lines, patience=10):
    """Whether a guest hangs that says one of these each second."""
    progress = Progress(patience)
    for line in lines:
        progress.waited(1)
        progress.line(line.encode())
    return progress.hangs()


class Patience(unittest.TestCase):
    """Which lines are a guest's getting on."""

    def test_nothing_said(self):
        """a guest that says nothing hangs when patience is at its end, and not before"""
        self.assertFalse(hangs_after([""] * 9))
        self.assertTrue(hangs_after([""] * 10))

    def test_other_words(self):
        """a guest that goes on saying other things does not"""
        self.assertFalse(hangs_after(["word" + "x" * i for i in range(100)]))

    def test_same_warning(self):
        """the same warning with other numbers is nothing new"""
        self.assertTrue(hangs_after(
            [f"[ {i}.{i:06}] rcu: detected stalls on CPUs/tasks: 0x{i:x} ffff8000{i:08x}" for i in range(20)]))

    def test_results(self):
        """the result of a test is, though another script had the same"""
        self.assertFalse(hangs_after(["    ok 1 link up"] * 100))
        self.assertFalse(hangs_after(["    not ok 1 link up", "        # still running"] * 50))

    def test_words_without_end(self):
        """words that are made up without end are a flood, and results count after it"""
        letters = str.maketrans("0123456789", "abcdefghij")
        flood = [str(i).translate(letters) for i in range(10100)]
        self.assertTrue(hangs_after(flood))
        self.assertFalse(hangs_after(flood + ["ok 1 probe"]))

    def test_stopped(self):
        """the time for which we were stopped ourselves is not the guest's"""
        progress = Progress(10)
        progress.waited(1000)
        self.assertFalse(progress.hangs())

    def test_without_end(self):
        """no patience given: without end"""
        self.assertFalse(hangs_after([""] * 10000, 0))


def watched(script, **opts):
    """What vm's watch() makes of a guest that is this shell script: status, and what was said."""
    opts = types.SimpleNamespace(**({"silence": 0, "timeout": 0, "no_echo": True} | opts))
    said = io.StringIO()
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as guest:
        with tempfile.NamedTemporaryFile() as log, contextlib.redirect_stderr(said):
            status = vm.watch(guest, opts, log)
    return status, said.getvalue()


class Watch(unittest.TestCase):
    """How vm ends a guest."""

    def test_status(self):
        """a guest that ends gives its status"""
        self.assertEqual(watched("echo x; echo 'HVL-EXIT: 3'", silence=60), (3, ""))

    def test_no_status(self):
        """a guest that breaks off has none"""
        self.assertEqual(watched("echo x", silence=60), (None, ""))

    def test_silence(self):
        """a silent guest is ended"""
        status, said = watched("echo begin; exec sleep 1000", silence=1)
        self.assertEqual(status, vm.TIMED_OUT)
        self.assertIn("said nothing new for 1 s", said)

    def test_flood(self):
        """so is one that says the same for ever"""
        status, said = watched("i=0; while sleep 0.1; do echo \"[$i] BUG\"; i=$((i + 1)); done", silence=2)
        self.assertEqual(status, vm.TIMED_OUT)
        self.assertIn("said nothing new for 2 s", said)

    def test_total(self):
        """and one that talks, if a limit for all of it is wanted"""
        status, said = watched("while sleep 0.1; do echo ok 1 x; done", silence=60, timeout=1)
        self.assertEqual(status, vm.TIMED_OUT)
        self.assertIn("did not end within 1 s", said)


def selftest(tests, speed="true", slower=1):
    """Run a script with these tests, without a kernel; SPEED replaces the timed work."""
    script = f"""
        HVL_SLOWER={slower}
        . {LIB}
        log_mark() {{ :; }}
        log_take() {{ : >"$1"; }}
        check_deps() {{ :; }}
        cleanup() {{ :; }}
        work() {{ {speed}; }}
        MARK=x
        {tests}
        run_tests"""
    return subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, check=False).stdout


class Clock(unittest.TestCase):
    """The limits of the selftests."""

    slow = "sleep 0.25"  # ten times what it takes on a quiet machine

    def test_hang(self):
        """a test that hangs fails, and the next one is run"""
        out = selftest('add hung 2 sleep 1000; add next 60 true')
        self.assertIn("# no end after 2 s", out)
        self.assertIn("not ok 1 hung", out)
        self.assertIn("ok 2 next", out)

    def test_slow_machine(self):
        """on a slow machine a test may take longer"""
        self.assertIn("\nok 1 slow", selftest('add slow 1 sleep 4', self.slow))

    def test_slow_kernel(self):
        """on a kernel that is said to be slower, too; and the tools' own limits are longer"""
        out = selftest('add slow 1 sleep 2; add patience 60 test $PATIENCE -eq 400; add hung 2 sleep 1000', slower=4)
        self.assertIn("\nok 1 slow", out)
        self.assertIn("\nok 2 patience", out)
        self.assertIn("# no end after 2 s", out)

    def test_wait(self):
        """what does not come is not waited for without end"""
        out = selftest('DEADLINE=1; add never 60 wait_for "the end of time" false')
        self.assertIn("# still not after 1 s: the end of time", out)

    def test_wait_between(self):
        """nor between tests"""
        self.assertIn("begin\n", selftest('DEADLINE=1; (wait_for x false) 2>/dev/null; echo begin'))

    def test_slow_wait(self):
        """on a slow machine what comes later is waited for"""
        later = 'DEADLINE=1; later() { end=$((SECONDS + 4)); wait_for it eval "[ \\$SECONDS -ge $end ]"; }; add late 60 later'
        self.assertIn("\nok 1 late", selftest(later, self.slow))

    def test_in_time(self):
        """a command that does not end fails the test, one that fails does not"""
        out = selftest('add hung 60 in_time 1 sleep 1000; add fails 60 in_time 60 false')
        self.assertIn("# no end after 1 s: sleep 1000", out)
        self.assertIn("not ok 1 hung", out)
        self.assertIn("\nok 2 fails", out)

    def test_alive(self):
        """a test that runs for long says so"""
        self.assertIn("# long: still running after ", selftest('ALIVE=1; add long 60 sleep 4'))


class Detectors(unittest.TestCase):
    """What a kernel is asked for when a script has ended."""

    LEAK = "unreferenced object 0xffff000002a01700 (size 192):\n  backtrace (crc 0):\n    0xffff80007a851234\n"

    def last(self, leaks="", lockdep=" debug_locks:                             1\n", dma="0\n", known=None):
        """What the last test says if the kernel's files have this in them."""
        with tempfile.TemporaryDirectory() as folder:
            files = {"KMEMLEAK": leaks, "LOCKDEP": lockdep, "DMA_API": dma}
            for name, text in files.items():
                pathlib.Path(folder, name).write_text(text, encoding="ascii")
            # (What is written there asks the kernel, and changes no file.)
            own = "".join(f"{name}={folder}/{name}; " for name in files) + (f"KNOWN_LEAKS='{known}'; " if known else "")
            return selftest(f"{own} LEAK_AGE=0; tell_kmemleak() {{ :; }}; add first 60 true")

    def test_well(self):
        """nothing is found"""
        self.assertNotIn("not ok", self.last())

    def test_leak(self):
        """what is left over fails the script, and its backtrace is shown"""
        out = self.last(self.LEAK)
        self.assertIn("\nok 1 first", out)
        self.assertIn("\nnot ok 2", out)
        self.assertIn("# memory that nothing points to: 1 times", out)
        self.assertIn("0xffff80007a851234", out)

    def test_known_leak(self):
        """one that is known does not, another beside it does"""
        known = self.LEAK.replace("0xffff80007a851234", "of_overlay_apply+0x10/0x20")
        self.assertNotIn("not ok", self.last(known, known="of_overlay"))
        out = self.last(known + self.LEAK, known="of_overlay")
        self.assertIn("# memory that nothing points to: 1 times", out)
        self.assertNotIn("of_overlay", out)

    def test_lockdep(self):
        """a lockdep that sees nothing any more is no proof"""
        out = self.last(lockdep=" debug_locks:                             0\n")
        self.assertIn("# lockdep has switched itself off", out)
        self.assertIn("\nnot ok 2", out)

    def test_dma(self):
        """nor is a DMA API that is watched no more"""
        out = self.last(dma="2\n")
        self.assertIn("# the DMA API is watched no more", out)
        self.assertIn("\nnot ok 2", out)


class Comparison(unittest.TestCase):
    """The times beside the usual ones."""

    def test_line(self):
        """a time is shown beside what it usually is"""
        self.assertEqual(run.compare("gicv3 net", 45.2, 30), "# gicv3 net: 45 s, usually 30 s: 1.5 times that")

    def test_known(self):
        """each script of each machine has a usual time"""
        for machine in [*run.MACHINES, *run.RT_MACHINES]:
            self.assertTrue(all(seconds > 0 for seconds in machine[5].values()), machine[0])


if __name__ == "__main__":
    os.environ.pop("HVL_TIMES", None)
    sys.exit(tap.main(sys.modules[__name__]))
