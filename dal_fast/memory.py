"""How a whole program handles its memory: what it frees and soon needs again, and its garbage."""

from __future__ import annotations

import atexit
import ctypes
import gc
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = (
    -1, -2, -3, -4, -8,
)  # of mallopt(3)  # fmt: skip


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next volume, until the process ends.

    By default glibc returns every large block to the kernel, and the kernel fills the next one with
    zeros, page by page: about a quarter of a training step. Elsewhere than under glibc it does
    nothing. It is for whole programs to call, before their work, not for a library.
    """
    _set(
        (_MMAP_MAX, 0),
        (_ARENA_MAX, 1),  # threads' own arenas would return what they free
        (_TRIM_THRESHOLD, 2**31 - 1),
        (_TOP_PAD, 256 << 20),
    )


def return_freed_volumes() -> None:
    """Have the C library return every volume of a megabyte or more to the kernel once it is freed.

    For programs that hold few volumes at a time, and must not grow: by default glibc puts them onto
    the heap after the first few, and what is freed between others there is neither returned nor
    large enough for the next. Under other C libraries than glibc it does nothing. It is for whole
    programs to call, not for a library.
    """
    _set((_MMAP_THRESHOLD, 1 << 20), (_ARENA_MAX, 1), (_TRIM_THRESHOLD, 16 << 20))


def _set(*options: tuple[int, int]) -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in options:
        mallopt(option, value)


def collect_rarely() -> None:
    """Have Python look for garbage in cycles after 100,000 new objects, and not as it ends.

    By default it looks after every 700, and at every object each time that their number has grown
    by a quarter. Imports, and libraries that hold tables of many objects, such as those of DICOM,
    take up to twice as long with it, and looking at all of them three times more at the end takes
    half a second. It is for whole programs to call, before their imports, not for a library.
    """
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)  # what is frozen is not looked at
