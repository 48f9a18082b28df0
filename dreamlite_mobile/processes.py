"""Processes that must not outlive the one that forked them."""

import ctypes
import os
import signal

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux' prctl."""


def die_with(parent: int) -> None:
    """In a fork: be killed when process `parent`, which forked it, ends; at once if it has ended. Linux only."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
