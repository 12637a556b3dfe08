"""The experts' final answers as labels: cases for rewards, and results for training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medr1.prompts import problem_text
from medr1.records import RESULTS_SCHEMA, Prediction, prediction_to_dict
from medr1.review.final import final_answers
from medr1.review.rounds import first_looks
from medr1.review.store import Store


@dataclass(frozen=True)
class LabelledCase:
    """A case about which the experts have decided whether the answer is correct."""

    place: int
    """The place of the item among all items of the results file."""
    is_right: bool
    """The automatic verdict."""
    correct: str
    """no, partly or yes."""
    source: str
    """One of final.SOURCES."""
    is_confirmed: bool
    """Whether experts call the answer correct, and have not called it ungrounded or unsafe."""


@dataclass(frozen=True)
class ExpertLabels:
    """The labels of a review."""

    cases: tuple[LabelledCase, ...]
    """In the order of the items."""
    n_undecided: int
    """Number of judged cases without a final answer."""
    n_unjudged: int
    """Number of cases that nobody has judged."""

    @property
    def counts(self) -> Mapping[str, int]:
        """no, partly, yes -> number of cases."""
        counts = Counter(case.correct for case in self.cases)
        return {answer: counts[answer] for answer in ("no", "partly", "yes")}


def expert_labels(store: Store, adjudication: Store | None = None) -> ExpertLabels:
    """The labels of all judged cases.

    Args:
        store: The store of the review.
        adjudication: The store of its second round; None without one.
    """
    first = first_looks(store.judgements())
    decided = first_looks(adjudication.judgements()) if adjudication else {}
    final = {key: final_answers(first, decided, key) for key in ("correct", "grounded", "safe")}
    cases, n_undecided, n_unjudged = [], 0, 0
    for item in store.items():
        answer = final["correct"].get(item.place)
        if answer is None:
            n_unjudged += item.is_case
        elif answer.answer is None:
            n_undecided += 1
        else:
            others = [final[key].get(item.place) for key in ("grounded", "safe")]
            # where readers are undecided about them, the answer is not confirmed either
            doubted = any(other is not None and other.answer in (None, "no") for other in others)
            is_confirmed = answer.answer == "yes" and not doubted
            cases.append(
                LabelledCase(item.place, item.is_right, answer.answer, answer.source, is_confirmed)
            )
    return ExpertLabels(tuple(cases), n_undecided, n_unjudged)


def reward_cases(labels: ExpertLabels, predictions: Sequence[Prediction]) -> str:
    """The labelled cases as JSONL, in the form that `medr1 rewards` reads.

    Each has content, solution and problem, and with them id, expert (no, partly, yes), source and
    automatic_verdict.

    Args:
        labels: The labels.
        predictions: All items of the results file.
    """
    lines = []
    for case in labels.cases:
        prediction = predictions[case.place]
        sample = prediction.sample
        entry = {
            "id": sample.id,
            "content": prediction.model_output or "",
            "solution": f"<answer>{sample.ground_truth}</answer>",
            "problem": problem_text(sample),
            "expert": case.correct,
            "source": case.source,
            "automatic_verdict": "right" if case.is_right else "wrong",
        }
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    return "".join(lines)


def confirmed_results(
    labels: ExpertLabels, predictions: Sequence[Prediction], meta: Mapping[str, Any]
) -> dict[str, object]:
    """The confirmed cases as the content of a results file, such as for `medr1 data distill`.

    Args:
        labels: The labels.
        predictions: All items of the results file.
        meta: What the results file says about its run.
    """
    confirmed = [predictions[case.place] for case in labels.cases if case.is_confirmed]
    return {
        "schema": RESULTS_SCHEMA,
        "meta": dict(meta),
        "results": [prediction_to_dict(prediction) for prediction in confirmed],
    }
