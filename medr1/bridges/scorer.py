"""Scores answers in a process of its own: `python -m medr1.bridges.scorer [PROTOCOL]`.

Each line of the input is a JSON object {"item": a question, "completion": the answer}, and each
line of the output {"correct", "answer", "method"} or {"error"}. The task that
`medr1 data convert --to lmms-eval` writes starts it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator

from medr1.bridges.scoring import read_sample, score
from medr1.errors import InputError
from medr1.terminal import echo


def score_lines(lines: Iterable[str], protocol: str) -> Iterator[str]:
    """The scores of lines of JSON, each as a line of JSON.

    Args:
        lines: As described above.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
    """
    for line in lines:
        try:
            request = json.loads(line)
            result = vars(score(read_sample(request["item"]), request["completion"], protocol))
        except (InputError, ValueError, KeyError, TypeError) as error:
            result = {"error": str(error)}
        yield json.dumps(result)


def main() -> None:
    """Read requests from standard input until it ends."""
    protocol = sys.argv[1] if len(sys.argv) > 1 else "default"
    for result in score_lines(sys.stdin, protocol):
        echo(result)


if __name__ == "__main__":
    main()
