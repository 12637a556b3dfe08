"""`medr1 data prepare`: OmniMedVQA, or any file of questions, to a data set for training."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    columns_of,
    common_options,
    json_option,
    keep_apart,
    map_option,
    max_errors_option,
    option,
    overwrite_option,
    require_writable,
    seed_option,
)
from medr1.terminal import echo

logger = logging.getLogger("medr1")


@click.command(cls=Medr1Command)
@click.argument("source", metavar="SOURCE")
@option("--output-dir", metavar="DIR", required=True, help="Output folder of the data set.")
@option(
    "--image-root",
    metavar="DIR|ARCHIVE",
    help="Folder of relative image paths. [default: the archive's or file's folder]",
)
@map_option("a file of yours", "ground_truth=label")
@option(
    "--split",
    type=click.Choice(["published", "random"]),
    help="How to split into train and test. [default: published if split files are given]",
)
@option("--splits", metavar="DIR", help="Folder of the published split files, if SOURCE has none.")
@option(
    "--group-by",
    type=click.Choice(["image", "patient", "dataset"]),
    default="image",
    help="Keep items of this unit in one split; items of one image always are.",
)
@option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    help="Share of test items in a random split, per modality and question type.",
)
@option("--modality", type=CommaList(str), help="Keep only these modalities, such as CT,MR.")
@option(
    "--question-type",
    type=CommaList(str),
    help="Keep only these question types, such as 'Lesion Grading'.",
)
@option(
    "--by", type=click.Choice(["modality", "question_type"]), help="Write one folder per value."
)
@option(
    "--size",
    type=click.IntRange(min=0),
    default=384,
    help="Resize images to this longest side, in pixels; 0 keeps their size.",
)
@option(
    "--square",
    is_flag=True,
    help="Resize images to SIZE x SIZE without keeping proportions, as Med-R1 did.",
)
@option("--restricted", is_flag=True, help="Include OmniMedVQA's restricted-access records.")
@option(
    "--workers",
    type=click.IntRange(min=1),
    default=lambda: min(8, os.cpu_count() or 1),
    show_default="one a core, at most 8",
    help="Number of processes that resize images.",
)
@max_errors_option
@seed_option
@overwrite_option
@json_option
@common_options
def prepare(**options: Any) -> None:
    """Make a data set to train on: resized images, split files, a manifest.

    SOURCE is OmniMedVQA's archive (zip, tar, tar.gz; it is not unpacked) or folder, a folder of
    published split files, or any JSON, JSONL, CSV or Parquet file of questions.

    \b
      medr1 data prepare OmniMedVQA.zip --output-dir data/omni --by modality
      medr1 data prepare OmniMedVQA.zip --output-dir data/ct --modality CT --splits Splits/modality
      medr1 data prepare my.csv --output-dir data/my --map image=file --map ground_truth=label
    """
    from medr1.data.burned_in import warning
    from medr1.data.prepare import Preparation
    from medr1.data.prepare import prepare as run
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json

    output = Path(options["output_dir"])
    require_writable(output / "manifest.json")
    read = [options[name] for name in ("source", "image_root", "splits")]
    keep_apart(output, read, options["overwrite"])
    names = ("restricted", "split", "group_by", "test_share", "by", "size", "square", "seed")
    plan = Preparation(
        source=Path(options["source"]),
        columns=columns_of(options["mapping"]),
        modality=options["modality"] or (),
        question_type=options["question_type"] or (),
        image_root=Path(options["image_root"]) if options["image_root"] else None,
        splits=Path(options["splits"]) if options["splits"] else None,
        **{name: options[name] for name in names},
    )
    manifest = run(plan, output, workers=options["workers"], overwrite=options["overwrite"])
    counts, errors = manifest["counts"], manifest["errors"]
    if options["as_json"]:
        shown = {key: manifest[key] for key in ("meta", "counts", "image_notes", "errors")}
        echo(to_json({"output_dir": str(output), **shown}), nl=False)
    else:
        echo(output)
    parts = [
        f"{counts[name]:,} {name}" for name in ("train", "validation", "test") if name in counts
    ]
    logger.info(
        "%s items (%s) about %s images",
        f"{counts['items']:,}",
        ", ".join(parts),
        f"{counts['images']:,}",
    )
    why = [name for name, n in manifest.get("burned_in", {}).items() for _ in range(n)]
    if text := warning([*why, *[None] * (counts["items"] - len(why))], "items"):
        logger.warning(text)
    for error in errors[:3]:
        logger.warning("left out: %s", error["message"])
    if len(errors) > options["max_errors"]:
        raise ItemErrorsOverBudget(
            f"{len(errors)} of {counts['items'] + len(errors)} items were left out, see `errors` "
            f"in {output / 'manifest.json'}. The first: {errors[0]['message']}"
        )
