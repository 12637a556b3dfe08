"""The two texts that metrics such as BLEU and ROUGE compare: the answer and the ground truth.

They are not what the verdict compares. A verdict may read only "yes" out of a sentence, because
the ground truth is yes or no, or it may take the whole completion, as the original project's
scripts do. Metrics on those texts would find different texts equal, or depend on the protocol. So
the answer is extracted here in the same way for every type of ground truth and every protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

from medr1 import answers
from medr1.records import Prediction, Sample
from medr1.text.normalization import fold, normalize


@dataclass(frozen=True, slots=True)
class TextPair:
    """One item's answer and its ground truth, as texts."""

    answer: str | None
    """For a question with options the text of the chosen option, else the answer as the model
    wrote it, without tags, markup and "The answer is"; None where there is none."""
    reference: str
    """The ground truth; for a letter, the text of its option."""
    same_option: bool | None = None
    """Whether answer and ground truth are the same letter; None for an item without options."""

    @property
    def is_exact(self) -> bool:
        """Whether the answer matches exactly: the same letter, or the same normalised text.

        Texts are compared after SQuAD's normalisation. Where that leaves nothing of the ground
        truth ("A" is an article, "+" is punctuation), texts are compared without regard to case
        and final period instead. A missing answer matches nothing.
        """
        if self.answer is None:
            return False
        if self.same_option is not None:
            return self.same_option
        if reference := normalize(self.reference):
            return normalize(self.answer) == reference
        return _plain(self.answer) == _plain(self.reference)


def text_pair(prediction: Prediction, verdict: answers.Verdict | None, protocol: str) -> TextPair:
    """The texts of one prediction.

    Args:
        prediction: The prediction.
        verdict: Its verdict under `protocol`; None where there was no completion to judge.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`.
    """
    sample = prediction.sample
    ground_truth, options = sample.ground_truth or "", sample.options
    answer = None if verdict is None else _answer(prediction, verdict, protocol)
    if not options:
        return TextPair(answer, ground_truth)
    reference = options.get(ground_truth, ground_truth)
    if answer is None:
        return TextPair(None, reference, False)
    return TextPair(options.get(answer, answer), reference, _plain(answer) == _plain(ground_truth))


def _answer(prediction: Prediction, verdict: answers.Verdict, protocol: str) -> str | None:
    """The answer read by the rules of `default`: a letter with options, else an open answer."""
    sample = prediction.sample
    if protocol == "default" and _is_read_alike(sample):
        return verdict.extraction.answer  # no need to extract it again
    completion = prediction.model_output or ""
    return answers.extract(completion, options=sample.options, answer_type="open").answer


def _is_read_alike(sample: Sample) -> bool:
    """Whether `default` reads this question as `_answer` does: by letter, or as an open answer."""
    return bool(sample.options) or sample.answer_type == "open"


def _plain(text: str) -> str:
    """The text in the form in which letters are compared: one case, no final period."""
    return fold(text).strip().casefold().removesuffix(".")
