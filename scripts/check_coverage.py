"""Print the share of lines that the tests run, lowest files first; fail if a goal is missed.

    bash scripts/test.sh --coverage        runs the tests, then this script
    python scripts/check_coverage.py       reads the last such run (.coverage)

The goals are 92 % of all lines of medr1, and 75 % of each file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from coverage import Coverage

TOTAL_GOAL = 92.0
FILE_GOAL = 75.0
NUM_FILES = 15
"""Number of files in the list, even if all reach the goal."""


def measured_percentages() -> tuple[float, dict[str, float]]:
    """The percentage of lines that were run, in total and by file."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        coverage.json_report(outfile=str(Path(folder) / "coverage.json"))
        document = json.loads((Path(folder) / "coverage.json").read_text(encoding="utf-8"))
    files = {name: entry["summary"]["percent_covered"] for name, entry in document["files"].items()}
    return document["totals"]["percent_covered"], files


def main() -> int:
    """Print the table; 1 if a goal is missed."""
    total, files = measured_percentages()
    lowest = sorted(files.items(), key=lambda item: item[1])
    low = [name for name, percent in lowest if percent < FILE_GOAL]
    for name, percent in lowest[: max(NUM_FILES, len(low))]:
        print(f"{percent:5.1f} %  {name}")
    print(f"{total:5.1f} %  all of medr1 (goal: {TOTAL_GOAL:g} %; of each file: {FILE_GOAL:g} %)")
    return int(total < TOTAL_GOAL or bool(low))


if __name__ == "__main__":
    sys.exit(main())
