"""summary.json as CSV in long form. No cell starts a formula in a spreadsheet.

Names and answers come from files of others, so every cell is guarded.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medr1.report.tables import HIDDEN

COLUMNS = ("results", "protocol", "scope", "group", "metric", "value", "lo", "hi", "n")

_PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def summary_csv(summaries: Iterable[Mapping[str, Any]]) -> str:
    """Long form: a row for each file, scope (all, modality ...), group and metric."""
    return csv_text((row for summary in summaries for row in summary_rows(summary)), COLUMNS)


def summary_rows(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of one summary, shares in [0, 1]; a value that could not be computed is blank."""

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
            for name, metric in (macro.get("metrics") or {"accuracy": macro}).items():
                yield row(kind, "(macro)", name, metric)


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV with a header and "\\n" line ends; None is blank, every cell is guarded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guard_cell(row.get(column)) for column in columns])
    return out.getvalue()


def guard_cell(value: Any) -> str:
    """The value as a cell no spreadsheet runs: one that starts a formula gets a ' before it.

    So does a cell that starts with ' and then one: `unguard_cell` undoes exactly this. Control
    characters other than tab and line ends are dropped.
    """
    if value is None:
        return ""
    text = "".join(c for c in str(value) if c in "\t\r\n" or unicodedata.category(c) not in HIDDEN)
    if _PLAIN_NUMBER.fullmatch(text) or not _starts_formula(text):
        return text
    return "'" + text


def unguard_cell(cell: str) -> str:
    """What `guard_cell` was given."""
    guarded = cell.startswith("'") and _starts_formula(cell[1:])
    return cell[1:] if guarded else cell


def _starts_formula(text: str) -> bool:
    """Also behind blanks, line ends and ' that a spreadsheet may drop."""
    return text.startswith(("\t", "\r")) or text.lstrip(" \n'").startswith(_FORMULA)
