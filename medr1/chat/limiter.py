"""How many requests are sent at a time: few at first, more while the server keeps up."""

from __future__ import annotations

import asyncio
import time
from collections import deque

_START = 4
"""Requests at a time at the start."""
_CUT = 0.6
"""What remains of the limit after the server has refused a request because it is busy."""
_PAUSE = 10.0
"""Seconds without growth after an error of the server."""


class AdaptiveLimiter:
    """Limits the number of requests at a time, with additive increase and multiplicative decrease.

    The limit grows by one with each answer until the server first refuses a request; from then on
    by about one with each round of answers. Refused requests that were sent before a cut do not cut
    again. Use it as `async with limiter:` around a request.

    Args:
        maximum: The highest limit.
    """

    def __init__(self, maximum: int) -> None:
        self.limit = float(min(_START, maximum))
        self._maximum = maximum
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._was_cut = False
        self._last_cut = self._no_growth_until = self._closed_until = 0.0

    async def __aenter__(self) -> None:
        while (pause := self._closed_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self._in_flight < int(self.limit):
            self._in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it has got the place, and does not use it
                self._leave()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._leave()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)

    def answered(self) -> None:
        """Note that the server has answered a request."""
        if time.monotonic() >= self._no_growth_until:
            growth = 1 / self.limit if self._was_cut else 1.0
            self.limit = min(self.limit + growth, self._maximum)
            self._admit()

    def refused(self, sent: float, retry_after: float) -> None:
        """Note that the server has refused a request because it is busy (429).

        Args:
            sent: When the request was sent, by time.monotonic.
            retry_after: Seconds for which the server asks to send nothing.
        """
        now = time.monotonic()
        if sent >= self._last_cut:
            self.limit = max(1.0, _CUT * self.limit)
            self._last_cut, self._was_cut = now, True
        self._closed_until = max(self._closed_until, now + retry_after)

    def failed(self) -> None:
        """Note that a request failed for another reason: the limit does not grow for a while."""
        self._no_growth_until = time.monotonic() + _PAUSE
