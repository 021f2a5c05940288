"""Large pages of memory, which a process has to ask for before it begins."""

import os
import sys
from pathlib import Path

TUNABLES, LARGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"  # glibc 2.35 and later; others pass it over
MODES = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # of Linux: "always [madvise] never", say


def ask_for_large_pages() -> None:
    """Has this process begin anew, once, so that glibc asks the kernel for large pages; where there are none, nothing.

    XLA takes the memory of a step from glibc and gives it back after it. In pages of 4 KiB the kernel then clears tens
    of thousands of them for every step, a third of its time on a CPU (docs/performance.md); glibc reads what it is told
    of pages when a process begins. What the user has set through `GLIBC_TUNABLES` stays. Arguments that are not those
    of the whole process, as in a notebook, are no reason to begin it anew.
    """
    words, own = sys.orig_argv, sys.argv[1:]
    if TUNABLES in os.environ or not offered() or words[len(words) - len(own) :] != own:
        return
    os.execve(sys.executable, [sys.executable, *words[1:]], os.environ | {TUNABLES: LARGE})


def offered() -> bool:
    """Whether the kernel has large pages for those who ask."""
    try:
        return "[never]" not in MODES.read_text()
    except OSError:
        return False
