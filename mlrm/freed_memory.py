"""Freed memory that stays with the process: gigabytes taken anew at every step are page faults at every step."""

import ctypes
import sys

# Parameters of glibc's mallopt, from its malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tell glibc to keep what tensors free for the next that ask; for a process that needs as much again and again.

    By default a tensor of more than 32 MB is mapped from the system and given back, and every page of its successor is
    a fault, which cost half of a training step on a virtual machine. Afterwards memory grows to the peak and stays
    there. All threads share one heap, since those of their own can't hold large blocks: call it before there are other
    threads, and not for a process whose many threads allocate without pause.

    Returns False where the C library isn't glibc (macOS, Windows, musl), and changes nothing there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # Never trim; map nothing on its own; and autograd's thread takes from where the caller's freed memory is.
    settings = ((_TRIM_THRESHOLD, -1), (_MMAP_MAX, 0), (_ARENA_MAX, 1))
    return mallopt is not None and all(mallopt(*setting) for setting in settings)
