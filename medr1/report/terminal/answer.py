"""What `medr1 infer` prints for one question: the answer, probabilities and sampled answers."""

from __future__ import annotations

from collections import Counter

from medr1.records import Prediction, Sample
from medr1.report.terminal.layout import WIDTH, Row, aligned, clean


def answer_text(prediction: Prediction, *, width: int = WIDTH, reasoning: bool = False) -> str:
    """What `medr1 infer` prints for one question: the answer, and what else was generated.

    Below the answer: a bar for each option's probability, the sampled answers with their counts,
    and the range of each option's probability over the passes with dropout, if there are any.

    Args:
        prediction: The item with its answer.
        width: Columns of the terminal.
        reasoning: Whether the model's reasoning is printed above the answer.
    """
    sample, answer = prediction.sample, prediction.extracted_answer
    if answer is None:
        completion = prediction.model_output or ""
        # an open question has no fixed answers: the completion as a whole is the answer
        is_open = sample.answer_type == "open"
        text = completion if is_open else f"{_UNCLEAR[sample.answer_type]}: {completion}"
    else:
        text = _option_name(sample, answer)
    completions = Counter(" ".join(one.split()) for one in prediction.samples).most_common()
    n_samples = len(prediction.samples)
    counts = "\n".join(f"{n} of {n_samples} samples: {completion}" for completion, n in completions)
    parts = [
        *(prediction.reasoning if reasoning else None, text),
        *(_probability_bars(prediction, width), counts, _dropout_ranges(prediction)),
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


def _probability_bars(prediction: Prediction, width: int) -> str:
    """A heading, and a line for each option: its name, its probability, a bar as long as that."""
    rows: list[Row] = []
    for answer, share in (prediction.option_probs or {}).items():
        # whole columns, and one of the eight partial blocks for the rest
        full, eighths = divmod(round(share * _BAR_WIDTH * 8), 8)
        bar = "█" * full + (_EIGHTHS[eighths] if eighths else "")
        name = _option_name(prediction.sample, answer)
        rows.append((name, f"{100 * share:.1f} %", bar.ljust(_BAR_WIDTH)))
    if not rows:
        return ""
    return "\n".join(["Probability of each option:", *aligned(rows, width, justify="lrl")])


def _dropout_ranges(prediction: Prediction) -> str:
    """The lowest and highest probability of each option over the passes with dropout."""
    if not (passes := prediction.dropout_probs):
        return ""
    lines = [f"{len(passes)} passes with dropout, lowest to highest probability of each option:"]
    for answer in passes[0]:
        shares = [100 * probabilities[answer] for probabilities in passes]
        lines.append(
            f"{min(shares):.1f} to {max(shares):.1f} %  {_option_name(prediction.sample, answer)}"
        )
    return "\n".join(lines)


def _option_name(sample: Sample, answer: str) -> str:
    """ "B) MRI" for a letter of the options, else the answer itself."""
    return f"{answer}) {sample.options[answer]}" if answer in sample.options else answer
