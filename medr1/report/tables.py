"""summary.json and the demo's document as text: aligned tables for the terminal.

Names and answers come from files of others, so no cell carries control characters to a terminal.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
HIDDEN = {"Cc", "Cf", "Cs"}
"""Categories of characters that nothing shows."""
_NAME_WIDTH = 40
_BOLD, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[33m", "\x1b[0m"

Row = tuple[str, ...]


def clean(value: Any) -> str:
    """The value as one line of visible text: no terminal escapes, no reordering of characters."""
    text = "".join(" " if c in _SPACES else c for c in str(value))
    return "".join(c for c in text if unicodedata.category(c) not in HIDDEN).strip()


# --- the terminal -----------------------------------------------------------------------------


def summary_table(summary: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """Every metric with its interval, chance and blind beside accuracy, groups, warnings."""
    parts = [_title(summary), *grid(_HEADER, list(_metric_rows(summary)), width, color)]
    if rows := list(_trust_rows(summary)):
        parts += ["", *grid(("confidence", *_HEADER[1:]), rows, width, color)]
    if summary.get("protocols"):
        rows = [_row(name, metric) for name, metric in summary["protocols"].items()]
        parts += ["", *grid(("accuracy by protocol", *_HEADER[1:]), rows, width, color)]
    if found := summary.get("findings"):
        rows = list(map(_finding_row, found[:_MOST_FINDINGS]))
        parts += ["", *grid(_FINDINGS, rows, width, color)]
        if len(found) > len(rows):
            parts.append(f"and {len(found) - len(rows)} more in summary.csv")
    for kind, groups in summary["groups"].items():
        if groups:
            rows = [_row(name, group["metrics"]["accuracy"]) for name, group in groups.items()]
            if len(rows) > 1:
                rows.append(_row("mean of the groups", {**summary["macro"][kind], "n": ""}))
            header = (f"accuracy by {kind}", *_HEADER[1:])
            parts += ["", *grid(header, rows, width, color)]
    if summary["warnings"]:
        parts.append("")
    for warning in summary["warnings"]:
        lines = textwrap.fill(f"! {clean(warning)}", max(width, 20), subsequent_indent="  ")
        parts.append(f"{_YELLOW}{lines}{_PLAIN}" if color else lines)
    return "\n".join(parts)


_HEADER: Row = ("metric", "value", "95 % interval", "n")
_FINDINGS: Row = ("finding", "sensitivity", "specificity", "n", "with it")
_MOST_FINDINGS = 8


def _title(summary: Mapping[str, Any]) -> str:
    def reasons(counted: Mapping[str, int]) -> str:
        return ", ".join(f"{n} {clean(name).replace('_', ' ')}" for name, n in counted.items())

    unanswered = {k: n for k, n in (summary.get("unanswered") or {}).items() if k != "refused"}
    undecided = (summary.get("undecided") or {}).get("reasons") or {}
    counts = ", ".join(
        f"{summary[key]} {word}"
        for key, word in (
            ("n_error", "failed"),
            (
                "n_unparsed",
                "without a readable answer" + (f" ({reasons(unanswered)})" if unanswered else ""),
            ),
            ("n_refused", "refused"),
            ("n_undecided", "undecided" + (f" ({reasons(undecided)})" if undecided else "")),
            ("n_truncated", "cut off"),
        )
        if key in summary
    )
    name = f"{clean(summary['results'])}\n" if summary.get("results") else ""
    text = f"{summary['n']} items, protocol {summary['protocol']}; {counts}"
    return f"{name}{textwrap.fill(text, 80)}\n"


def _finding_row(finding: Mapping[str, Any]) -> Row:
    cells = (_share(finding[key]) for key in ("sensitivity", "specificity"))
    return (str(finding["finding"]), *cells, str(finding["n"]), str(finding["n_positive"]))


def _share(metric: Mapping[str, Any], signed: bool = False) -> str:
    """A value with its interval in one cell."""
    interval = interval_text(metric.get("ci95"), signed)
    return percent(metric["value"], signed) + (f" ({interval})" if interval else "")


def _metric_rows(summary: Mapping[str, Any]) -> Iterator[Row]:
    """One row a metric; what accuracy has to be held against follows it at once."""
    for name, metric in summary["metrics"].items():
        yield _row(name, metric)
        if name == "accuracy" and summary.get("n_undecided"):
            yield _row("  share that the rules decide", summary["undecided"]["coverage"])
        if name == "accuracy" and (stated := summary.get("stated_accuracy")):
            label = f"  stated in the file ({stated['protocol']})"
            yield label, percent(stated["value"]), "", ""
        if name == "accuracy" and summary["blind"]:
            blind = summary["blind"]
            yield "  chance", percent(blind["chance"]), "", ""
            best = str(blind["best"].get("predictor", "none")).replace("_", " ")
            yield _row(f"  best blind ({best})", blind["best"])
            yield _row("  gain over blind", blind["image_gain"], signed=True)
            yield _row("  where an image is needed", blind["image_needed"])
        if name == "accuracy" and (ablation := summary.get("image_ablation")):
            yield _row(
                f"  without the image ({ablation['ablation']})",
                ablation["accuracy_without_image"],
            )
            yield _row("  gain by the image", ablation["ablation_gain"], signed=True)
            yield _row("  same answer without it", ablation["same_answer"])


def _trust_rows(summary: Mapping[str, Any]) -> Iterator[Row]:
    """Calibration, abstention and several answers as one, where the summary has them."""
    calibration, selective = (summary.get(key) or {} for key in ("calibration", "selective"))
    if metrics := calibration.get("metrics"):
        yield _row("overconfidence", metrics["overconfidence"], signed=True)
        yield _row("ece", metrics["ece"])
        if (chance := metrics["ece"].get("by_chance")) is not None:
            yield "  by chance, up to", percent(chance), "", ""
        if after := (calibration.get("temperature") or {}).get("metrics"):
            yield _row("  with temperature", after["ece"])
        yield _row("ece_debiased", metrics["ece_debiased"])
        yield _row("auroc", metrics["auroc"])
    if metrics := selective.get("metrics"):
        yield _row("aurc", metrics["aurc"])
        if "threshold" in (referral := selective["referral"]):
            yield _row(f"deferred at {percent(referral['target_risk'])} risk", referral["referred"])
            yield _row("  selective risk", referral["risk"])
        if "split" in (conformal := selective["conformal"]):
            said = f"conformal coverage ({percent(conformal['nominal'])})"
            yield _row(said, conformal["split"]["coverage"])
    if found := (summary.get("uncertainty") or {}).get("self_consistency"):
        yield _row("majority of samples right", found["majority_accuracy"])
        yield _row("samples agree", found["agreement"])
    if (found := summary.get("dropout") or {}).get("value") is not None:
        yield _row(f"mean of {found['num_samples']} passes with dropout", found)
        yield _row("  less one without", found["difference"], signed=True)
    if found := summary.get("ensemble"):
        yield _row(f"majority of {len(found['members'])} files", found["majority"])
        mine = found["majority"]["differences"][found["members"][0]]
        yield _row("  gain over this file", mine, signed=True)


def _row(name: str, metric: Mapping[str, Any], *, signed: bool = False) -> Row:
    if metric["value"] is None:
        return name, "-", clean(metric.get("reason", "")), str(metric.get("n", 0))
    value, interval = percent(metric["value"], signed), interval_text(metric["ci95"], signed)
    return name, value, interval, str(metric.get("n", ""))


def percent(value: float | None, signed: bool = False) -> str:
    """A share as "68.0 %", with its sign where asked; a dash where there is none."""
    if value is None:
        return "-"
    return f"{100 * value:+z.1f} %" if signed else f"{100 * value:.1f} %"


def interval_text(ci95: Sequence[float] | None, signed: bool = False) -> str:
    """An interval of shares as "64.1 to 71.8"; empty where there is none."""
    if not ci95:
        return ""
    low, high = (f"{100 * x:+z.1f}" if signed else f"{100 * x:.1f}" for x in ci95)
    return f"{low} to {high}"


def grid(header: Row, rows: Sequence[Row], width: int, color: bool) -> list[str]:
    """Aligned lines: the first column to the left and cut where it is long, numbers to the right.

    A note in place of an interval is cut at the width.
    """
    others = len(header) - 1
    numbers = [
        max(terminal_columns(row[i]) for row in (header, *rows) if i != 2 or row[1] != "-")
        for i in range(1, others + 1)
    ]
    room = max(12, min(_NAME_WIDTH, width - sum(numbers) - 2 * others))
    names = [cut(_cell(row[0]), room) for row in (header, *rows)]
    first = max(map(terminal_columns, names))
    lines = []
    for name, row in zip(names, (header, *rows), strict=True):
        cells = [name + " " * (first - terminal_columns(name))]
        if row[1] == "-":
            cells += [row[1].rjust(numbers[0]), row[2] if others > 1 else ""]
        else:
            cells += [align_right(cell, n) for cell, n in zip(row[1:], numbers, strict=True)]
        lines.append(cut("  ".join(cells).rstrip(), max(width, 20)))
    return [f"{_BOLD}{lines[0]}{_PLAIN}" if color else lines[0], *lines[1:]]


def _cell(name: str) -> str:
    """A clean name that keeps its indentation of two."""
    return ("  " if name.startswith("  ") else "") + clean(name)


def terminal_columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def align_right(text: str, columns: int) -> str:
    """The text at the right end of so many columns of a terminal."""
    return " " * (columns - terminal_columns(text)) + text


def cut(text: str, columns: int) -> str:
    """The text in at most so many columns of a terminal, with an ellipsis where it is longer."""
    if terminal_columns(text) <= columns:
        return text
    while text and terminal_columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def demo_table(document: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """Chance, blind, base and trained under both protocols, and what shuffled images leave."""
    default, strict = document["default"], document["strict"]
    blind = document["blind"]
    best = blind["best"].get("predictor", "none")

    rows: list[Row] = [
        ("chance", percent(blind["chance"]), ""),
        (f"best blind: {str(best).replace('_', ' ')}", _share(blind["best"]), ""),
    ]
    for name, said in (("base", "base"), ("trained", "trained with GRPO")):
        rows.append((said, _share(default[name]), _share(strict[name])))
    differences = {
        "difference": "difference",
        "difference_by_source": "  the same, drawing sources",
    }
    for name, said in differences.items():
        rows.append((said, _share(default[name], True), _share(strict[name], True)))
    rows.append(("trained, gain over blind", _share(blind["image_gain"], True), ""))
    rows.append(("trained, image needed", _share(blind["image_needed"]), ""))
    for name, metric in document["shuffled_images"].items():
        rows.append((f"{name}, images shuffled", _share(metric), ""))
    header = ("accuracy (95 % interval)", "default", "strict")
    return "\n".join(
        [
            f"{document['n']} held-out questions, prompt {document['prompt']}, "
            f"seed {document['seed']}, {document['seconds']:.0f} s\n",
            *grid(header, rows, width, color),
            "",
            "default: any clear answer counts. strict: it must stand in one answer block.",
            f"Intervals draw the {document['n_images']} test images anew, or the "
            f"{document['n_sources']} sources they were cut from,",
            "and hold for this base, this one training run and this data set.",
        ]
    )


def demo_samples(document: Mapping[str, Any], *, width: int = 80) -> str:
    """Some questions with their right answer, and what was said before and after."""
    lines = ["some answers, before and after"]
    for sample in document["samples"]:
        letter = sample["ground_truth"]
        asked = f"{clean(sample['question'])} {letter}) {clean(sample['options'][letter])}"
        lines.append(cut(asked, width))
        for name in ("base", "trained"):
            verdict = "right" if sample[name]["correct"] else "wrong"
            lines.append(
                cut(f"  {name:7}  {verdict}  {clean(sample[name]['model_output'])}", width)
            )
    return "\n".join(lines)


def answer_text(entry: Mapping[str, Any], *, width: int = 80, reasoning: bool = False) -> str:
    """The answer of one entry of results.json, a bar for each option, and what was sampled."""
    options, answer = entry["options"], entry["extracted_answer"]
    text = f"{answer}) {options[answer]}" if answer in options else answer
    if answer is None:
        said = entry["model_output"] or ""
        text = f"No clear answer in: {said}" if entry["answer_type"] != "open" else said
    sampled = Counter(" ".join(said.split()) for said in entry["samples"]).most_common()
    counts = "\n".join(f"{n} of {len(entry['samples'])} samples: {said}" for said, n in sampled)
    parts = [reasoning and entry["reasoning"], text, _bars(entry, width), counts, _passes(entry)]
    return "\n\n".join("\n".join(map(clean, p.splitlines())) for p in parts if p)


_BAR_WIDTH = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def _bars(entry: Mapping[str, Any], width: int) -> str:
    """A line for each option: its name, a bar, its probability."""
    lines = []
    probabilities = entry["option_probs"] or {}
    names = {a: _option_name(entry, a) for a in probabilities}
    room = width - _BAR_WIDTH - len("  100.0 %  ")
    column = min(room, max(map(terminal_columns, names.values()), default=0))
    for answer, share in probabilities.items():
        full, part = divmod(round(share * _BAR_WIDTH * 8), 8)
        bar = "█" * full + (_EIGHTHS[part] if part else "")
        name = cut(clean(names[answer]), column)
        lines.append(
            f"{name}{' ' * (column - terminal_columns(name))}  {100 * share:5.1f} %  {bar}"
        )
    return "\n".join(line.rstrip() for line in lines)


def _passes(entry: Mapping[str, Any]) -> str:
    """How far each option's probability moves from pass to pass with dropout on."""
    if not (passes := entry["dropout_probs"]):
        return ""
    lines = [f"{len(passes)} passes with dropout, the least to the most of each option:"]
    for answer in passes[0]:
        shares = [100 * one[answer] for one in passes]
        lines.append(f"{min(shares):.1f} to {max(shares):.1f} %  {_option_name(entry, answer)}")
    return "\n".join(lines)


def _option_name(entry: Mapping[str, Any], answer: str) -> str:
    return f"{answer}) {entry['options'][answer]}" if entry["options"] else answer
