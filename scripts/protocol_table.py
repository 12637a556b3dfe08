"""Writes the table of answers/README.md: what each protocol gives on the same completions.

    python scripts/protocol_table.py                  the embedded model on the embedded test split
    python scripts/protocol_table.py results.json     a results file

The embedded model is asked with greedy decoding and its own prompt; this takes a minute or more.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from medr1.api import run_evaluation, run_inference
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.documents.protocols import ProtocolRow
from medr1.report.protocol_words import difference_text
from medr1.report.terminal.tables import value_with_interval

HEADER = "| protocol | accuracy | n | no answer | differ from default | what differs |"


def table(rows: dict[str, ProtocolRow]) -> str:
    """The rows of a summary as a Markdown table."""
    lines = [HEADER, "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        cells = (
            f"`{name}`",
            value_with_interval(row.accuracy),
            row.accuracy.n,
            row.n_without_answer,
            row.n_lost + row.n_gained,
            difference_text(row).replace("<", "&lt;"),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path)
    results = parser.parse_args().results
    with tempfile.TemporaryDirectory() as folder:
        if results is None:
            results = Path(folder) / "results.json"
            run_inference(
                model_path=str(tiny_vl_folder()),
                batch_file=tiny_vqa_folder() / "test.json",
                output_file=results,
                batch_size=32,
                mode="generate",
            )
        summary = run_evaluation(results, protocol="all").summaries[0]
    print(table(summary.protocol_rows or {}))


if __name__ == "__main__":
    main()
