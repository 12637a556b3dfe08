"""What ends a run from outside: signals, a launcher that has died, another process that has died.

Python runs a signal's handler only between two of its own instructions, which a collective that
waits for another process never reaches. So a thread watches beside the training.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from medr1.train.manifest import resume_hint

logger = logging.getLogger("medr1")

EXIT_CODES = {signal.SIGTERM: 128 + signal.SIGTERM, signal.SIGUSR1: 75}
"""75 is EX_TEMPFAIL: run the same command again."""
POLL_SECONDS = 0.5
ECHO_SECONDS = 2.0
"""A launcher passes a signal on that its workers may have got from elsewhere already."""


def is_launched() -> bool:
    """Whether torchrun, or another that sets LOCAL_RANK, started this process beside others."""
    return "LOCAL_RANK" in os.environ


def end_with_launcher() -> None:
    """On Linux, have the kernel end this process when its launcher dies, however that happens."""
    if sys.platform == "linux" and is_launched():
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


class Watch:
    """Remembers the first SIGTERM or SIGUSR1, and ends the process where it must end at once.

    A second signal does so, with the first one's exit code, and so does the death of the launcher
    or of another process of the run on this machine. Outside the main thread it does nothing.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.signal = 0
        """The first signal, 0 before."""
        self.peers: list[int] = []
        """Process ids that have to be there."""
        self._first = 0.0
        self._parent = os.getppid() if is_launched() else None
        self._before: dict[int, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watch")

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            for signum in EXIT_CODES:
                self._before[signum] = signal.signal(signum, lambda *_: None)
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
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        os.close(self._pipe[1])  # ends the thread, which then finds the end of the pipe
        self._thread.join()
        os.close(self._pipe[0])

    @property
    def exit_code(self) -> int:
        """The code of a run that the first signal ended."""
        return EXIT_CODES[signal.Signals(self.signal)]

    def _watch(self) -> None:
        assert self._pipe is not None
        while True:
            readable, _, _ = select.select([self._pipe[0]], [], [], POLL_SECONDS)
            received = os.read(self._pipe[0], 64) if readable else None
            if received == b"":
                return
            for signum in received or b"":
                if signum in EXIT_CODES:
                    self._receive(signum)
            if self._parent is not None and os.getppid() != self._parent:
                self._end(1, "the launcher has died")
            for pid in self.peers:
                if not _is_alive(pid):
                    self._end(1, f"process {pid} of this run has died")

    def _receive(self, signum: int) -> None:
        now = time.monotonic()
        name = signal.Signals(signum).name
        if not self.signal:
            self.signal, self._first = signum, now
            if os.environ.get("RANK", "0") == "0":
                logger.warning("%s: saving at the end of this block of steps, then stopping.", name)
        elif self._parent is None or now - self._first > ECHO_SECONDS:
            self._end(self.exit_code, f"{name} once more")

    def _end(self, code: int, why: str) -> None:
        logger.warning("Ended at once: %s. %s", why, resume_hint(self.output))
        os._exit(code)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
