"""math-verify with limits: the same verdict from any thread, and never a hang.

Its own time limit is signal.alarm, which raises outside the main thread (and the original's reward
swallows that). Here it runs in a process of its own, that the kernel ends when it takes too long,
and only on texts whose shape is not known to be costly. What is too costly counts as not equal, and
is counted: see given_up.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import selectors
import signal
import subprocess
import sys
import threading
from functools import lru_cache

ANSWER_LIMIT = 200
"""Characters of an extracted answer."""
OUTPUT_LIMIT = 10_000
"""Characters of a whole output, for the original's rules."""
SECONDS = 0.9
"""For one comparison, so that a completion takes less than 1 s; nearly all take milliseconds."""
_START_SECONDS = 120.0
_FROZEN_SECONDS = 10.0
"""Longer than SECONDS: the process is stopped or starved, not slow."""

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
    "|degree|angle|alpha|beta|gamma|theta|lambda|mu|sigma|displaystyle"
    "|(?:arc)?(?:sin|cos|tan)|cot|log|ln|exp"
)
_ANGLE = re.compile(r"(\d+(?:\.\d+)?)\s?(?:\^\s?\{?\s?\\(?:circ|degree)\s?\}?|\\degree|°)")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot)(?![a-z])")
_PLAIN = re.compile(r"(?:[\d\s+\-*/^().,=]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z\d]))+")
"""An expression without LaTeX; "T2", "1e3" and "10:30" are none."""
_UNCLEAR = re.compile(
    r"[:;<>≤≥≠≈~?]|n't\b|\b(?:not|no|never|neither|nor|cannot|without|except|or|versus|than|over"
    r"|under|above|below|almost|nearly|about|between|roughly|approximately|at (?:least|most)|up to"
    r"|unsure)\b",
    re.IGNORECASE,
)
"""In a formula's answer: a bound, a denial, a doubt, several values."""


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
    """The process: a JSON list (two texts, seconds) a line in, true, false or null a line out.

    Each question has its seconds in a fork, which is ended with its time, whatever it computes; the
    next fork begins where the libraries are loaded already.
    """
    from math_verify import parse
    from math_verify import verify as compare

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])

    def equal(*texts: str) -> bool:
        parsed = [parse(text, parsing_timeout=None) for text in texts]
        return bool(compare(*parsed, timeout_seconds=None))

    equal("$\\frac{1}{2}x$", "$0.5x$")  # what is loaded late is loaded once, before the forks
    _say('"ready"')
    while worker := os.fork():
        _, status = os.waitpid(worker, 0)
        if status == 0:
            return
        _say("null")
    for line in sys.stdin:
        *texts, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        verdict = equal(*texts)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(json.dumps(verdict))
    os._exit(0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Worker:
    """The process that runs `serve`: one for each process that asks, started when first asked."""

    _COMMAND = (
        "import sys; sys.path[:] = sys.argv[1:]; from medr1.answers.symbolic import serve; serve()"
    )

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know no process: in a fork of the process that started it."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, first: str, second: str) -> bool | None:
        """Whether math-verify finds the texts equal; None where SECONDS do not suffice."""
        question = json.dumps([first, second, SECONDS]) + "\n"
        with self._lock:
            for _ in range(2):  # once more where the process was ended since it was last asked
                process = self._running()
                assert process.stdin
                answer: str | None = ""
                try:
                    process.stdin.write(question)
                    process.stdin.flush()
                    answer = self._read(process, _FROZEN_SECONDS)
                except BrokenPipeError:
                    pass
                finally:
                    if not answer:  # or interrupted: no late answer may meet a next question
                        self._end(process)
                if answer != "":
                    break
            return json.loads(answer) if answer else None

    def _running(self) -> subprocess.Popen[str]:
        if self._process and self._process.poll() is None:
            return self._process
        # A session of its own: what is sent to stop a run does not change a verdict.
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._COMMAND, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
            start_new_session=True,
        )
        if self._read(self._process, _START_SECONDS) != '"ready"\n':
            self._end(self._process)
            raise RuntimeError("the math-verify process did not start; is math-verify installed?")
        return self._process

    @staticmethod
    def _read(process: subprocess.Popen[str], seconds: float) -> str | None:
        """The next line; "" where the process ended, None where it says nothing in time."""
        assert process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            return process.stdout.readline() if selector.select(seconds) else None

    def _end(self, process: subprocess.Popen[str]) -> None:
        """Kill the process and its fork."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self._process = None

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._end(self._process)


_WORKER = _Worker()
_COUNTS = threading.local()
atexit.register(_WORKER.close)
os.register_at_fork(after_in_child=_WORKER.forget)


def given_up() -> int:
    """How many comparisons of this thread were too costly so far, or looked it."""
    return getattr(_COUNTS, "given_up", 0)


@lru_cache(maxsize=16_384)
def _compared(first: str, second: str, limit: int) -> bool | None:
    if not is_cheap(first, limit) or not is_cheap(second, limit):
        return None
    return _WORKER.ask(first, second)


def verify(first: str, second: str, limit: int = OUTPUT_LIMIT) -> bool:
    """math_verify.verify(parse(first), parse(second)); False where that is or looks too costly."""
    if not _FORMULA.search(first) or not _FORMULA.search(second):
        return False
    equal = _compared(first, second, limit)
    if equal is None:
        _COUNTS.given_up = given_up() + 1
    return bool(equal)


def _as_formula(text: str) -> str:
    if _TRIGONOMETRIC.search(text):  # math-verify takes sin 30° for the sine of 30
        text = _ANGLE.sub(r"{(\1\\pi/180)}", text)
    return text if "$" in text or "\\" not in text else f"${text}$"


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{2,}", re.sub(r"\\[a-zA-Z]+", " ", text).lower()))


def equivalent(gold: str, answer: str) -> bool:
    """Whether an extracted answer equals a gold in LaTeX, as one value plainly stated.

    An equation equals no value, and a unit in the gold has to stand in the answer.
    """
    answer = re.sub(r"^(\$?\s?)[a-z]\s?=\s?(?=[-\d\\])", r"\1", answer).replace("√", "\\sqrt ")
    if "=" in answer and "=" not in gold:
        return False
    if not (re.search(r"[\\$]", answer) or _PLAIN.fullmatch(answer)):
        return False
    if _UNCLEAR.search(answer) or not _words(gold) <= _words(answer):
        return False
    for text in (gold, answer):
        commands = re.findall(r"\\([a-zA-Z]+)", text)
        if not all(map(_KNOWN_COMMAND.fullmatch, commands)):
            return False
    return verify(_as_formula(gold), _as_formula(answer), ANSWER_LIMIT)
