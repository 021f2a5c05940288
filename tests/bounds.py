"""What reading a file of unknown origin may cost, and a number that no honest file holds."""

import resource
import tracemalloc
from contextlib import contextmanager

HUGE = 10**12


@contextmanager
def bounded(mebibytes: float):
    """Fails if Python or numpy allocated more, or the process grew by more (which Pillow's memory does)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak < mebibytes
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10 < mebibytes + 100
