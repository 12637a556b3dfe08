"""Compare formulas with math-verify, with limits: the verdict depends on the texts only.

math-verify limits its own time by signal.alarm, which raises an error outside the main thread (the
original's reward catches and ignores that error). Here it runs in a separate process. Whether texts
are too large to compare is decided by their structure (`is_cheap`), so it is the same on every
machine. In addition, a comparison may use at most CPU_SECONDS of processor time; time in which the
process is stopped or waits does not count. Texts that are not compared have the verdict None
(undecided), and never count as equal.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import queue
import re
import subprocess
import sys
import threading
from itertools import islice

ANSWER_LIMIT = 200
"""Most characters of an extracted answer that is compared."""
COMPLETION_LIMIT = 10_000
"""Most characters of a complete completion that is compared, as the original's rules do."""
CPU_SECONDS = 10.0
"""Most processor time of one comparison. Nearly all take milliseconds, and the slowest in the tests
less than 1 s, so that a machine that is ten times slower has the same verdicts."""
_POLL_SECONDS = 0.1
"""Seconds between two looks at the processor time of a comparison."""

_MAX_DEPTH = 12
"""Brackets inside brackets."""
_COSTLY = re.compile(
    r"\d{100}"  # quadratic in repeated digits
    r"|(?:\^|\*\*)\s?[({]*\s?[^\s(){}]{1,20}\s?(?:\^|\*\*)\s?[({\\\w]"  # a power tower
    r"|(?:\^|\*\*)\s?[({]*\s?[-+]?\d{3}"  # a large power
    r"|\d{3}\s?!|(?:\^|\*\*)\s?\d+\s?!|[)}]\s?!|!\s?!"  # a factorial
    r"|\\(?:sum|prod|i*int|oint|lim|binom|begin)(?![a-z])"
)
"""What makes math-verify slow in any formula."""
MAX_FUNCTIONS = 4
"""Most functions, such as sines and logarithms, in one answer."""
_FUNCTION = re.compile(
    r"\\?(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z])|\\?(?:log|ln|lg|exp)(?![a-z])"
)
_ARGUMENT = re.compile(r"\s?(?:_\s?(?:\{[^{}]*\}|\w))?\s?(?:\\left)?[({]")
_COSTLY_BESIDE_FUNCTION = re.compile(
    r"\d{6}|\d[eE]\d|(?:\^|\*\*)\s?[({]*\s?[-+]?\d\d|\^\s?\{?\s?[^\s\d{(-]"
    r"|\\sqrt\s?\[\s?(?:\d\d|[^\d\s])|!|\\infty|\\log\s?_\s?\{?\s?[^\s\d{e]"
)
"""What makes math-verify slow in a formula that also has a function."""
_FORMULA = re.compile(r"[\d$\\\[]")
"""A text without one of these characters is no formula for math-verify, and equals nothing."""
_KNOWN_COMMAND = re.compile(
    "[dt]?frac|sqrt|pi|cdot|times|div|left|right|text|math(?:rm|bf)|boxed|infty|pm|cup|cap|circ"
    "|degree|angle|alpha|beta|gamma|theta|lambda|mu|sigma|displaystyle"
    "|(?:arc)?(?:sin|cos|tan)|cot|log|ln|exp"
)
_ANGLE = re.compile(r"(\d+(?:\.\d+)?)\s?(?:\^\s?\{?\s?\\(?:circ|degree)\s?\}?|\\degree|°)")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot)(?![a-z])")
_PLAIN = re.compile(r"(?:[\d\s+\-*/^().,=]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z\d]))+")
"""A formula without LaTeX. "T2", "1e3" and "10:30" do not match."""
_UNCLEAR = re.compile(
    r"[:;<>≤≥≠≈~?]|n't\b|\b(?:not|no|never|neither|nor|cannot|without|except|or|versus|than|over"
    r"|under|above|below|almost|nearly|about|between|roughly|approximately|at (?:least|most)|up to"
    r"|unsure)\b",
    re.IGNORECASE,
)
"""Signs and words of a bound, a denial, a doubt or several values in an answer."""


def _is_nested_deeply(text: str) -> bool:
    depth = 0
    for match in re.finditer(r"[(\[{]|[)\]}]", text):
        depth = depth + 1 if match[0] in "([{" else max(0, depth - 1)
        if depth > _MAX_DEPTH:
            return True
    return False


def is_cheap(text: str, limit: int) -> bool:
    """Whether a text, taken alone, contains nothing that makes math-verify slow.

    Args:
        text: A formula, or a text that contains formulas.
        limit: Most characters of the text.
    """
    return len(text) <= limit and not _COSTLY.search(text) and not _is_nested_deeply(text)


def _is_cheap_pair(first: str, second: str, limit: int) -> bool:
    """Whether two texts can be compared quickly; both have at most `limit` characters.

    sympy may never finish simplifying logarithms, exponentials and trigonometric functions. If
    there is one, both texts may have only small numbers and exponents, and no function of a
    function. This holds for short texts (answers) only: from a complete completion, math-verify
    reads just one formula.
    """
    if not is_cheap(first, limit) or not is_cheap(second, limit):
        return False
    answers = [text for text in (first, second) if len(text) <= ANSWER_LIMIT]
    if not any(map(_FUNCTION.search, answers)):
        return True
    return not any(
        _COSTLY_BESIDE_FUNCTION.search(text) or _nests_functions(text) for text in answers
    )


def _nests_functions(text: str) -> bool:
    r"""Whether a function is in the argument of another, as in "\sin(\log 2)".

    Also true for more than MAX_FUNCTIONS functions.
    """
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
    """Run as the separate process: read requests from stdin, and write verdicts to stdout.

    A request is one line with a JSON list of two texts, a verdict one line with true or false.
    """
    from math_verify import parse
    from math_verify import verify as compare

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)

    def equal(*texts: str) -> bool:
        parsed = [parse(text, parsing_timeout=None) for text in texts]
        return bool(compare(*parsed, timeout_seconds=None))

    # math-verify loads some modules at the first comparison, which should not count as its time
    equal("$\\frac{1}{2}x$", "$0.5x$")
    _write_line('"ready"')
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=[requests], daemon=True).start()
    while True:
        _write_line(json.dumps(equal(*json.loads(requests.get()))))


def _read_requests(requests: queue.SimpleQueue[str]) -> None:
    """Read requests from stdin; end this process when the one that asks has ended."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class _Process:
    """A process that runs `serve`, a thread that reads its lines, and its processor time."""

    _COMMAND = (
        "import sys; sys.path[:] = sys.argv[1:]; from medr1.answers.symbolic import serve; serve()"
    )

    def __init__(self) -> None:
        import psutil

        self._gone = (OSError, psutil.NoSuchProcess)
        # In a session (Windows: a group) of its own: Ctrl-C does not end a comparison.
        self.popen = subprocess.Popen(
            [sys.executable, "-c", self._COMMAND, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._times = psutil.Process(self.popen.pid)
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="math-verify").start()
        if self._lines.get() != '"ready"\n':
            self.end()
            raise RuntimeError(
                "the process that runs math-verify did not start. Check that math-verify is "
                "installed."
            )

    def _read(self) -> None:
        """What the thread does: a line for each verdict, and "" when the process has ended."""
        assert self.popen.stdout
        for line in self.popen.stdout:
            self._lines.put(line)
        self._lines.put("")

    def ask(self, request: str) -> str:
        """The line that answers a request, "null" after CPU_SECONDS, "" if the process ended."""
        assert self.popen.stdin
        try:
            end = self._cpu_seconds() + CPU_SECONDS
            self.popen.stdin.write(request)
            self.popen.stdin.flush()
            while True:
                try:
                    return self._lines.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    if self._cpu_seconds() > end:
                        return "null"
        except self._gone:
            return ""

    def _cpu_seconds(self) -> float:
        """The processor time that the process has used so far."""
        times = self._times.cpu_times()
        return float(times.user + times.system)

    def end(self) -> None:
        """Kill the process."""
        self.popen.kill()
        self.popen.wait()


class _Worker:
    """The process that compares formulas, started at the first comparison.

    Each Python process that compares formulas has its own.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the process. A fork of this Python process must not use its parent's."""
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def compare(self, first: str, second: str) -> bool | None:
        """Whether math-verify finds the texts equal; None if CPU_SECONDS do not suffice.

        Waits for the process as long as it exists, also while it is stopped.

        Args:
            first: The text whose formula is parsed as the reference.
            second: The text that is compared with it.

        Raises:
            RuntimeError: The process ended twice, or could not be started.
        """
        request = json.dumps([first, second]) + "\n"
        with self._lock:
            for _ in range(2):  # a second time if the process was ended since the last request
                process = self._process = self._process or _Process()
                reply = ""
                try:
                    reply = process.ask(request)
                finally:
                    # Ended or interrupted: a late reply must not be read as that of a next request.
                    if reply in ("", "null"):
                        self.close()
                if reply:
                    return {"true\n": True, "false\n": False, "null": None}[reply]
        raise RuntimeError(
            "the process that runs math-verify ended twice during one comparison. Check that there "
            "is enough memory."
        )

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.end()
            self._process = None


_WORKER = _Worker()
_VERDICTS: dict[bytes, bool | None] = {}
"""Hash of both texts -> verdict, so that each pair is compared once. A million take 100 MB."""
atexit.register(_WORKER.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_WORKER.reset)


def verify(first: str, second: str, limit: int = COMPLETION_LIMIT) -> bool | None:
    """Whether math-verify finds two texts equal: math_verify.verify(parse(first), parse(second)).

    Args:
        first: The text whose formula math-verify parses as the reference.
        second: The text that is compared with it.
        limit: Most characters of each text.

    Returns:
        None for texts that are too large to compare.
    """
    if not _FORMULA.search(first) or not _FORMULA.search(second):
        return False
    if not _is_cheap_pair(first, second, limit):
        return None
    texts = json.dumps([first, second]).encode()
    key = hashlib.blake2b(texts, digest_size=16).digest()
    if key not in _VERDICTS:
        _VERDICTS[key] = _WORKER.compare(first, second)
    return _VERDICTS[key]


def _as_formula(text: str) -> str:
    """The text in the form that math-verify reads as one formula."""
    if _TRIGONOMETRIC.search(text):  # math-verify reads sin 30° as the sine of 30
        text = _ANGLE.sub(r"{(\1\\pi/180)}", text)
    return text if "$" in text or "\\" not in text else f"${text}$"


def _words(text: str) -> set[str]:
    """The words outside of LaTeX commands, such as units."""
    return set(re.findall(r"[a-z]{2,}", re.sub(r"\\[a-zA-Z]+", " ", text).lower()))


def is_equivalent(ground_truth: str, answer: str) -> bool | None:
    """Whether an extracted answer states one value that equals a ground truth in LaTeX.

    An equation equals no single value. A unit or word in the ground truth must be in the answer.

    Args:
        ground_truth: The right answer, with LaTeX.
        answer: The extracted answer, with or without LaTeX.

    Returns:
        None for formulas that are too large to compare.
    """
    answer = re.sub(r"^(\$?\s?)[a-z]\s?=\s?(?=[-\d\\])", r"\1", answer).replace("√", "\\sqrt ")
    answer = re.sub(r"(?<![a-zA-Z\\])sqrt\s?\(([^()]*)\)", r"\\sqrt{\1}", answer)
    if "=" in answer and "=" not in ground_truth:
        return False
    if not (re.search(r"[\\$]", answer) or _PLAIN.fullmatch(answer)):
        return False
    if _UNCLEAR.search(answer) or not _words(ground_truth) <= _words(answer):
        return False
    for text in (ground_truth, answer):
        commands = re.findall(r"\\([a-zA-Z]+)", text)
        if not all(map(_KNOWN_COMMAND.fullmatch, commands)):
            return False
    return verify(_as_formula(ground_truth), _as_formula(answer), ANSWER_LIMIT)
