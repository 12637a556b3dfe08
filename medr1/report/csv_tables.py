"""CSV files for spreadsheets: summary.csv, and cells that a spreadsheet does not run as formulas.

Spreadsheets execute a cell that begins with "=", "+", "-" or "@". Names and answers come from files
that somebody else wrote, so every cell of every CSV file goes through `guard_cell`.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medr1.csv_cells import guard
from medr1.report.terminal.tables import HIDDEN

COLUMNS = ("results", "protocol", "scope", "group", "metric", "value", "lo", "hi", "n")
"""The columns of summary.csv; `lo` and `hi` are the bounds of the 95 % interval."""


def summary_csv(summaries: Iterable[Mapping[str, Any]]) -> str:
    """summary.csv, long form: a row for each file, scope (all, modality ...), group and metric."""
    return csv_text((row for summary in summaries for row in summary_rows(summary)), COLUMNS)


def summary_rows(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one summary. Shares are in [0, 1]; a value that could not be computed is None."""

    def row(scope: str, group: str, name: str, metric: Mapping[str, Any]) -> dict[str, Any]:
        low, high = metric.get("ci95") or (None, None)
        start = (summary.get("results", ""), summary["protocol"], scope, group, name)
        end = (metric["value"], low, high, metric.get("n"))
        return dict(zip(COLUMNS, (*start, *end), strict=True))

    for name, metric in summary["metrics"].items():
        yield row("all", "", name, metric)
    for name in ("n_error", "n_unparsed", "n_refused", "n_undecided", "n_truncated"):
        yield row("all", "", name, {"value": summary[name], "n": summary["n"]})
    for name, metric in (summary.get("protocols") or {}).items():
        yield row("protocol", name, "accuracy", metric)
    for finding in summary.get("findings") or ():
        for name in ("prevalence", "sensitivity", "specificity", "ppv", "npv"):
            yield row("finding", str(finding["finding"]), name, finding[name])
    if summary["blind"]:
        chance = {"value": summary["blind"]["chance"], "n": summary["n"]}
        yield row("all", "", "chance", chance)
        for name in ("option_prior", "image_gain", "image_needed"):
            yield row("all", "", name, summary["blind"][name])
        for name, metric in summary["blind"]["predictors"].items():
            yield row("blind", name, "accuracy", metric)
    if ablation := summary.get("image_ablation"):
        for name in ("accuracy_without_image", "ablation_gain", "same_answer"):
            yield row("all", ablation["ablation"], name, ablation[name])
    for kind, groups in summary["groups"].items():
        for group, content in groups.items():
            for name, metric in content["metrics"].items():
                yield row(kind, group, name, metric)
        if groups:
            macro = summary["macro"][kind]
            # without metrics of its own, the entry is the mean of the groups' accuracies
            for name, metric in (macro.get("metrics") or {"accuracy": macro}).items():
                yield row(kind, "(macro)", name, metric)


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV with a header and "\\n" as line end, every cell guarded by `guard_cell`.

    Args:
        rows: Column -> value. None or a missing key is a blank cell, other keys are ignored.
        columns: The names of the columns, in order.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guard_cell(row.get(column)) for column in columns])
    return buffer.getvalue()


def guard_cell(value: Any) -> str:
    """The value as the text of a cell that no spreadsheet runs as a formula.

    Control characters other than tab and line ends are removed.
    """
    if value is None:
        return ""
    text = "".join(c for c in str(value) if c in "\t\r\n" or unicodedata.category(c) not in HIDDEN)
    return guard(text)
