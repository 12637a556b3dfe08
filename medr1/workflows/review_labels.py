"""Write the experts' verdicts of a review as labels for rewards and training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medr1.errors import InputError
from medr1.workflows.arguments import keep_apart, require_writable


@dataclass(frozen=True)
class ReviewLabels:
    """What `label_review` wrote."""

    n_labelled: int
    """Number of cases in cases.jsonl."""
    counts: Mapping[str, int]
    """Whether experts call the answer correct (no, partly, yes) -> number of cases."""
    n_against_verdict: int
    """Number of cases in which the experts' yes or no is not the automatic verdict."""
    n_confirmed: int
    """Number of items in confirmed.json."""
    n_undecided: int
    """Number of judged cases without a final answer, which are in no file."""
    n_unjudged: int
    """Number of cases that nobody has judged."""


def label_review(
    results: str | Path,
    stores: Sequence[str | Path],
    *,
    output_dir: str | Path,
    columns: Mapping[str, str] | None = None,
    data: str | Path | None = None,
    image_root: str | Path | None = None,
    overwrite: bool = False,
) -> ReviewLabels:
    """Write the experts' verdicts as cases for rewards, and what they confirmed as results.

    cases.jsonl has each case with a final answer, in the form that `score_completions` reads.
    confirmed.json has the results that experts call correct, and neither ungrounded nor unsafe, as
    input of `distill_data`.

    Args:
        results: The results that were reviewed.
        stores: Files of `start_review` and, if there was a second round, of `adjudicate_review`.
        output_dir: Folder to write: cases.jsonl and confirmed.json.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        data: File with the questions, or folder with test.json, if the results lack something.
        image_root: Folder with the images; None: that of `data`, else of `results`.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file is no store of a review of these results, the review compares two models,
            or no case has a final answer.
        OutputError: The output cannot be written.
    """
    from medr1.evaluate.reading.results import read_results
    from medr1.files import prepare_folder, sha256_of, write_atomic
    from medr1.review.labels import confirmed_results, expert_labels, reward_cases
    from medr1.review.rounds import opened_rounds, require_one_model
    from medr1.workflows.evaluate import questions_of

    path, output = Path(results), Path(output_dir)
    require_writable(output / "cases.jsonl")
    keep_apart(output, [path, *map(Path, stores)], overwrite)
    with opened_rounds([Path(store) for store in stores]) as (first, adjudication):
        require_one_model(first.study)
        if first.study.results_sha256 != sha256_of(path):
            raise InputError(f"{path} is not the file that was reviewed. Name that one.")
        labels = expert_labels(first, adjudication)
    if not labels.cases:
        raise InputError(
            f"no case has a final answer ({labels.n_undecided} undecided, {labels.n_unjudged} not "
            "judged). Let readers judge first, or adjudicate."
        )
    content = read_results(path, columns=columns, questions=questions_of(data, image_root))
    prepare_folder(output, overwrite=overwrite)
    write_atomic(output / "cases.jsonl", reward_cases(labels, content.predictions))
    confirmed = confirmed_results(labels, content.predictions, content.meta)
    text = json.dumps(confirmed, ensure_ascii=False, indent=1)
    write_atomic(output / "confirmed.json", text + "\n")
    expected = {False: "no", True: "yes"}
    return ReviewLabels(
        n_labelled=len(labels.cases),
        counts=labels.counts,
        n_against_verdict=sum(
            case.correct in expected.values() and case.correct != expected[case.is_right]
            for case in labels.cases
        ),
        n_confirmed=sum(case.is_confirmed for case in labels.cases),
        n_undecided=labels.n_undecided,
        n_unjudged=labels.n_unjudged,
    )
