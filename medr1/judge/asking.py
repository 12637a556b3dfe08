"""Asks the judge, many answers at a time, and remembers each reply.

    for each answer that has no reply yet, when there is room for a request:
        reply = a chat request at temperature 0
        append the reply to the file

A request that fails is counted, and its answer is sent again in the next run. After ten failures in
a row, or if all requests fail, the run ends. With `require_all` it ends at the first that fails.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medr1.chat.client import (
    Client,
    Consumption,
    RequestFailed,
    RequestRefused,
    require_listed,
)
from medr1.chat.settings import Server
from medr1.errors import Medr1Error
from medr1.judge.prompt import (
    PROMPT_SHA256,
    JudgeTexts,
    VerdictWord,
    messages,
    read_verdict,
)
from medr1.judge.replies import Replies, open_replies

MAX_TOKENS = 1024
"""The longest reply, for judges that reason before they answer."""
MOST_FAILURES = 10
"""Failed requests in a row after which the run ends."""
_PROGRESS_SECONDS = 5.0

logger = logging.getLogger("medr1")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A model that judges open answers which the rules do not call right."""

    server: Server
    """The server of the model. Its address is not written into the summary."""
    model: str
    """The name of the model there."""
    labels: str | None = None
    """Metadata key with what people say about the answers: true or false, correct or incorrect."""
    cache: Path | None = None
    """File with the replies so far; None: no file."""

    def key(self, texts: JudgeTexts) -> str:
        """What a reply is found by: a hash of everything that it depends on."""
        parts = [self.model, self.server.base_url, PROMPT_SHA256, *texts]
        if self.server.extra_body:
            parts.append(json.dumps(self.server.extra_body, sort_keys=True))
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Asked(Protocol):
    """An answer that the judge is asked about."""

    @property
    def id(self) -> str:
        """The item, for people who read the file of replies."""

    @property
    def texts(self) -> JudgeTexts:
        """What the judge gets to read."""


def ask(
    judge: Judge, candidates: Sequence[Asked], *, require_all: bool = False
) -> list[VerdictWord | None]:
    """The verdicts of the judge; None where the server could not answer.

    Args:
        judge: The judge. What is in its file of replies is not asked again.
        candidates: The answers to judge.
        require_all: Whether a request that fails, after it was sent again `max_retries` times,
            ends the run; then no verdict is None.

    Raises:
        InputError: The key or the model is refused, or the file holds something else.
        Medr1Error: The server cannot be reached, failed ten times in a row, or once with
            `require_all`, or the budget is used.
    """
    if not candidates:
        return []
    keys = [judge.key(candidate.texts) for candidate in candidates]
    with open_replies(judge.cache) as replies:
        waiting = {
            key: candidate
            for key, candidate in zip(keys, candidates, strict=True)
            if replies.get(key) is None
        }
        if waiting:
            asyncio.run(_ask(judge, waiting, replies, require_all))
        texts = [replies.get(key) for key in keys]
    return [None if text is None else read_verdict(text) for text in texts]


def require_reachable(judge: Judge) -> None:
    """Check, with one request for the list of models, that a judge can be asked.

    Raises:
        InputError: The server has a list of models, and the judge is not in it; or the key is
            refused.
        Medr1Error: The server cannot be reached.
    """

    async def check() -> None:
        client = Client(judge.server, judge.model, Consumption())
        try:
            await _require_model(judge, client)
        finally:
            await client.close()

    asyncio.run(check())


async def _ask(
    judge: Judge, waiting: Mapping[str, Asked], replies: Replies, require_all: bool
) -> None:
    """Ask about the answers that have no reply yet."""
    consumption = Consumption()
    client = Client(judge.server, judge.model, consumption)
    try:
        await _require_model(judge, client)
        run = _JudgeRun(judge, client, consumption, waiting, replies, require_all)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(judge.server.concurrency, len(waiting))):
                    group.create_task(run.work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        run.require_replies()
    finally:
        await client.close()


async def _require_model(judge: Judge, client: Client) -> None:
    """InputError if the server has a list of models, and the judge is not in it."""
    try:
        models = await client.models()
    except RequestFailed as error:
        raise Medr1Error(
            f"cannot use the judge at {judge.server.base_url}: {error} Check the address, and that "
            "the server runs."
        ) from None
    require_listed(judge.server, judge.model, models.data if models else [])


class _JudgeRun:
    """The answers that wait, shared by the coroutines that ask about them."""

    def __init__(
        self,
        judge: Judge,
        client: Client,
        consumption: Consumption,
        waiting: Mapping[str, Asked],
        replies: Replies,
        require_all: bool,
    ) -> None:
        self._judge, self._client, self._consumption = judge, client, consumption
        self._replies, self._n, self._require_all = replies, len(waiting), require_all
        self._waiting: Iterator[tuple[str, Asked]] = iter(waiting.items())
        self._n_replies = self._failures_in_a_row = 0
        self._last_error: Exception | None = None
        self._last_report = time.monotonic()

    async def work(self) -> None:
        """Ask about one answer after the other, until none waits."""
        for key, candidate in self._waiting:
            self._require_budget()
            body = {
                "messages": messages(candidate.texts),
                "temperature": 0,
                "max_tokens": MAX_TOKENS,
            }
            try:
                response = await self._client.chat(body)
            except (RequestRefused, RequestFailed) as error:
                self._note_failure(error, candidate.id)
            else:
                self._failures_in_a_row = 0
                self._n_replies += 1
                self._replies.add(key, candidate.id, response.text)
                self._report()

    def require_replies(self) -> None:
        """Medr1Error if every request failed."""
        if not self._n_replies:
            raise Medr1Error(
                f"the judge at {self._judge.server.base_url} answered nothing. The last time: "
                f"{self._last_error}"
            )

    def _require_budget(self) -> None:
        server, used = self._judge.server, self._consumption
        if used.is_used_up(server):
            raise Medr1Error(
                f"the budget of the judge is used up: {used.requests} requests, {used.tokens} "
                "tokens. Raise it, and run the same command again."
            )

    def _note_failure(self, error: RequestRefused | RequestFailed, item_id: str) -> None:
        self._last_error = error
        if self._require_all:
            raise Medr1Error(
                f"the judge at {self._judge.server.base_url} did not judge the answer to item "
                f"{item_id}: {error} Check the server, and run the same command again."
            ) from None
        if isinstance(error, RequestRefused):
            return
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MOST_FAILURES:
            raise Medr1Error(
                f"the judge at {self._judge.server.base_url} failed {MOST_FAILURES} times in a "
                f"row. The last time: {error} Check the server, and run the same command again."
            )

    def _report(self) -> None:
        if time.monotonic() - self._last_report > _PROGRESS_SECONDS:
            self._last_report = time.monotonic()
            logger.info("judge: %d of %d answers", self._n_replies, self._n)
