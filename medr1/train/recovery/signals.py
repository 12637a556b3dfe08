"""Ends a run for reasons from outside: a signal, or the death of the launcher or another process.

Python runs a signal's handler only between two of its own instructions. A process that waits in a
collective operation for another process does not get there. So a thread watches while the training
runs.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from medr1.processes import is_first_process, is_launched
from medr1.train.recovery.checkpoint_manifest import resume_hint

logger = logging.getLogger("medr1")

EXIT_CODES = {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGUSR1: 75}
"""Signal -> exit code of a run that it ended. 75 is EX_TEMPFAIL of sysexits.h: run the same command
again."""
POLL_SECONDS = 0.5
"""Time between two looks at the launcher and the other processes."""
ECHO_SECONDS = 2.0
"""Time in which a signal under a launcher counts as the first one again: a scheduler may send it to
all processes, and the launcher then sends it to its workers once more."""


def end_with_launcher() -> None:
    """On Linux, let the kernel kill this process when its launcher dies; elsewhere do nothing."""
    if sys.platform == "linux" and is_launched():
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


class Watch:
    """Notes the first SIGTERM or SIGUSR1, and ends the process if it cannot wait.

    The first signal only sets `signal`, and the trainer stops at the next possible step. A second
    signal ends the process at once, with the exit code of the first. The death of the launcher, or
    of another process of the run on this machine, ends it at once too.

    It is a context manager. Outside the main thread it does nothing, because Python sets signal
    handlers only there.
    """

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir
        self.signal = 0
        """The number of the first signal; 0 before it came."""
        self.peers: list[int] = []
        """Ids of the processes that must be alive."""
        self._first_time = 0.0
        self._parent = os.getppid() if is_launched() else None
        self._old_handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._pipe: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            # Python writes the number of each signal into this pipe as soon as it comes, without
            # waiting for its next instruction. The thread reads it there.
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            for signum in EXIT_CODES:
                self._old_handlers[signum] = signal.signal(signum, lambda *_: None)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pipe is None:
            return
        signal.set_wakeup_fd(self._wakeup)
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, handler)
        os.close(self._pipe[1])  # the thread reads the end of the pipe, and ends
        self._thread.join()
        os.close(self._pipe[0])

    @property
    def exit_code(self) -> int:
        """The exit code of a run that was ended by the first signal."""
        return EXIT_CODES[signal.Signals(self.signal)]

    def _watch(self) -> None:
        """What the thread does, until the pipe is closed."""
        assert self._pipe is not None
        while True:
            readable, _, _ = select.select([self._pipe[0]], [], [], POLL_SECONDS)
            received = os.read(self._pipe[0], 64) if readable else None
            if received == b"":
                return
            for signum in received or b"":
                if signum in EXIT_CODES:
                    self._receive(signum)
            # A process whose parent has died gets another parent.
            if self._parent is not None and os.getppid() != self._parent:
                self._end(1, "the launcher has died")
            for pid in self.peers:
                if not _is_alive(pid):
                    self._end(1, f"process {pid} of this run has died")

    def _receive(self, signum: int) -> None:
        now = time.monotonic()
        name = signal.Signals(signum).name
        if not self.signal:
            self.signal, self._first_time = signum, now
            if is_first_process():
                logger.warning(
                    "%s: the run saves a checkpoint at the end of this block of steps, and stops.",
                    name,
                )
        elif self._parent is None or now - self._first_time > ECHO_SECONDS:
            self._end(self.exit_code, f"{name} came as a second signal")

    def _end(self, code: int, reason: str) -> None:
        logger.warning("Ended at once: %s. %s", reason, resume_hint(self.output_dir))
        # Not sys.exit: the main thread may wait for another process, and would never end.
        os._exit(code)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing, and only checks that the process exists
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, and belongs to another user
        return True
    return True
