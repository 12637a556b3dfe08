"""robustness.json as text: what each perturbation costs, the worst first."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from medr1.report.comparison import p_text
from medr1.report.tables import Row, clean, grid, interval_text, percent

Document = Mapping[str, Any]


def plan_text(plan: Document) -> str:
    """What would be asked, and what not, for --dry-run."""
    blocks = []
    for kind, severities in plan["perturbations"].items():
        why = ", ".join(f"{n} {reason}" for reason, n in plan["left_out"].get(kind, {}).items())
        blocks.append((kind, ", ".join(map(str, severities)), why))
    lines = list(grid(("perturbation", "severities", "items left out"), blocks, 80, False))
    if nothing := plan["left_out"].get("none"):
        why = ", ".join(f"{n} {reason}" for reason, n in nothing.items())
        lines.append(f"not asked at all: {why}")
    lines.append(f"{plan['n']} items, {plan['n_questions']} questions in all")
    return "\n".join(lines)


def robustness_table(document: Document, *, width: int = 80, color: bool = False) -> str:
    """Accuracy as it is and blind, then each perturbation and severity, the costliest first."""
    about = (
        f"{document['n']} items, {document['clusters']['n']} {clean(document['clusters']['unit'])}s"
        f", protocol {document['protocol']}\n"
    )
    parts = [about, *grid(_HEADER, list(_rows(document)), width, color)]
    for name, key in _OVERALL:
        parts.append(_overall(name, document[key]))
    warnings = map(clean, document["warnings"])
    parts += [textwrap.fill(f"! {one}", width, subsequent_indent="  ") for one in warnings]
    return "\n".join(parts)


_HEADER: Row = ("perturbation", "severity", "right", "change", "95 % interval", "p (Holm)", "flips")
_OVERALL = (
    ("mean corruption accuracy", "mean_corruption_accuracy"),
    ("mean relative drop", "mean_relative_drop"),
)


def _rows(document: Document) -> Iterator[Row]:
    accuracy = document["clean"]["accuracy"]
    interval = interval_text(accuracy["ci95"])
    yield "as they are", "", percent(accuracy["value"]), "", interval, "", ""
    for one in worst_first(document):
        for cell in one["cells"]:
            yield _row(one["name"], str(cell["severity"]), cell)
    if document["blind"].get("accuracy"):
        yield _row("grey picture", "", document["blind"])


def _row(name: str, severity: str, cell: Document) -> Row:
    difference = cell["difference"]
    if difference["value"] is None:
        return name, severity, "-", "-", "", "", ""
    return (
        name,
        severity,
        percent(cell["accuracy"]["value"]),
        f"{100 * difference['value']:+z.1f}",
        interval_text(difference["ci95"], True),
        p_text(cell.get("p_holm", cell["p"])),
        percent(cell["flip_rate"]["value"]),
    )


def worst_first(document: Document) -> list[Document]:
    """The perturbations by the loss at their costliest severity; those without numbers last."""

    def loss(one: Document) -> float:
        found = [cell["difference"]["value"] for cell in one["cells"]]
        return min((value for value in found if value is not None), default=2.0)

    return sorted(document["perturbations"], key=loss)


def _overall(name: str, metric: Document) -> str:
    if metric["value"] is None:
        return f"{name}: not given, {metric['reason']}"
    return f"{name}: {percent(metric['value'])} ({interval_text(metric['ci95'])})"
