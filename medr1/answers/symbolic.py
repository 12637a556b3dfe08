"""math-verify with limits: the same verdict from any thread and at any load, and never a hang.

Its own time limit is signal.alarm, which raises outside the main thread (and the original's reward
swallows that). Here it runs in a process of its own. What is too large to attempt is decided by the
structure of the text (`is_cheap`), so it is the same on every machine. As a safety net the process
has CPU_SECONDS of processor time for a comparison: a stopped or starved process loses none of it.
What is not compared is None (undecided), and never counts as equal.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from itertools import islice

ANSWER_LIMIT = 200
"""Characters of an extracted answer."""
OUTPUT_LIMIT = 10_000
"""Characters of a whole output, for the original's rules."""
CPU_SECONDS = 10.0
"""Processor time of one comparison. Nearly all take milliseconds, and the slowest in the tests less
than 1 s, so that a machine ten times slower gives the same verdicts."""

_DEPTH = 12
_COSTLY = re.compile(
    r"\d{100}"  # quadratic in repeated digits
    r"|(?:\^|\*\*)\s?[({]*\s?[^\s(){}]{1,20}\s?(?:\^|\*\*)\s?[({\\\w]"  # a power tower
    r"|(?:\^|\*\*)\s?[({]*\s?[-+]?\d{3}"  # a large power
    r"|\d{3}\s?!|(?:\^|\*\*)\s?\d+\s?!|[)}]\s?!|!\s?!"  # a factorial
    r"|\\(?:sum|prod|i*int|oint|lim|binom|begin)(?![a-z])"
)
MAX_FUNCTIONS = 4
_FUNCTION = re.compile(
    r"\\?(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z])|\\?(?:log|ln|lg|exp)(?![a-z])"
)
_ARGUMENT = re.compile(r"\s?(?:_\s?(?:\{[^{}]*\}|\w))?\s?(?:\\left)?[({]")
_COSTLY_BESIDE_FUNCTION = re.compile(
    r"\d{6}|\d[eE]\d|(?:\^|\*\*)\s?[({]*\s?[-+]?\d\d|\^\s?\{?\s?[^\s\d{(-]"
    r"|\\sqrt\s?\[\s?(?:\d\d|[^\d\s])|!|\\infty|\\log\s?_\s?\{?\s?[^\s\d{e]"
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
    """Whether the text alone has nothing that makes math-verify slow."""
    return len(text) <= limit and not _COSTLY.search(text) and not _is_nested_deeply(text)


def _is_cheap_pair(first: str, second: str, limit: int) -> bool:
    """Whether two texts can be compared quickly.

    Logarithms, exponentials and trigonometric functions are what sympy may simplify without end:
    beside one, both texts may hold only small numbers and exponents, and functions of no functions.
    That is asked of answers alone: of a whole output, math-verify takes one formula.
    """
    if not is_cheap(first, limit) or not is_cheap(second, limit):
        return False
    answers = [text for text in (first, second) if len(text) <= ANSWER_LIMIT]
    if not any(map(_FUNCTION.search, answers)):
        return True
    return not any(_COSTLY_BESIDE_FUNCTION.search(t) or _nests_functions(t) for t in answers)


def _nests_functions(text: str) -> bool:
    r"""Whether a function stands in the argument of another: "\sin(\log 2)"; or there are many."""
    matches = list(islice(_FUNCTION.finditer(text), MAX_FUNCTIONS + 1))
    if len(matches) > MAX_FUNCTIONS:
        return True
    for match in matches:
        if (start := _ARGUMENT.match(text, match.end())) is None:
            continue
        depth = 0
        for bracket in re.finditer(r"[({]|[)}]", text[start.end() - 1 :]):
            depth += 1 if bracket[0] in "({" else -1
            if depth == 0:
                argument = text[start.end() : start.end() - 1 + bracket.start()]
                if _FUNCTION.search(argument):
                    return True
                break
    return False


def serve() -> None:
    """The process: a JSON list (two texts, seconds) a line in, true, false or null a line out.

    Each question has its processor time in a fork, which ends with it, whatever it computes; the
    next fork begins where the libraries are loaded already.
    """
    from math_verify import parse
    from math_verify import verify as compare

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])

    def equal(*texts: str) -> bool:
        parsed = [parse(text, parsing_timeout=None) for text in texts]
        return bool(compare(*parsed, timeout_seconds=None))

    equal("$\\frac{1}{2}x$", "$0.5x$")  # what is loaded late is loaded once, before the forks
    _write_line('"ready"')
    while worker := os.fork():
        _, status = os.waitpid(worker, 0)
        if status == 0:
            return
        _write_line("null")
    for line in sys.stdin:
        *texts, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        verdict = equal(*texts)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write_line(json.dumps(verdict))
    os._exit(0)


def _write_line(line: str) -> None:
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
        """Know no process and no verdict: in a fork of the process that started it."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, first: str, second: str) -> bool | None:
        """Whether math-verify finds the texts equal; None where CPU_SECONDS do not suffice.

        Waits as long as the process is there: a stopped one answers when it goes on.
        """
        question = json.dumps([first, second, CPU_SECONDS]) + "\n"
        with self._lock:
            for _ in range(2):  # once more where the process was ended since it was last asked
                process = self._running()
                assert process.stdin
                assert process.stdout
                answer = ""
                try:
                    process.stdin.write(question)
                    process.stdin.flush()
                    answer = process.stdout.readline()
                except BrokenPipeError:
                    pass
                finally:
                    if not answer:  # ended or interrupted: no late answer may meet a next question
                        self._end(process)
                if answer:
                    return json.loads(answer)  # type: ignore[no-any-return]
        raise RuntimeError("the math-verify process was ended twice; is there enough memory?")

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
        assert self._process.stdout
        if self._process.stdout.readline() != '"ready"\n':
            self._end(self._process)
            raise RuntimeError("the math-verify process did not start; is math-verify installed?")
        return self._process

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
_VERDICTS: dict[bytes, bool | None] = {}
"""By the hash of both texts, so that each pair is compared once. A million take 100 MB."""
atexit.register(_WORKER.close)
os.register_at_fork(after_in_child=_WORKER.forget)


def verify(first: str, second: str, limit: int = OUTPUT_LIMIT) -> bool | None:
    """math_verify.verify(parse(first), parse(second)); None where that is too large to attempt."""
    if not _FORMULA.search(first) or not _FORMULA.search(second):
        return False
    if not _is_cheap_pair(first, second, limit):
        return None
    texts = json.dumps([first, second]).encode()
    key = hashlib.blake2b(texts, digest_size=16).digest()
    if key not in _VERDICTS:
        _VERDICTS[key] = _WORKER.ask(first, second)
    return _VERDICTS[key]


def _as_formula(text: str) -> str:
    if _TRIGONOMETRIC.search(text):  # math-verify takes sin 30° for the sine of 30
        text = _ANGLE.sub(r"{(\1\\pi/180)}", text)
    return text if "$" in text or "\\" not in text else f"${text}$"


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{2,}", re.sub(r"\\[a-zA-Z]+", " ", text).lower()))


def equivalent(gold: str, answer: str) -> bool | None:
    """Whether an extracted answer equals a gold in LaTeX, as one value plainly stated; None where
    they are too large to compare.

    An equation equals no value, and a unit in the gold has to stand in the answer.
    """
    answer = re.sub(r"^(\$?\s?)[a-z]\s?=\s?(?=[-\d\\])", r"\1", answer).replace("√", "\\sqrt ")
    answer = re.sub(r"(?<![a-zA-Z\\])sqrt\s?\(([^()]*)\)", r"\\sqrt{\1}", answer)
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
