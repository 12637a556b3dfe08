"""`medr1 data prepare`: makes a data set for training from OmniMedVQA or a file of questions."""

from __future__ import annotations

from typing import get_args

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    argument,
    call,
    columns_of,
    common_options,
    json_option,
    map_option,
    max_errors_option,
    option,
    overwrite_option,
    seed_option,
)
from medr1.cli.scan_options import scan_options, scans_from
from medr1.data.benchmarks import BENCHMARK_NAMES
from medr1.terminal import echo
from medr1.workflows.prepare import FolderField, SplitKind, SplitUnit, prepare_data


@click.command(
    cls=Medr1Command,
    workflow=prepare_data,
    first_options="--output-dir --image-root --map --benchmark --split --modality --question-type "
    "--by --size --seed --overwrite",
    short_help="Make a data set for training from questions and images.",
)
@argument("source", metavar="SOURCE")
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: the data set.",
)
@option(
    "--image-root",
    group="Input",
    metavar="DIR|ARCHIVE",
    help="Folder or archive with the images. [default: SOURCE if it is a folder or an archive, "
    "else the folder of SOURCE]",
)
@map_option("SOURCE", "ground_truth=label")
@option(
    "--benchmark",
    group="Input",
    type=click.Choice(BENCHMARK_NAMES),
    metavar="NAME",
    help="Benchmark whose files SOURCE has, as its authors publish them: a folder, an archive, or "
    "the folder of a Hugging Face data set. Its splits and images are kept as they are. "
    f"Choices: {', '.join(BENCHMARK_NAMES)}.",
)
@option(
    "--strict-counts",
    group="Input",
    is_flag=True,
    help="Stop if the number of items in a split differs from the published one. Needs "
    "--benchmark. A split without a file is not compared.",
)
@option(
    "--split",
    group="Split",
    type=click.Choice(get_args(SplitKind)),
    help="Way to split into train and test. published: as in the split files. random: at random, "
    "by --group-by and --test-share. [default: published if there are split files]",
)
@option(
    "--splits",
    group="Split",
    metavar="DIR",
    help="Folder with the published split files, if SOURCE has none.",
)
@option(
    "--group-by",
    group="Split",
    type=click.Choice(get_args(SplitUnit)),
    help="Unit whose items stay together in one split. Items of the same image always do.",
)
@option(
    "--test-share",
    group="Split",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of test items in a random split, for each modality and question type.",
)
@option(
    "--modality",
    group="Selection",
    type=CommaList(str),
    metavar="NAME,...",
    help="Modalities to keep, such as CT,MR. [default: all]",
)
@option(
    "--question-type",
    group="Selection",
    type=CommaList(str),
    metavar="NAME,...",
    help="Question types to keep, such as 'Lesion Grading'. [default: all]",
)
@option(
    "--by",
    group="Output",
    type=click.Choice(get_args(FolderField)),
    help="Field whose values get a folder each, with their own train.json and test.json. "
    "[default: one folder for all]",
)
@option(
    "--size",
    group="Images",
    type=click.IntRange(min=0),
    help="Longer side of the written images, in pixels; 0 keeps the size.",
)
@option(
    "--square",
    group="Images",
    is_flag=True,
    help="Resize images to squares of --size pixels; this changes their proportions, as in Med-R1.",
)
@option(
    "--restricted",
    group="Selection",
    is_flag=True,
    help="Include the restricted-access part of OmniMedVQA.",
)
@option(
    "--workers",
    group="Run",
    type=click.IntRange(min=1),
    show_default="number of cores, at most 8",
    help="Number of processes that resize images in parallel.",
)
@scan_options
@max_errors_option
@seed_option
@overwrite_option
@json_option
@common_options
def prepare(mapping: tuple[str, ...], max_errors: int, as_json: bool, **options: object) -> None:
    """Make a data set for training: resized images, train and test files, and a manifest.

    SOURCE is OmniMedVQA as an archive (zip, tar or tar.gz; it is not unpacked) or a folder, a
    folder with published split files, a file of questions in JSON, JSONL, CSV, TSV, .xlsx or
    Parquet, or the files of --benchmark. An interrupted run resumes when the same command is given
    again. With --benchmark an interrupted run does not resume: give --overwrite to start again.

    \b
    Examples:
      medr1 data prepare OmniMedVQA.zip --output-dir data/omni --by modality
      medr1 data prepare OmniMedVQA.zip --output-dir data/ct --modality CT \\
          --splits Splits/modality
      medr1 data prepare my.csv --output-dir data/my \\
          --map image=file --map ground_truth=label
      medr1 data prepare vqa-rad/ --benchmark vqa-rad --output-dir data/vqa-rad
    """
    from medr1.errors import ItemErrorsOverBudget
    from medr1.files import to_json

    scans = scans_from(options)
    result = call(prepare_data, options, columns=columns_of(mapping), scans=scans)
    output, errors = result.output_dir, result.errors
    if as_json:
        manifest = result.manifest
        document = {
            "output_dir": str(output),
            "meta": manifest.meta,
            "counts": manifest.counts,
            "image_notes": manifest.image_notes,
            "errors": manifest.errors,
        }
        echo(to_json(document), nl=False)
    else:
        echo(output)
    if len(errors) > max_errors:
        raise ItemErrorsOverBudget(
            f"{len(errors)} of {result.num_items + len(errors)} items were left out; see `errors` "
            f"in {output / 'manifest.json'}. The first: {errors[0].message}"
        )
