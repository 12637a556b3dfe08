"""The reviews by experts that `medr1 eval --review` adds to its summaries."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import InputError

if TYPE_CHECKING:
    from medr1.documents.review import ExpertReview


def reviews_of(
    files: Sequence[Path], stores: Sequence[str | Path], seed: int
) -> dict[Path, ExpertReview]:
    """Results file -> what experts found; files without a review are left out.

    Args:
        files: Files with results.
        stores: Files of `start_review` and `adjudicate_review`, each of a review of one of them.
        seed: Of the bootstrap intervals.

    Raises:
        InputError: A store is none, is not a review of one of the files, or compares two models.
    """
    from medr1.files import sha256_of
    from medr1.review.rounds import opened_rounds, require_one_model
    from medr1.review.store import Store
    from medr1.review.summary import expert_review

    if not stores:
        return {}
    file_of = {sha256_of(file): file for file in files if file.is_file()}
    stores_of: dict[Path, list[Path]] = {}
    for path in map(Path, stores):
        with closing(Store(path)) as store:
            file = file_of.get(store.study.results_sha256)
        if file is None:
            raise InputError(
                f"{path} is not a review of {', '.join(map(str, files))}. Name the store of a "
                "review of these results, which have not been changed since."
            )
        stores_of.setdefault(file, []).append(path)
    reviews = {}
    for file, paths in stores_of.items():
        with opened_rounds(paths) as (first, adjudication):
            require_one_model(first.study)
            reviews[file] = expert_review(first, adjudication, seed=seed)
    return reviews
