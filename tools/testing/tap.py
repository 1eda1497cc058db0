# SPDX-License-Identifier: GPL-2.0
"""Runs a module's unit tests with their results as TAP."""
import unittest


def main(module):
    """Run them all; returns the exit status."""
    tests = [test for suite in unittest.defaultTestLoader.loadTestsFromModule(module)
             for test in suite]
    print(f"TAP version 13\n1..{len(tests)}", flush=True)
    bad = 0
    for number, test in enumerate(tests, 1):
        result = test(unittest.TestResult())
        for _, text in result.failures + result.errors:
            print("".join(f"# {line}\n" for line in text.splitlines()), end="")
        bad += not result.wasSuccessful()
        print(f"{'ok' if result.wasSuccessful() else 'not ok'} {number} {test.shortDescription()}", flush=True)
    return 1 if bad else 0
