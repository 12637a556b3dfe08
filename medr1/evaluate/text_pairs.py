"""The two texts that a metric of texts compares, whatever the gold's type and the protocol.

A verdict reads an output as its gold asks: "yes" of a sentence where the gold is yes or no, or the
whole output for an original script. A metric of texts that compared what the verdict read would
find texts equal that are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from medr1 import answers
from medr1.normalization import fold, normalize
from medr1.records import Prediction, Sample


@dataclass(frozen=True, slots=True)
class TextPair:
    """One item's answer beside its reference, as texts."""

    answer: str | None
    """With options the text of the chosen one, else the answer as the model wrote it, without tags,
    "The answer is" and markup; None where there is none."""
    reference: str
    """The gold; of a letter its option's text."""
    same_option: bool | None = None
    """Whether answer and gold are the same letter; None for an item without options."""

    @property
    def is_exact(self) -> bool:
        """Whether letters are equal, or texts after SQuAD's normalisation; no answer equals none.

        Where that leaves nothing of the gold ("A", "+"), the folded texts are compared, without a
        final period.
        """
        if self.answer is None:
            return False
        if self.same_option is not None:
            return self.same_option
        if gold := normalize(self.reference):
            return normalize(self.answer) == gold
        return _plain(self.answer) == _plain(self.reference)


def text_pair(prediction: Prediction, verdict: answers.Verdict | None, protocol: str) -> TextPair:
    """The texts of one prediction, whose verdict under that protocol is given."""
    sample = prediction.sample
    gold, options = sample.ground_truth or "", sample.options
    answer = None if verdict is None else _answer(prediction, verdict, protocol)
    if not options:
        return TextPair(answer, gold)
    if answer is None:
        return TextPair(None, options.get(gold, gold), False)
    same = _plain(answer) == _plain(gold)
    return TextPair(options.get(answer, answer), options.get(gold, gold), same)


def _answer(prediction: Prediction, verdict: answers.Verdict, protocol: str) -> str | None:
    """The answer that `default` reads as a letter where there are options, else as an open one."""
    sample = prediction.sample
    if protocol == "default" and _is_read_so(sample):
        return verdict.extraction.answer
    output = prediction.model_output or ""
    return answers.extract(output, options=sample.options, answer_type="open").answer


def _is_read_so(sample: Sample) -> bool:
    """Whether the verdict of `default` has read the answer in just that way."""
    return bool(sample.options) or sample.answer_type == "open"


def _plain(text: str) -> str:
    return fold(text).strip().casefold().removesuffix(".")
