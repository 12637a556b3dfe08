"""Aligned text tables for the terminal: of summary.json, of the demo, and of one answer.

Names and answers come from files that somebody else wrote. Each cell goes through `clean`, so that
none of them can send control characters to the terminal.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wcwidth import wcswidth

_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
HIDDEN = {"Cc", "Cf", "Cs"}
"""Unicode categories of invisible characters: control, format (as text direction), surrogate."""
_NAME_WIDTH = 40
"""The most terminal columns for the names of rows, the first column of a table."""
_BOLD, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[33m", "\x1b[0m"

Row = tuple[str, ...]
"""The cells of one row of a table, the row's name first."""


def clean(value: Any) -> str:
    """The value as one line of visible text, without terminal escapes or direction marks."""
    text = "".join(" " if c in _SPACES else c for c in str(value))
    return "".join(c for c in text if unicodedata.category(c) not in HIDDEN).strip()


# --- the summary of an evaluation ---------------------------------------------------------------


def summary_table(summary: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """What `medr1 eval` prints of one results file: all metrics, baselines, groups and warnings.

    Args:
        summary: The content of summary.json (`evaluate.metrics.summarize`).
        width: Columns of the terminal. Longer names and notes are shortened with an ellipsis.
        color: Whether headers are bold and warnings yellow.
    """
    parts = [_title(summary), *grid(_HEADER, list(_metric_rows(summary)), width, color)]
    if rows := list(_trust_rows(summary)):
        parts += ["", *grid(("confidence and agreement", *_HEADER[1:]), rows, width, color)]
    if summary.get("protocols"):
        rows = [_row(name, metric) for name, metric in summary["protocols"].items()]
        parts += ["", *grid(("accuracy by protocol", *_HEADER[1:]), rows, width, color)]
    if findings := summary.get("findings"):
        rows = list(map(_finding_row, findings[:_MAX_FINDINGS]))
        parts += ["", *grid(_FINDINGS_HEADER, rows, width, color)]
        if len(findings) > len(rows):
            parts.append(f"{len(findings) - len(rows)} more rows are in summary.csv")
        parts += textwrap.wrap(_FINDINGS_NOTE, max(width, 20))
    for kind, groups in summary["groups"].items():
        if groups:
            rows = [_row(name, group["metrics"]["accuracy"]) for name, group in groups.items()]
            if len(rows) > 1:
                rows.append(_row("mean of the groups", {**summary["macro"][kind], "n": ""}))
            header = (f"accuracy by {kind}", *_HEADER[1:])
            parts += ["", *grid(header, rows, width, color)]
    if reasons := _reasons_without_interval(summary):
        note = f"No 95 % CI where: {clean('; '.join(reasons))}."
        parts += ["", *textwrap.wrap(note, max(width, 20))]
    if summary["warnings"]:
        parts.append("")
    for warning in summary["warnings"]:
        lines = textwrap.fill(f"! {clean(warning)}", max(width, 20), subsequent_indent="  ")
        parts.append(f"{_YELLOW}{lines}{_PLAIN}" if color else lines)
    return "\n".join(parts)


_HEADER: Row = ("metric", "value", "95 % CI", "n")
_FINDINGS_HEADER: Row = ("question/option", "sensitivity", "specificity", "n", "positive")
_FINDINGS_NOTE = "positive: yes, or this option, is the right answer. n: items that offer it."
_MAX_FINDINGS = 8
_UNANSWERED = {
    "unparsed": "no answer found",
    "ambiguous": "several answers",
    "truncated": "cut off",
    "empty": "no text",
}
"""Why a completion has no readable answer, in two or three words."""


def _title(summary: Mapping[str, Any]) -> str:
    """The file's name, how many items it has, and how many of them have no usable answer."""

    def reasons(counts_by_reason: Mapping[str, int]) -> str:
        items = counts_by_reason.items()
        words = ((_UNANSWERED.get(name) or clean(name).replace("_", " "), n) for name, n in items)
        return ", ".join(f"{n} {word}" for word, n in words)

    unanswered = {k: n for k, n in (summary.get("unanswered") or {}).items() if k != "refused"}
    undecided = (summary.get("undecided") or {}).get("reasons") or {}
    counts = ", ".join(
        f"{summary[key]} {words}"
        for key, words in (
            ("n_error", "failed"),
            (
                "n_unparsed",
                "without a readable answer" + (f" ({reasons(unanswered)})" if unanswered else ""),
            ),
            ("n_refused", "where the model declined to answer"),
            (
                "n_undecided",
                "that the rules cannot judge" + (f" ({reasons(undecided)})" if undecided else ""),
            ),
            ("n_truncated", "cut off at the token limit"),
        )
        if key in summary
    )
    name = f"{clean(summary['results'])}\n" if summary.get("results") else ""
    text = f"{summary['n']} items, protocol {summary['protocol']}; {counts}"
    return f"{name}{textwrap.fill(text, 80)}\n"


def _finding_row(finding: Mapping[str, Any]) -> Row:
    cells = (_value_with_interval(finding[key]) for key in ("sensitivity", "specificity"))
    return (str(finding["finding"]), *cells, str(finding["n"]), str(finding["n_positive"]))


def _value_with_interval(metric: Mapping[str, Any], signed: bool = False) -> str:
    """A value and its interval in one cell, such as "68.0 % (64.1 to 71.8)".

    A difference (`signed`) has no unit: the table's header names it.
    """
    interval = interval_text(metric.get("ci95"), signed)
    text = percent(metric["value"], signed).removesuffix(" points")
    return text + (f" ({interval})" if interval else "")


def _best_predictor(blind: Mapping[str, Any]) -> str:
    """The name of the best predictor without the image, such as "text classifier"."""
    name = str(blind["best"].get("predictor", "none"))
    return name.removeprefix("question_option_").replace("_", " ")


def _reasons_without_interval(summary: Mapping[str, Any]) -> list[str]:
    """Why some numbers of the tables have a value and no interval; each reason once."""
    metrics = [*summary["metrics"].values(), *(summary.get("protocols") or {}).values()]
    for finding in (summary.get("findings") or ())[:_MAX_FINDINGS]:
        metrics += [finding["sensitivity"], finding["specificity"]]
    for groups in summary["groups"].values():
        metrics += [group["metrics"]["accuracy"] for group in groups.values()]
    methods = (m.get("method", "") for m in metrics if m["value"] is not None and not m["ci95"])
    reasons = (method.removesuffix("no interval").rstrip(":, ") for method in methods)
    plain = (reason.replace("no spread", "all resamples are equal") for reason in reasons)
    return list(dict.fromkeys(filter(None, plain)))


def _metric_rows(summary: Mapping[str, Any]) -> Iterator[Row]:
    """One row for each metric. The baselines of accuracy follow it at once, indented."""
    for name, metric in summary["metrics"].items():
        yield _row(name, metric)
        if name == "accuracy" and summary.get("n_undecided"):
            yield _row("  items the rules can judge", summary["undecided"]["coverage"])
        if name == "accuracy" and (stated := summary.get("stated_accuracy")):
            label = f"  stated in the file ({stated['protocol']})"
            yield label, percent(stated["value"]), "", ""
        if name == "accuracy" and summary["blind"]:
            blind = summary["blind"]
            yield "  chance", percent(blind["chance"]), "", ""
            yield _row(f"  best without image ({_best_predictor(blind)})", blind["best"])
            yield _row("  gain over best without image", blind["image_gain"], signed=True)
            yield _row("  on items that need an image", blind["image_needed"])
        if name == "accuracy" and (ablation := summary.get("image_ablation")):
            yield _row(
                f"  without the image ({ablation['ablation']})",
                ablation["accuracy_without_image"],
            )
            yield _row("  gain from the image", ablation["ablation_gain"], signed=True)
            yield _row("  same answer without image", ablation["same_answer"])


def _trust_rows(summary: Mapping[str, Any]) -> Iterator[Row]:
    """Calibration, abstention and agreement of several answers, as far as the summary has them."""
    calibration, selective = (summary.get(key) or {} for key in ("calibration", "selective"))
    if metrics := calibration.get("metrics"):
        yield _row("overconfidence (confidence - accuracy)", metrics["overconfidence"], signed=True)
        yield _row("expected calibration error (ece)", metrics["ece"])
        # 95 % of the models whose confidence is exactly right have an error below this by chance
        if (by_chance := metrics["ece"].get("by_chance")) is not None:
            yield "  95 % limit if perfectly calibrated", percent(by_chance), "", ""
        if scaled := (calibration.get("temperature") or {}).get("metrics"):
            yield _row("  after temperature scaling", scaled["ece"])
        yield _row("debiased error (ece_debiased)", metrics["ece_debiased"])
        yield _row("AUROC of the confidence (auroc)", metrics["auroc"])
    if metrics := selective.get("metrics"):
        yield _row("area under risk-coverage curve (aurc)", metrics["aurc"])
        if "threshold" in (referral := selective["referral"]):
            target = percent(referral["target_risk"])
            yield _row(f"deferred (target: at most {target} errors)", referral["referred"])
            yield _row("  error rate of the items not deferred", referral["risk"])
        if "split" in (conformal := selective["conformal"]):
            label = f"conformal coverage (target {percent(conformal['nominal'])})"
            yield _row(label, conformal["split"]["coverage"])
    if consistency := (summary.get("uncertainty") or {}).get("self_consistency"):
        yield _row("accuracy of the samples' majority", consistency["majority_accuracy"])
        yield _row("agreement of the samples", consistency["agreement"])
    if (dropout := summary.get("dropout") or {}).get("value") is not None:
        yield _row(f"accuracy, mean of {dropout['num_samples']} dropout passes", dropout)
        yield _row("  gain over one pass without dropout", dropout["difference"], signed=True)
    if ensemble := summary.get("ensemble"):
        yield _row(f"accuracy, majority of {len(ensemble['members'])} files", ensemble["majority"])
        gain = ensemble["majority"]["differences"][ensemble["members"][0]]
        yield _row("  gain over this file", gain, signed=True)


def _row(name: str, metric: Mapping[str, Any], *, signed: bool = False) -> Row:
    """Name, value, interval and n of a metric; a dash and the reason if it has no value."""
    if metric["value"] is None:
        return name, "-", clean(metric.get("reason", "")), str(metric.get("n", 0))
    value, interval = percent(metric["value"], signed), interval_text(metric["ci95"], signed)
    return name, value, interval, str(metric.get("n", ""))


# --- numbers and alignment ----------------------------------------------------------------------


def percent(value: float | None, signed: bool = False) -> str:
    """A share as text, such as "68.0 %"; a difference of shares in points, such as "+2.0 points".

    Args:
        value: A share, 1.0 for 100 %. None gives a dash.
        signed: Whether it is a difference: in percentage points, with a "+" if it is positive.
    """
    if value is None:
        return "-"
    # "z" prints -0.0 as 0.0
    return f"{100 * value:+z.1f} points" if signed else f"{100 * value:.1f} %"


def interval_text(ci95: Sequence[float] | None, signed: bool = False) -> str:
    """A confidence interval in percent, such as "64.1 to 71.8".

    Args:
        ci95: Both bounds as shares, 1.0 for 100 %. None gives an empty text.
        signed: Whether positive bounds get a "+".
    """
    if not ci95:
        return ""
    low, high = (f"{100 * x:+z.1f}" if signed else f"{100 * x:.1f}" for x in ci95)
    return f"{low} to {high}"


def grid(header: Row, rows: Sequence[Row], width: int, color: bool) -> list[str]:
    """The lines of an aligned table, names to the left and numbers to the right.

    A row whose second cell is "-" has no value. Its third cell is then the reason: it starts where
    the interval would end up, takes the rest of the line, and is shortened at the table's width.

    Args:
        header: The titles of the columns.
        rows: As many cells each as the header has.
        width: The most columns of the terminal that a line takes.
        color: Whether the header is bold.
    """
    n_values = len(header) - 1
    # a reason does not widen the column of the intervals
    widths = [
        max(terminal_columns(row[i]) for row in (header, *rows) if i != 2 or row[1] != "-")
        for i in range(1, n_values + 1)
    ]
    room = max(12, min(_NAME_WIDTH, width - sum(widths) - 2 * n_values))
    names = [truncate(_row_name(row[0]), room) for row in (header, *rows)]
    name_width = max(map(terminal_columns, names))
    lines = []
    for name, row in zip(names, (header, *rows), strict=True):
        cells = [name + " " * (name_width - terminal_columns(name))]
        if row[1] == "-":
            cells += [row[1].rjust(widths[0]), row[2] if n_values > 1 else ""]
        else:
            cells += [align_right(cell, n) for cell, n in zip(row[1:], widths, strict=True)]
        lines.append(truncate("  ".join(cells).rstrip(), max(width, 20)))
    return [f"{_BOLD}{lines[0]}{_PLAIN}" if color else lines[0], *lines[1:]]


def _row_name(name: str) -> str:
    """The name, cleaned; an indentation of two blanks is kept."""
    return ("  " if name.startswith("  ") else "") + clean(name)


def terminal_columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian characters two, accents none."""
    return wcswidth(text)


def align_right(text: str, columns: int) -> str:
    """The text with blanks before it, so that it ends at a column of the terminal.

    Args:
        text: A text without line ends.
        columns: The width of the result in terminal columns. A wider text stays as it is.
    """
    return " " * (columns - terminal_columns(text)) + text


def truncate(text: str, columns: int) -> str:
    """The text, shortened with an ellipsis if it is wider than a number of terminal columns.

    Args:
        text: A text without line ends.
        columns: The most terminal columns of the result, the ellipsis counted.
    """
    if terminal_columns(text) <= columns:
        return text
    while text and terminal_columns(text) > columns - 1:
        text = text[:-1]
    return text + "…"


# --- the demo -----------------------------------------------------------------------------------


def demo_table(document: Mapping[str, Any], *, width: int = 80, color: bool = False) -> str:
    """The results of `medr1 demo`: baselines, base and trained model, shuffled images, and gains.

    Args:
        document: What the demo writes as demo.json.
        width: Columns of the terminal.
        color: Whether the header is bold.
    """
    default, strict = document["default"], document["strict"]
    blind = document["blind"]
    rows: list[Row] = [
        ("chance", percent(blind["chance"]), ""),
        ("best without image", _value_with_interval(blind["best"]), ""),
    ]
    labels = {"base": "base model", "trained": "trained with GRPO"}
    for name, label in labels.items():
        rows.append(
            (label, _value_with_interval(default[name]), _value_with_interval(strict[name]))
        )
    rows.append(("trained, image-needed items", _value_with_interval(blind["image_needed"]), ""))
    for name, metric in document["shuffled_images"].items():
        rows.append((f"{name}, images shuffled", _value_with_interval(metric), ""))
    rows += [("", "", ""), ("gain in points (95 % CI)", "", "")]
    differences = {
        "difference": "from training",
        "difference_by_source": "  the same, CI over sources",
    }
    for name, label in differences.items():
        cells = (_value_with_interval(protocol[name], True) for protocol in (default, strict))
        rows.append((label, *cells))
    rows.append(("over best without image", _value_with_interval(blind["image_gain"], True), ""))
    header = ("accuracy (95 % CI)", "default", "strict")
    return "\n".join(
        [
            f"{document['n']} held-out questions, prompt {document['prompt']}, "
            f"seed {document['seed']}, {document['seconds']:.0f} s\n",
            *grid(header, rows, width, color),
            "",
            "default: any clear answer counts. strict: only an answer block counts.",
            f"Best without image: {_best_predictor(blind)}, which knows only the texts.",
            f"95 % CI: by resampling the {document['n_images']} test images, or the "
            f"{document['n_sources']} sources they come from.",
            "It holds for this base model, this training run and this data set only.",
        ]
    )


def demo_samples(document: Mapping[str, Any], *, width: int = 80) -> str:
    """A few questions with their ground truth, and the completions before and after training.

    Args:
        document: What the demo writes as demo.json.
        width: Columns of the terminal. Longer lines are shortened with an ellipsis.
    """
    lines = ["some answers, before and after training"]
    for sample in document["samples"]:
        letter = sample["ground_truth"]
        question = f"{clean(sample['question'])} {letter}) {clean(sample['options'][letter])}"
        lines.append(truncate(question, width))
        for name in ("base", "trained"):
            verdict = "correct" if sample[name]["correct"] else "wrong"
            completion = clean(sample[name]["model_output"])
            lines.append(truncate(f"  {name:7}  {verdict:7}  {completion}", width))
    return "\n".join(lines)


# --- one answer ---------------------------------------------------------------------------------


def answer_text(entry: Mapping[str, Any], *, width: int = 80, reasoning: bool = False) -> str:
    """What `medr1 infer` prints for one question: the answer, and what else was generated.

    Below the answer: a bar for each option's probability, the sampled answers with their counts,
    and the range of each option's probability over the passes with dropout, if there are any.

    Args:
        entry: One entry of results.json.
        width: Columns of the terminal.
        reasoning: Whether the model's reasoning is printed above the answer.
    """
    options, answer = entry["options"], entry["extracted_answer"]
    text = f"{answer}) {options[answer]}" if answer in options else answer
    if answer is None:
        completion = entry["model_output"] or ""
        # an open question has no fixed answers: the completion as a whole is the answer
        is_open = entry["answer_type"] == "open"
        text = completion if is_open else f"{_UNCLEAR[entry['answer_type']]}: {completion}"
    samples = Counter(" ".join(sample.split()) for sample in entry["samples"]).most_common()
    n_samples = len(entry["samples"])
    counts = "\n".join(f"{n} of {n_samples} samples: {sample}" for sample, n in samples)
    parts = [
        *(reasoning and entry["reasoning"], text),
        *(_probability_bars(entry, width), counts, _dropout_ranges(entry)),
    ]
    return "\n\n".join("\n".join(map(clean, part.splitlines())) for part in parts if part)


_UNCLEAR = {
    "multiple_choice": "The completion does not clearly name one of the options",
    "yes_no": "The completion does not clearly say yes or no",
    "count": "The completion does not clearly state one number",
}
"""Answer type -> what is wrong with a completion in which no answer was found."""
_BAR_WIDTH = 20
"""Terminal columns of a bar for a probability of 1."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"
"""Blocks of 0/8 to 8/8 of a terminal column."""


def _probability_bars(entry: Mapping[str, Any], width: int) -> str:
    """A heading, and a line for each option: its name, its probability, a bar as long as that."""
    probabilities = entry["option_probs"] or {}
    lines = ["Probability of each option:"] if probabilities else []
    names = {answer: _option_name(entry, answer) for answer in probabilities}
    room = width - _BAR_WIDTH - len("  100.0 %  ")
    name_width = min(room, max(map(terminal_columns, names.values()), default=0))
    for answer, share in probabilities.items():
        # whole columns, and one of the eight partial blocks for the rest
        full, eighths = divmod(round(share * _BAR_WIDTH * 8), 8)
        bar = "█" * full + (_EIGHTHS[eighths] if eighths else "")
        name = truncate(clean(names[answer]), name_width)
        padding = " " * (name_width - terminal_columns(name))
        lines.append(f"{name}{padding}  {100 * share:5.1f} %  {bar}")
    return "\n".join(line.rstrip() for line in lines)


def _dropout_ranges(entry: Mapping[str, Any]) -> str:
    """The lowest and highest probability of each option over the passes with dropout."""
    if not (passes := entry["dropout_probs"]):
        return ""
    lines = [f"{len(passes)} passes with dropout, lowest to highest probability of each option:"]
    for answer in passes[0]:
        shares = [100 * probabilities[answer] for probabilities in passes]
        lines.append(f"{min(shares):.1f} to {max(shares):.1f} %  {_option_name(entry, answer)}")
    return "\n".join(lines)


def _option_name(entry: Mapping[str, Any], answer: str) -> str:
    return f"{answer}) {entry['options'][answer]}" if entry["options"] else answer
