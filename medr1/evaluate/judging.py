"""Predictions to verdicts in columns: what the metrics need of a million items, and no more.

What an answer came to (`Outcome`) is the same for many items, so it is kept once, with a code for
each item; a metric is computed once for each outcome.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1 import answers
from medr1.errors import InputError
from medr1.evaluate.coded import Coded, Mask, Values
from medr1.evaluate.scores import Scores, scores_of
from medr1.evaluate.text_pairs import TextPair, text_pair
from medr1.records import Prediction, Sample

GROUPS = ("modality", "question_type", "dataset", "option_count")
"""What every summary is split by; `Settings.group_by` adds keys of the metadata."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one item's answer came to."""

    answer_type: str
    options: tuple[tuple[str, str], ...]
    """(letter, text) in the item's order; () for none."""
    ground_truth: str
    answer: str | None
    """As `answers` extracted it; None where there is none."""
    method: str
    """How it was found or why not (`answers.Extraction.method`); "failed" for an error."""
    correct: bool
    truncated: bool
    """Whether the output was cut off at the token limit."""
    undecided: str | None = None
    """Why rules cannot say whether it is right, one of `answers.UNDECIDED`; None where they can."""

    @property
    def failed(self) -> bool:
        return self.method == "failed"

    @property
    def reference(self) -> str:
        """The gold as text: of a letter its option's."""
        return dict(self.options).get(self.ground_truth, self.ground_truth)

    @property
    def predicted(self) -> str | None:
        """The answer as text: of a letter its option's; None where there is none."""
        return dict(self.options).get(self.answer, self.answer) if self.answer is not None else None


@dataclass(frozen=True, slots=True)
class Sampled:
    """What an item's further completions came to, one entry for each."""

    answers: tuple[str | None, ...] = ()
    """As extracted, None where there is none. Equal ones (`answers.same_answer`) are written alike:
    as `Outcome.answer` where they equal that, else as the first of them."""
    correct: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How items are judged and grouped, and how intervals are drawn."""

    protocol: str = "default"
    """One of `answers.PROTOCOLS`; the golds resolve `authors` to one of `answers.SCRIPTS`."""
    cluster_by: str = "image"
    """What items share that are not independent: "image", or a key of the metadata."""
    group_by: tuple[str, ...] = ()
    """Further keys of the metadata to split by."""
    protocols: tuple[str, ...] = ()
    """Further protocols, to see how far the accuracy depends on it."""
    seed: int = 0
    texts: bool = field(default=False, kw_only=True)
    """Whether metrics of texts are asked for, so that the texts are read and stored."""
    num_resamples: int = 2000
    """Of every bootstrap."""
    protocol_choice: answers.Choice | None = None
    """What `authors` was resolved to, and why; None where it was not asked for."""

    def resolved(self, golds: Iterable[str]) -> Settings:
        """With the script of the original's that a file of these golds asks for, if `authors` is
        asked for."""
        if "authors" not in (self.protocol, *self.protocols):
            return self
        choice = answers.resolve_protocol("authors", golds)

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
    """Judged items, a column for each thing; all have one entry per item, in order."""

    ids: list[str]
    outcomes: Coded[Outcome]
    sampled: Coded[Sampled]
    """Of the samples beside the one answer; `Sampled()` for an item without."""
    clusters: Coded[Hashable]
    groups: dict[str, Coded[str | None]]
    questions: Coded[str]
    """The yes/no question's finding or stem; "" for any other item."""
    num_tokens: NDArray[np.int64]
    """Of the output; -1 where the file does not say."""
    characters: NDArray[np.int64]
    """Of the output; -1 where there is none."""
    says_finish: Mask
    """Whether the file says if the output was cut off."""
    closed: Mask
    """Whether the question is closed: see `_is_closed`."""
    texts: Coded[TextPair] | None
    """What metrics of texts compare; None unless `Settings.texts`."""
    scores: Scores
    """How sure the model is."""
    metadata_keys: frozenset[str]
    """What an item may be grouped or clustered by."""
    protocols: dict[str, Mask] = field(default_factory=dict)
    """By protocol: whether the item is right under it."""

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The parts one after the other."""
        first = parts[0]
        texts = [part.texts for part in parts if part.texts is not None]
        return cls(
            [name for part in parts for name in part.ids],
            Coded.joined([part.outcomes for part in parts]),
            Coded.joined([part.sampled for part in parts]),
            Coded.joined([part.clusters for part in parts]),
            {kind: Coded.joined([part.groups[kind] for part in parts]) for kind in first.groups},
            Coded.joined([part.questions for part in parts]),
            np.concatenate([part.num_tokens for part in parts]),
            np.concatenate([part.characters for part in parts]),
            np.concatenate([part.says_finish for part in parts]),
            np.concatenate([part.closed for part in parts]),
            Coded.joined(texts) if len(texts) == len(parts) else None,
            Scores.joined([part.scores for part in parts]),
            frozenset().union(*(part.metadata_keys for part in parts)),
            {p: np.concatenate([part.protocols[p] for part in parts]) for p in first.protocols},
        )


@dataclass(frozen=True)
class Judged:
    """Columns, with how they were judged and how their intervals are drawn."""

    columns: Columns
    settings: Settings

    def __len__(self) -> int:
        return len(self.columns.ids)

    @property
    def ids(self) -> list[str]:
        return self.columns.ids

    @property
    def outcomes(self) -> Coded[Outcome]:
        return self.columns.outcomes

    @property
    def clusters(self) -> NDArray[np.intp]:
        """Items that are not independent, such as those about one image, share a code."""
        return self.columns.clusters.codes

    @property
    def unit(self) -> str:
        """What a cluster is."""
        return self.settings.cluster_by

    @property
    def drawn(self) -> dict[str, int]:
        """The seed and the number of resamples, as the functions of `intervals` take them."""
        return {"seed": self.settings.seed, "num_resamples": self.settings.num_resamples}

    @cached_property
    def correct(self) -> Values:
        """1.0 where the verdict is right."""
        return self.outcomes.map(lambda outcome: outcome.correct)

    @cached_property
    def unanswered(self) -> Mask:
        """Where there is an output and nothing in it reads as an answer or as a refusal."""
        return self.outcomes.where(
            lambda o: o.answer is None and not (o.failed or o.undecided or o.method == "refused")
        )

    @cached_property
    def refused(self) -> Mask:
        """Where the model declined to answer."""
        return self.outcomes.where(lambda o: o.method == "refused")

    @cached_property
    def undecided(self) -> Mask:
        """Where rules cannot say whether the answer is right."""
        return self.outcomes.where(lambda o: o.undecided is not None)


def judge_all(predictions: Sequence[Prediction], settings: Settings = Settings()) -> Judged:
    """Ask `answers` for every verdict; an item with an error or without output is wrong.

    InputError for an item without ground_truth.
    """
    settings = settings.resolved(p.sample.ground_truth or "" for p in predictions)
    verdicts = [verdict(prediction, settings.protocol) for prediction in predictions]
    return Judged(columns_of(predictions, verdicts, settings), settings)


def columns_of(
    predictions: Sequence[Prediction],
    verdicts: Sequence[answers.Verdict | None],
    settings: Settings,
) -> Columns:
    """The columns of predictions with their verdicts."""
    samples = [prediction.sample for prediction in predictions]
    names = (*GROUPS, *(name for name in settings.group_by if name not in GROUPS))
    return Columns(
        [sample.id for sample in samples],
        Coded.of(map(_outcome, predictions, verdicts)),
        Coded.of(
            _sampled(prediction, found, settings.protocol)
            for prediction, found in zip(predictions, verdicts, strict=True)
        ),
        Coded.of(_cluster_of(sample, settings.cluster_by) for sample in samples),
        {name: Coded.of(_group_of(sample, name) for sample in samples) for name in names},
        Coded.of(map(_question_of, samples)),
        _integers(p.num_tokens for p in predictions),
        _integers(None if p.model_output is None else len(p.model_output) for p in predictions),
        np.array([p.finish_reason is not None for p in predictions], dtype=bool),
        np.array([_is_closed(sample) for sample in samples], dtype=bool),
        _texts(predictions, verdicts, settings),
        scores_of(predictions, verdicts),
        frozenset().union(*(sample.metadata for sample in samples)),
        {protocol: _right_under(protocol, predictions) for protocol in settings.protocols},
    )


def verdict(prediction: Prediction, protocol: str) -> answers.Verdict | None:
    """The verdict on one prediction; None where there is no output to judge."""
    sample = prediction.sample
    if sample.ground_truth is None:
        raise InputError(
            f"item {sample.id} has no ground_truth, so its answer cannot be judged. "
            "Add it to the results, or leave the item out."
        )
    if prediction.error is not None or prediction.model_output is None:
        return None
    return _judged(prediction.model_output, sample, protocol)


def _judged(output: str, sample: Sample, protocol: str) -> answers.Verdict:
    return answers.judge(
        output,
        ground_truth=sample.ground_truth or "",
        options=sample.options,
        answer_type=sample.answer_type,
        question=sample.question,
        protocol=protocol,
    )


_NOT_SAMPLED = Sampled()


def _sampled(prediction: Prediction, found: answers.Verdict | None, protocol: str) -> Sampled:
    """The samples' answers and verdicts; each different text is judged once."""
    if not prediction.samples:
        return _NOT_SAMPLED
    sample = prediction.sample
    verdicts = {text: _judged(text, sample, protocol) for text in dict.fromkeys(prediction.samples)}
    first = found.extraction.answer if found else None
    known = [] if first is None else [first]
    written: dict[str, str | None] = {}
    for text, one in verdicts.items():
        answer = one.extraction.answer
        written[text] = (
            answer if answer is None else _written_alike(answer, known, sample, protocol)
        )
    return Sampled(
        tuple(written[text] for text in prediction.samples),
        tuple(verdicts[text].correct for text in prediction.samples),
    )


def _written_alike(answer: str, known: list[str], sample: Sample, protocol: str) -> str:
    """The first of the known answers that is the same one; else the answer, which joins them."""
    same = partial(
        answers.same_answer,
        answer,
        options=sample.options,
        answer_type=sample.answer_type,
        protocol=protocol,
    )
    for other in known:
        if same(other):
            return other
    known.append(answer)
    return answer


def _outcome(prediction: Prediction, found: answers.Verdict | None) -> Outcome:
    sample, extraction = prediction.sample, found.extraction if found else None
    no_output = "failed" if prediction.error is not None else "empty"
    return Outcome(
        sample.answer_type,
        tuple(sample.options.items()),
        sample.ground_truth or "",
        extraction.answer if extraction else None,
        extraction.method if extraction else no_output,
        found is not None and found.correct,
        prediction.finish_reason == "length",
        found.undecided if found else None,
    )


def _texts(
    predictions: Sequence[Prediction],
    verdicts: Sequence[answers.Verdict | None],
    settings: Settings,
) -> Coded[TextPair] | None:
    if not settings.texts:
        return None
    return Coded.of(
        text_pair(prediction, one, settings.protocol)
        for prediction, one in zip(predictions, verdicts, strict=True)
    )


def _right_under(protocol: str, predictions: Sequence[Prediction]) -> Mask:
    verdicts = (verdict(prediction, protocol) for prediction in predictions)
    return np.array([found is not None and found.correct for found in verdicts], dtype=bool)


def _cluster_of(sample: Sample, cluster_by: str) -> Hashable:
    """The item's images, or what its metadata has there; an item without stands for itself."""
    found = sample.images if cluster_by == "image" else _said(sample.metadata, cluster_by)
    return ("", sample.id) if found in (None, ()) else found


def _group_of(sample: Sample, name: str) -> str | None:
    if name == "option_count":
        return str(len(sample.options)) if sample.options else None
    found = getattr(sample, name) if name in GROUPS else _said(sample.metadata, name)
    return found or None


def _said(metadata: Mapping[str, Any], key: str) -> str | None:
    """What the metadata has there as text; None where it has nothing."""
    value = metadata.get(key)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _question_of(sample: Sample) -> str:
    if sample.answer_type != "yes_no":
        return ""
    return _said(sample.metadata, "finding") or sample.question


def _is_closed(sample: Sample) -> bool:
    """Whether the question has options or a yes or no as its gold, or the file calls it closed."""
    if sample.options or sample.answer_type in ("multiple_choice", "yes_no"):
        return True
    return (_said(sample.metadata, "answer_class") or "").casefold() == "closed"


def _integers(values: Iterable[int | None]) -> NDArray[np.int64]:
    return np.array([-1 if value is None else value for value in values], dtype=np.int64)
