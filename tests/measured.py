"""Processor time, counted in starts of bare Python: alike on slow and busy machines."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


def seconds(of: int) -> float:
    """Processor seconds so far: of RUSAGE_SELF, or of the ended children, RUSAGE_CHILDREN."""
    used = resource.getrusage(of)
    return used.ru_utime + used.ru_stime


def process_seconds(*arguments: str) -> float:
    """What one run of Python with these arguments takes."""
    before = seconds(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return seconds(resource.RUSAGE_CHILDREN) - before


@cache
def bare_start() -> float:
    """Processor seconds of a start of Python that does nothing."""
    return min(process_seconds("-I", "-c", "pass") for _ in range(5))


@contextmanager
def at_most(starts: float) -> Iterator[None]:
    """What is done here takes this process no more than so many starts of bare Python (15 ms)."""
    limit = starts * bare_start()
    before = seconds(resource.RUSAGE_SELF)
    try:
        yield
    finally:
        spent = seconds(resource.RUSAGE_SELF) - before
        assert spent < limit, f"{spent:.3f} s, {spent / bare_start():.1f} starts of bare Python"
