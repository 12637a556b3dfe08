"""math-verify with limits: the same verdict from any thread, and never a hang.

Its own time limit is signal.alarm, which raises outside the main thread (and the original's reward
swallows that). Here it runs in a process of its own, that is ended when it takes too long, and only
on texts whose shape is not known to be costly. What is too costly counts as not equal.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import subprocess
import sys
import threading
from functools import lru_cache

ANSWER_LIMIT = 200
"""Characters of an extracted answer."""
OUTPUT_LIMIT = 10_000
"""Characters of a whole output, for the original's rules."""
SECONDS = 3.0
"""For one comparison; nearly all take milliseconds."""
_START_SECONDS = 120.0

_DEPTH = 12
_COSTLY = re.compile(
    r"\d{100}"  # quadratic in repeated digits
    r"|(?:\^|\*\*)\s?[({]*\s?[^\s(){}]{1,20}\s?(?:\^|\*\*)"  # a power tower
    r"|(?:\^|\*\*)\s?[({]*\s?[-+]?\d{3}"  # a large power
    r"|\d{3}\s?!|[)}]\s?!|!\s?!"  # a factorial
    r"|\\(?:sum|prod|i*int|oint|lim|binom|begin)(?![a-z])"
)
_FORMULA = re.compile(r"[\d$\\\[]")
"""Without one of these math-verify parses nothing, and nothing equals nothing."""
_KNOWN_COMMAND = re.compile(
    "[dt]?frac|sqrt|pi|cdot|times|div|left|right|text|math(?:rm|bf)|boxed|infty|pm|cup|cap|circ"
    "|degree|angle|alpha|beta|gamma|theta|lambda|mu|sigma"
)


def _is_nested_deeply(text: str) -> bool:
    depth = 0
    for match in re.finditer(r"[(\[{]|[)\]}]", text):
        depth = depth + 1 if match[0] in "([{" else max(0, depth - 1)
        if depth > _DEPTH:
            return True
    return False


def is_cheap(text: str, limit: int) -> bool:
    """Whether the text has nothing that makes math-verify slow: see reference rewards.md, cost."""
    return len(text) <= limit and not _COSTLY.search(text) and not _is_nested_deeply(text)


def serve() -> None:
    """The worker: a JSON pair of texts a line in, true or false a line out, until the end."""
    from math_verify import parse
    from math_verify import verify as compare

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    answers = sys.stdout
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        parsed = [parse(text, parsing_timeout=None) for text in json.loads(line)]
        answers.write(json.dumps(bool(compare(*parsed, timeout_seconds=None))) + "\n")
        answers.flush()


class _Worker:
    """The process that runs `serve`: started when first asked, ended and started anew when slow."""

    _COMMAND = (
        "import sys; sys.path[:] = sys.argv[1:]; from medr1.answers.symbolic import serve; serve()"
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, first: str, second: str) -> bool:
        """Whether math-verify finds the texts equal within SECONDS."""
        with self._lock:
            process = self._running()
            assert process.stdin
            answer = ""
            try:
                process.stdin.write(json.dumps([first, second]) + "\n")
                process.stdin.flush()
                answer = self._read(process, SECONDS)
            except BrokenPipeError:
                pass  # it ended since it was last asked; the next question starts another
            finally:
                if not answer:  # too slow, or interrupted: no late answer may meet a next question
                    self._end(process)
            return answer == "true\n"

    def _running(self) -> subprocess.Popen[str]:
        if self._process and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._COMMAND, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )
        self._owner = os.getpid()
        if self._read(self._process, _START_SECONDS) != "ready\n":
            raise RuntimeError("the math-verify process did not start; is math-verify installed?")
        return self._process

    @staticmethod
    def _read(process: subprocess.Popen[str], seconds: float) -> str:
        """The next line; "" where the process ended or had to be ended."""
        assert process.stdout
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        return line

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()

    def close(self) -> None:
        """End the process, if this one started it."""
        if self._process and self._owner == os.getpid():
            self._end(self._process)
            self._process = None


_WORKER = _Worker()
atexit.register(_WORKER.close)


@lru_cache(maxsize=4096)
def verify(first: str, second: str, limit: int = OUTPUT_LIMIT) -> bool:
    """math_verify.verify(parse(first), parse(second)); False where that is or looks too costly."""
    if not _FORMULA.search(first) or not _FORMULA.search(second):
        return False
    if not is_cheap(first, limit) or not is_cheap(second, limit):
        return False
    return _WORKER.ask(first, second)


def _as_formula(text: str) -> str:
    return text if "$" in text or "\\" not in text else f"${text}$"


def equivalent(gold: str, answer: str) -> bool:
    """Whether an extracted answer equals a gold in LaTeX; an equation equals no value."""
    answer = re.sub(r"^(\$?\s?)[a-z]\s?=\s?(?=[-\d\\])", r"\1", answer)
    if "=" in answer and "=" not in gold:
        return False
    for text in (gold, answer):
        commands = re.findall(r"\\([a-zA-Z]+)", text)
        if "!" in text or not all(map(_KNOWN_COMMAND.fullmatch, commands)):
            return False
    return verify(_as_formula(gold), _as_formula(answer), ANSWER_LIMIT)
