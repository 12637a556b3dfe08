"""Judge predictions, and hold what the metrics need of them in columns, one entry per item.

Memory has to suffice for a million items, so completions are dropped after the verdict, unless
metrics of texts need the answers. Many items have the same outcome (options, answer, verdict): a
`CodedColumn` holds each `Outcome` once with a code per item, and functions of outcomes are computed
once for each distinct one.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from medr1 import answers
from medr1.claims import CheckedText
from medr1.errors import InputError
from medr1.evaluate.coded import CodedColumn, Mask, Values
from medr1.evaluate.item_claims import ItemClaims, checked_texts, item_claims
from medr1.evaluate.metrics.text_pairs import TextPair, text_pair
from medr1.evaluate.protocol_outcomes import ProtocolOutcome, protocol_outcome
from medr1.evaluate.reasoning_columns import ReasoningColumns, reasoning_columns
from medr1.evaluate.scores import Scores, scores_of
from medr1.evaluate.token_columns import TokenColumns, token_columns
from medr1.records import Prediction, Sample

GROUPS = ("modality", "question_type", "dataset", "option_count")
"""The groups that every summary has; `Settings.group_by` adds keys of the items' metadata."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one item and the verdict on it, without the item's id or texts."""

    answer_type: str
    options: tuple[tuple[str, str], ...]
    """(letter, text) in the item's order; () for a question without options."""
    ground_truth: str
    answer: str | None
    """The answer that `answers` extracted; None where there is none."""
    method: str
    """How the answer was extracted, or why there is none (`answers.Extraction.method`); "failed"
    for an item whose run ended in an error."""
    correct: bool
    truncated: bool
    """Whether the completion was cut off at the token limit."""
    undecided: str | None = None
    """Why the rules cannot say whether the answer is right, one of `answers.UNDECIDED`; None where
    they can."""

    @property
    def failed(self) -> bool:
        """Whether the item's run ended in an error, so that there is no completion."""
        return self.method == "failed"

    @property
    def reference(self) -> str:
        """The ground truth as text: for a letter, the text of its option."""
        return dict(self.options).get(self.ground_truth, self.ground_truth)

    @property
    def predicted(self) -> str | None:
        """The answer as text: for a letter, the text of its option; None without an answer."""
        return dict(self.options).get(self.answer, self.answer) if self.answer is not None else None


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """The answers of an item's further completions (`infer --num-samples`), one entry for each."""

    answers: tuple[str | None, ...] = ()
    """The extracted answers; None where there is none. Answers that are equal by
    `answers.same_answer` have one spelling, so that they can be counted: that of `Outcome.answer`
    where they equal it, else that of the first of them. ("no effusion", "without effusion") is
    ("no effusion", "no effusion")."""
    correct: tuple[bool, ...] = ()
    """Whether each of them is right."""


@dataclass(frozen=True)
class Settings:
    """How answers are judged, items are grouped, and bootstrap intervals are drawn."""

    protocol: str = "default"
    """The rules of the verdict, one of `answers.PROTOCOLS`. `authors` stands for the original
    project's script that fits the ground truths, one of `answers.SCRIPTS`."""
    cluster_by: str = "image"
    """Items with the same value of this are one cluster, not independent: "image", or a key of
    the metadata such as "patient"."""
    group_by: tuple[str, ...] = ()
    """Further keys of the metadata to group by."""
    protocols: tuple[str, ...] = ()
    """Further protocols whose accuracy is shown beside it, to see how much depends on the rules."""
    seed: int = 0
    """Seed of every bootstrap."""
    texts: bool = field(default=False, kw_only=True)
    """Whether to keep the texts that metrics such as BLEU compare."""
    reasoning: bool = field(default=False, kw_only=True)
    """Whether to check the reasoning before the answers."""
    num_resamples: int = 2000
    """Number of resamples of every bootstrap."""
    claims: bool = field(default=False, kw_only=True)
    """Whether to check the claims of completions against what is known of their items."""
    protocol_choice: answers.ScriptChoice | None = None
    """The script that `authors` stands for, and why; None where `authors` was not asked for."""

    def resolve_authors(self, ground_truths: Iterable[str]) -> Settings:
        """These settings with `authors` replaced by the script that fits the ground truths.

        `ground_truths` are those of all items of a file; they are read only for `authors`.
        """
        if "authors" not in (self.protocol, *self.protocols):
            return self
        choice = answers.resolve_protocol("authors", ground_truths)

        def script(name: str) -> str:
            return choice.protocol if name == "authors" else name

        return replace(
            self,
            protocol=script(self.protocol),
            protocols=tuple(dict.fromkeys(map(script, self.protocols))),
            protocol_choice=choice,
        )


@dataclass(frozen=True)
class Columns:
    """Judged items as columns: each has one entry per item, in the order of the file."""

    ids: list[str]
    outcomes: CodedColumn[Outcome]
    sampled: CodedColumn[SampledAnswers]
    """The answers of further completions; `SampledAnswers()` for an item without any."""
    clusters: CodedColumn[Hashable]
    """What items share that are not independent (`_cluster_of`)."""
    groups: dict[str, CodedColumn[str | None]]
    """Kind of group, such as "modality" -> each item's group; None for an item of no group."""
    questions: CodedColumn[str]
    """For a yes/no item the finding it asks about, else its question; "" for any other item."""
    num_tokens: NDArray[np.int64]
    """Length of the completion in tokens; -1 where the file does not say."""
    characters: NDArray[np.int64]
    """Length of the completion in characters; -1 where there is none."""
    has_finish_reason: Mask
    """Whether the file says if the completion was cut off."""
    closed: Mask
    """Whether the question is closed (`_is_closed`)."""
    texts: CodedColumn[TextPair] | None
    """The texts that metrics such as BLEU compare; None unless `Settings.texts`."""
    scores: Scores
    """How sure the model is of its answers."""
    tokens: TokenColumns
    """The probabilities of the completions' tokens."""
    metadata_keys: frozenset[str]
    """The metadata keys of all items, which they may be grouped or clustered by."""
    protocols: dict[str, CodedColumn[ProtocolOutcome]] = field(default_factory=dict)
    """Further protocol -> what it says of each item."""
    reasoning: ReasoningColumns | None = None
    """The checks of the reasoning; None unless `Settings.reasoning`."""
    claims: CodedColumn[ItemClaims] | None = None
    """The claims of the completions; None unless `Settings.claims`."""

    def right_under(self, protocol: str) -> Mask:
        """Where an item is right under one of `protocols`."""
        return self.protocols[protocol].where(lambda outcome: outcome.correct)

    @classmethod
    def concatenate(cls, parts: Sequence[Columns]) -> Columns:
        """The parts one after the other; all were judged with the same settings."""
        first = parts[0]
        texts = [part.texts for part in parts if part.texts is not None]
        reasoning = [part.reasoning for part in parts if part.reasoning is not None]
        claims = [part.claims for part in parts if part.claims is not None]
        return cls(
            [name for part in parts for name in part.ids],
            CodedColumn.concatenate([part.outcomes for part in parts]),
            CodedColumn.concatenate([part.sampled for part in parts]),
            CodedColumn.concatenate([part.clusters for part in parts]),
            {
                kind: CodedColumn.concatenate([part.groups[kind] for part in parts])
                for kind in first.groups
            },
            CodedColumn.concatenate([part.questions for part in parts]),
            np.concatenate([part.num_tokens for part in parts]),
            np.concatenate([part.characters for part in parts]),
            np.concatenate([part.has_finish_reason for part in parts]),
            np.concatenate([part.closed for part in parts]),
            CodedColumn.concatenate(texts) if len(texts) == len(parts) else None,
            Scores.concatenate([part.scores for part in parts]),
            TokenColumns.concatenate([part.tokens for part in parts]),
            frozenset().union(*(part.metadata_keys for part in parts)),
            {
                protocol: CodedColumn.concatenate([part.protocols[protocol] for part in parts])
                for protocol in first.protocols
            },
            ReasoningColumns.concatenate(reasoning) if len(reasoning) == len(parts) else None,
            CodedColumn.concatenate(claims) if len(claims) == len(parts) else None,
        )


@dataclass(frozen=True)
class Judged:
    """Judged items, and the settings they were judged with: what every metric is computed from."""

    columns: Columns
    settings: Settings

    def __len__(self) -> int:
        return len(self.columns.ids)

    @property
    def ids(self) -> list[str]:
        """The items' ids, in order."""
        return self.columns.ids

    @property
    def outcomes(self) -> CodedColumn[Outcome]:
        """The items' answers and verdicts, in order."""
        return self.columns.outcomes

    @property
    def clusters(self) -> NDArray[np.intp]:
        """The cluster code of each item; items about one image, say, have the same code."""
        return self.columns.clusters.codes

    @property
    def unit(self) -> str:
        """What one cluster is, in the singular: "image", "patient"."""
        return self.settings.cluster_by

    @property
    def resampling(self) -> dict[str, int]:
        """The seed and the number of resamples, as keyword arguments of functions of `intervals`.

        It is the part `intervals` of summary.json as well.
        """
        return {"seed": self.settings.seed, "num_resamples": self.settings.num_resamples}

    @cached_property
    def correct(self) -> Values:
        """1.0 for each right answer, 0.0 for any other item."""
        return self.outcomes.map(lambda outcome: outcome.correct)

    @cached_property
    def unanswered(self) -> Mask:
        """Where there is a completion, and it holds neither an answer nor a refusal."""
        return self.outcomes.where(
            lambda outcome: (
                outcome.answer is None
                and not (outcome.failed or outcome.undecided or outcome.method == "refused")
            )
        )

    @cached_property
    def refused(self) -> Mask:
        """Where the model declined to answer."""
        return self.outcomes.where(lambda outcome: outcome.method == "refused")

    @cached_property
    def undecided(self) -> Mask:
        """Where the rules cannot say whether the answer is right."""
        return self.outcomes.where(lambda outcome: outcome.undecided is not None)


def judge_all(predictions: Sequence[Prediction], settings: Settings = Settings()) -> Judged:
    """Judge predictions with the rules of `answers`.

    An item that failed, or whose completion is missing, is wrong.

    Args:
        predictions: One for each item.
        settings: How to judge them; by default the protocol `default`, clustered by image.

    Raises:
        InputError: An item has no ground truth.
    """
    settings = settings.resolve_authors(
        prediction.sample.ground_truth or "" for prediction in predictions
    )
    verdicts = [judge_prediction(prediction, settings.protocol) for prediction in predictions]
    return Judged(columns_of(predictions, verdicts, settings), settings)


def columns_of(
    predictions: Sequence[Prediction],
    verdicts: Sequence[answers.Verdict | None],
    settings: Settings,
    checked: Sequence[CheckedText | None] | None = None,
) -> Columns:
    """The columns of predictions that were judged already.

    Args:
        predictions: One for each item.
        verdicts: Their verdicts in the same order; None where there was no completion to judge.
        settings: How they were judged, grouped and clustered.
        checked: Their claims, if they were checked already; None: by `Settings.claims`.
    """
    if checked is None and settings.claims:
        checked = checked_texts(predictions, verdicts)
    samples = [prediction.sample for prediction in predictions]
    names = (*GROUPS, *(name for name in settings.group_by if name not in GROUPS))
    return Columns(
        [sample.id for sample in samples],
        CodedColumn.from_items(map(_outcome, predictions, verdicts)),
        CodedColumn.from_items(
            _sampled_answers(prediction, verdict, settings.protocol)
            for prediction, verdict in zip(predictions, verdicts, strict=True)
        ),
        CodedColumn.from_items(_cluster_of(sample, settings.cluster_by) for sample in samples),
        {
            name: CodedColumn.from_items(group_of(sample, name) for sample in samples)
            for name in names
        },
        CodedColumn.from_items(map(_question_of, samples)),
        _integers(prediction.num_tokens for prediction in predictions),
        _integers(
            None if prediction.model_output is None else len(prediction.model_output)
            for prediction in predictions
        ),
        np.array([prediction.finish_reason is not None for prediction in predictions], dtype=bool),
        np.array([_is_closed(sample) for sample in samples], dtype=bool),
        _texts(predictions, verdicts, settings),
        scores_of(predictions, verdicts),
        token_columns(predictions),
        frozenset().union(*(sample.metadata for sample in samples)),
        {
            protocol: CodedColumn.from_items(
                protocol_outcome(prediction, judge_prediction(prediction, protocol))
                for prediction in predictions
            )
            for protocol in settings.protocols
        },
        reasoning_columns(predictions, verdicts, settings.protocol) if settings.reasoning else None,
        None if checked is None else CodedColumn.from_items(map(item_claims, checked)),
    )


def judge_prediction(prediction: Prediction, protocol: str) -> answers.Verdict | None:
    """The verdict on one prediction.

    Args:
        prediction: What the model answered to one item.
        protocol: The rules of the verdict, one of `answers.PROTOCOLS`. "authors" would choose a
            script for each item alone; `Settings.resolve_authors` chooses one for the whole file.

    Returns:
        The verdict; None where there is no completion to judge.

    Raises:
        InputError: The item has no ground truth.
    """
    sample = prediction.sample
    if sample.ground_truth is None:
        raise InputError(
            f"item {sample.id} has no ground_truth, so its answer cannot be judged. "
            "Add it to the results, or leave the item out."
        )
    if prediction.error is not None or prediction.model_output is None:
        return None
    return _judge(prediction.model_output, sample, protocol)


def _judge(completion: str, sample: Sample, protocol: str) -> answers.Verdict:
    return answers.judge(
        completion,
        ground_truth=sample.ground_truth or "",
        options=sample.options,
        answer_type=sample.answer_type,
        question=sample.question,
        protocol=protocol,
        closed=_is_closed(sample),
    )


_NOT_SAMPLED = SampledAnswers()
"""One object for all items without further completions."""


def _sampled_answers(
    prediction: Prediction, verdict: answers.Verdict | None, protocol: str
) -> SampledAnswers:
    """The answers of the further completions; each distinct text is judged once."""
    if not prediction.samples:
        return _NOT_SAMPLED
    sample = prediction.sample
    verdicts = {text: _judge(text, sample, protocol) for text in dict.fromkeys(prediction.samples)}
    first = verdict.extraction.answer if verdict else None
    spellings = [] if first is None else [first]
    answer_of: dict[str, str | None] = {}
    for text, judgement in verdicts.items():
        answer = judgement.extraction.answer
        answer_of[text] = (
            answer if answer is None else _one_spelling(answer, spellings, sample, protocol)
        )
    return SampledAnswers(
        tuple(answer_of[text] for text in prediction.samples),
        tuple(verdicts[text].correct for text in prediction.samples),
    )


def _one_spelling(answer: str, spellings: list[str], sample: Sample, protocol: str) -> str:
    """The spelling of this answer that came first; a new answer is added to `spellings`.

    An answer may equal several spellings that do not equal each other; the first one counts.
    """
    is_same = partial(
        answers.same_answer,
        answer,
        options=sample.options,
        answer_type=sample.answer_type,
        protocol=protocol,
    )
    for spelling in spellings:
        if is_same(spelling):
            return spelling
    spellings.append(answer)
    return answer


def _outcome(prediction: Prediction, verdict: answers.Verdict | None) -> Outcome:
    sample, extraction = prediction.sample, verdict.extraction if verdict else None
    no_output = "failed" if prediction.error is not None else "empty"
    return Outcome(
        sample.answer_type,
        tuple(sample.options.items()),
        sample.ground_truth or "",
        extraction.answer if extraction else None,
        extraction.method if extraction else no_output,
        verdict is not None and verdict.correct,
        prediction.finish_reason == "length",
        verdict.undecided if verdict else None,
    )


def _texts(
    predictions: Sequence[Prediction],
    verdicts: Sequence[answers.Verdict | None],
    settings: Settings,
) -> CodedColumn[TextPair] | None:
    if not settings.texts:
        return None
    return CodedColumn.from_items(
        text_pair(prediction, verdict, settings.protocol)
        for prediction, verdict in zip(predictions, verdicts, strict=True)
    )


def _cluster_of(sample: Sample, cluster_by: str) -> Hashable:
    """The paths of the item's images, or its value of the metadata key `cluster_by`.

    An item without any is a cluster of its own: ("", its id), which no paths and no text equal.
    """
    cluster = sample.images if cluster_by == "image" else _metadata_text(sample, cluster_by)
    return ("", sample.id) if cluster in (None, ()) else cluster


def group_of(sample: Sample, name: str) -> str | None:
    """The item's group of a kind; None if it has none.

    Args:
        sample: The item.
        name: A field of `Sample` (modality, question_type, dataset, answer_type), "option_count",
            or a key of the metadata.
    """
    if name == "option_count":
        return str(len(sample.options)) if sample.options else None
    is_field = name in GROUPS or (name == "answer_type" and name not in sample.metadata)
    group = getattr(sample, name) if is_field else _metadata_text(sample, name)
    return group or None


def _metadata_text(sample: Sample, key: str) -> str | None:
    """The value of a metadata key as text (a number or object as JSON); None without one."""
    value = sample.metadata.get(key)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _question_of(sample: Sample) -> str:
    if sample.answer_type != "yes_no":
        return ""
    return _metadata_text(sample, "finding") or sample.question


def _is_closed(sample: Sample) -> bool:
    """Whether the question has options, is answered by yes or no, or the file calls it closed.

    Some data sets mark each question as open or closed; `data.items` puts the mark into the
    metadata as `answer_class`.
    """
    if sample.options or sample.answer_type in ("multiple_choice", "yes_no"):
        return True
    return (_metadata_text(sample, "answer_class") or "").casefold() == "closed"


def _integers(values: Iterable[int | None]) -> NDArray[np.int64]:
    """The values as an array, with -1 for None."""
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)
