"""`medr1 robustness`: the same questions with perturbed images or reworded, in one run."""

from __future__ import annotations

from typing import get_args

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    allow_template_option,
    bits_options,
    call,
    cluster_by_option,
    common_options,
    device_options,
    image_root_option,
    json_option,
    max_errors_option,
    max_new_tokens_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    seed_option,
)
from medr1.cli.protocol_options import protocol_option
from medr1.cli.scan_options import scan_options, scans_from
from medr1.cli.server_options import server_from, server_options
from medr1.errors import ItemErrorsOverBudget
from medr1.terminal import echo
from medr1.workflows.infer import Mode
from medr1.workflows.robustness import run_robustness


@click.command(
    cls=Medr1Command,
    workflow=run_robustness,
    first_options="--model-path --batch-file --output-dir --perturbations --severities --mode "
    "--batch-size --limit --engine --base-url --dry-run",
    short_help="Measure accuracy with perturbed images and reworded questions.",
)
@model_path_option(required=True)
@option(
    "--batch-file",
    group="Input",
    metavar="FILE",
    required=True,
    help="File with questions and ground truth.",
)
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: results.json, robustness.json and robustness.html.",
)
@option(
    "--perturbations",
    group="Perturbations",
    type=CommaList(str),
    metavar="NAME,...|all",
    help="Perturbations, such as jpeg,rotation. A word of the name, such as noise, selects all "
    "that have it. [default: gaussian_blur, gaussian_noise, contrast, brightness, jpeg, "
    "downscale, rotation, occlusion, option_order]",
)
@option(
    "--severities",
    group="Perturbations",
    type=CommaList(int),
    metavar="N,...",
    help="Severities of image perturbations, from 1 (mild) to 5 (strong). Of question "
    "perturbations, the numbers of the variants, which are not a scale.",
)
@option(
    "--limit",
    group="Input",
    type=click.IntRange(min=1),
    help="Number of questions to use, from the start of the file. [default: all]",
)
@option(
    "--batch-size",
    group="Decoding",
    type=click.IntRange(min=1),
    help="Number of questions per batch.",
)
@option(
    "--mode",
    group="Decoding",
    type=click.Choice(get_args(Mode)),
    help="What is computed. generate: a completion. options: the probability of each option; the "
    "fastest. both: the two, if the question has options.",
)
@max_new_tokens_option
@option(
    "--prompt",
    group="Prompt",
    metavar="NAME|FILE",
    help="Prompt template, as for `medr1 infer`. [default: the checkpoint's]",
)
@option("--dry-run", group="Run", is_flag=True, help="Print the plan, and stop.")
@allow_template_option
@protocol_option
@cluster_by_option
@max_errors_option
@image_root_option
@scan_options
@server_options
@device_options
@bits_options
@seed_option
@offline_option
@overwrite_option
@json_option
@common_options
def robustness(max_errors: int, as_json: bool, **options: object) -> None:
    """Measure accuracy with perturbed images and reworded questions.

    Asks the original questions, then the same questions under each perturbation, and reports how
    much accuracy is lost. results.json has every answer, for
    `medr1 eval --group-by perturbation`. An interrupted run resumes when the same command is given
    again.

    Perturbations of the image: gaussian_blur, gaussian_noise, shot_noise, speckle_noise, contrast,
    brightness, gamma_dark, gamma_bright, jpeg, downscale, rotation, crop, occlusion,
    flip_horizontal, flip_vertical. Perturbations of the question: option_order, letter_names,
    paraphrase, distractor, none_of_the_above (it replaces the right option), false_premise (the
    question says that the image shows a wrong option; completions that say so are counted), hint
    (somebody thinks that a wrong option is the answer; answers that follow it are counted, and
    completions that mention it). A grey image is always included, as a comparison: its right
    answers do not come from the image.

    \b
    Examples:
      medr1 robustness --model-path tiny-vl \\
          --batch-file questions.json --output-dir output/robustness \\
          --mode options --batch-size 32
      medr1 robustness ... --perturbations noise,jpeg,flip_horizontal \\
          --severities 1,2,3,4,5
      medr1 robustness ... --perturbations all --dry-run
    """
    from medr1.files import to_json
    from medr1.report.terminal.robustness import plan_text, robustness_table

    server, scans = server_from(options), scans_from(options)
    result = call(run_robustness, options, server=server, scans=scans)
    if result is None:  # under torchrun, only the first process reports
        return
    if result.document is None:
        echo(to_json(result.plan) if as_json else plan_text(result.plan), nl=not as_json)
        return
    document = result.document
    echo(to_json(document) if as_json else robustness_table(document), nl=not as_json)
    if result.n_error > max_errors:
        raise ItemErrorsOverBudget(
            f"{result.n_error} of {result.plan.n_questions} questions failed; see their "
            f"`error` in {result.results_file}."
        )
