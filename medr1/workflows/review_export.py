"""Write a review as tasks of Label Studio, with their labelling configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medr1.errors import InputError
from medr1.workflows.arguments import keep_apart, require_writable


@dataclass(frozen=True)
class ExportedReview:
    """What `export_review` wrote."""

    n_tasks: int
    """Number of cases."""
    n_annotations: int
    """Number of judgements, with those of an adjudicator and of repeated cases."""


def export_review(
    results: str | Path,
    stores: Sequence[str | Path],
    *,
    output_dir: str | Path,
    image_url: str = "/data/local-files/?d=",
    columns: Mapping[str, str] | None = None,
    data: str | Path | None = None,
    image_root: str | Path | None = None,
    overwrite: bool = False,
) -> ExportedReview:
    """Write a review as tasks of Label Studio, with their labelling configuration.

    label_studio.json has a task for each case, with the judgements as annotations and the automatic
    verdict as a prediction. label_studio.xml is the configuration of the project.

    Args:
        results: The results that were reviewed.
        stores: Files of `start_review` and, if there was a second round, of `adjudicate_review`.
        output_dir: Folder to write: label_studio.json and label_studio.xml.
        image_url: What the address of each image begins with; the rest is its path in the image
            folder.
        columns: Key of medr1 -> column of the results: {"prediction": "reply"}.
        data: File with the questions, or folder with test.json, if the results lack something.
        image_root: Folder with the images; None: that of `data`, else of `results`.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: A file is no store of a review of these results, or the review compares two
            models.
        OutputError: The output cannot be written.
    """
    from medr1.evaluate.reading.results import read_results
    from medr1.files import prepare_folder, sha256_of, write_atomic
    from medr1.review.label_studio import label_studio_config, label_studio_tasks
    from medr1.review.rounds import opened_rounds, require_one_model
    from medr1.workflows.evaluate import questions_of
    from medr1.workflows.review import image_folder

    path, output = Path(results), Path(output_dir)
    require_writable(output / "label_studio.json")
    keep_apart(output, [path, *map(Path, stores)], overwrite)
    content = read_results(path, columns=columns, questions=questions_of(data, image_root))
    with opened_rounds([Path(store) for store in stores]) as (first, adjudication):
        require_one_model(first.study)
        if first.study.results_sha256 != sha256_of(path):
            raise InputError(f"{path} is not the file that was reviewed. Name that one.")
        tasks = label_studio_tasks(
            first,
            adjudication,
            content.predictions,
            image_folder=image_folder(path, data, image_root),
            image_url=image_url,
        )
        judgements = [len(one.judgements()) for one in (first, adjudication) if one]
    prepare_folder(output, overwrite=overwrite)
    text = json.dumps(tasks, ensure_ascii=False, indent=1)
    write_atomic(output / "label_studio.json", text + "\n")
    write_atomic(output / "label_studio.xml", label_studio_config())
    return ExportedReview(len(tasks), sum(judgements))
