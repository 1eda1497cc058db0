# SPDX-License-Identifier: GPL-2.0
"""Run a command in a mount namespace of its own, in a chroot that is no mount point.

Only what is mounted can be made private, and whatever would be mounted in a namespace that shares
with another one appears there too. So this leaves the chroot for the one call that makes all of
the new namespace private.

unchroot.py DIRECTORY COMMAND...: called with the chroot's / as current directory; its own root may
be another one.
"""
import ctypes
import os
import sys

MS_REC, MS_PRIVATE = 1 << 14, 1 << 18


def main():
    """Enter, come back, run."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.unshare(os.CLONE_NEWNS)
    # The current directory is one of the new namespace now; descriptors from before are not.
    chroot = os.open(".", os.O_PATH)
    # By this the root is that of the whole namespace.
    os.setns(os.open("proc/self/ns/mnt", os.O_RDONLY), os.CLONE_NEWNS)
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "mount")
    os.fchdir(chroot)
    os.chroot(".")
    os.chdir(sys.argv[1])
    # (Not execvp: it imports, and this python's library is elsewhere now.)
    os.execv("/bin/sh", ["sh", "-c", 'exec "$@"', *sys.argv[1:]])


if __name__ == "__main__":
    main()
