# SPDX-License-Identifier: GPL-2.0
"""Whether a guest gets on: what tells one that hangs from one that is slow.

A guest hangs when it has said nothing new for a while. New is every line of a test's
output (KTAP), and any other line that has not been there in other words than numbers
before: a kernel that warns of the same thing for ever says nothing new.
"""
import re

TAP = re.compile(rb"\s*(?:ok \d|not ok \d|# |K?TAP version|1\.\.\d)")
NUMBER = re.compile(rb"\w*\d\w*")
# Some words more are no flood, so many are: after these only tests count.
REMEMBERED = 10000
# A longer wait than this for a wait of a second is not the guest's: we were stopped (Ctrl-Z).
SECOND = 1.0


class Progress:
    """Counts for how many seconds nothing new has been said."""

    def __init__(self, patience):
        """Patience in seconds; 0: without end."""
        self.patience, self.silent, self.known = patience, 0.0, set()

    def line(self, text):
        """Take notice of a line without its end."""
        if not TAP.match(text):
            key = NUMBER.sub(b"0", text)
            if not text.strip() or key in self.known or len(self.known) >= REMEMBERED:
                return
            self.known.add(key)
        self.silent = 0.0

    def waited(self, seconds):
        """So long is it that the time was told the last time, whatever was said since."""
        self.silent += min(seconds, 2 * SECOND)

    def hangs(self):
        """Whether patience is at its end."""
        return bool(self.patience) and self.silent >= self.patience
