"""`medr1 review`: experts judge answers in the browser, and their agreement is measured."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    argument,
    call,
    cluster_by_option,
    columns_of,
    common_options,
    data_option,
    json_option,
    option,
    overwrite_option,
    results_map_option,
    seed_option,
)
from medr1.cli.protocol_options import protocol_option
from medr1.cli.review_export import export
from medr1.terminal import counted, echo
from medr1.workflows.review import adjudicate_review, start_review, summarize_review
from medr1.workflows.review_labels import label_review

if TYPE_CHECKING:
    from medr1.review.server import ReviewServer


_image_root_option = option(
    "--image-root",
    group="Input",
    metavar="DIR",
    help="Folder with the images; images outside it are not shown. [default: the folder of --data, "
    "else of the results]",
)
_port_option = option(
    "--port",
    group="Server",
    type=click.IntRange(min=0, max=65535),
    help="Port to listen on. 0: a free one.",
)


@click.group(invoke_without_command=True)
@click.pass_context
def review(ctx: click.Context) -> None:
    """Let experts judge answers in the browser, and measure their agreement.

    `medr1 review COMMAND --help` explains a command.

    \b
    Examples:
      medr1 review start results.json
      medr1 review start results.json --blind --errors 50 --seed 1
      medr1 review summary results.review.db --output-dir output/review
    """
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help())


@click.command(
    cls=Medr1Command,
    workflow=start_review,
    first_options="--compare --store --confident-errors --errors --right-answers --repeats --blind "
    "--image-root --data --map",
    short_help="Sample cases, and let experts judge them in the browser.",
)
@argument("results", metavar="FILE")
@option(
    "--compare",
    group="Input",
    metavar="FILE",
    help="File with the results of a second model for the same questions. Readers see both answers "
    "in random order, rate each, and say which they prefer. [default: none]",
)
@option(
    "--store",
    group="Output",
    metavar="FILE",
    help="File with the judgements, which is made, or continued if it exists. "
    "[default: beside the results, NAME.review.db]",
)
@data_option
@results_map_option
@_image_root_option
@protocol_option
@cluster_by_option
@option(
    "--confident-errors",
    group="Selection",
    type=click.IntRange(min=0),
    help="Number of wrong answers with a confidence of at least 0.8 to review.",
)
@option(
    "--reasoning-contradictions",
    group="Selection",
    type=click.IntRange(min=0),
    help="Number of other items to review whose reasoning concludes with another answer than is "
    "given. 0: they count as errors or right answers.",
)
@option(
    "--item-contradictions",
    group="Selection",
    type=click.IntRange(min=0),
    help="Number of other items to review whose text contradicts what is known of the item, such "
    "as its modality. 0: they count as errors or right answers.",
)
@option(
    "--errors",
    group="Selection",
    type=click.IntRange(min=0),
    help="Number of other wrong answers to review.",
)
@option(
    "--right-answers",
    group="Selection",
    type=click.IntRange(min=0),
    help="Number of right answers to review, as a control.",
)
@option(
    "--repeats",
    group="Selection",
    type=click.IntRange(min=0),
    help="Number of cases that each reader is shown twice, to see whether they agree with "
    "themselves.",
)
@option(
    "--blind",
    group="Selection",
    is_flag=True,
    help="Hide the name of the model, the automatic verdict and the ground truth from the readers.",
)
@_port_option
@option(
    "--host",
    group="Server",
    metavar="ADDRESS",
    help="IP address to listen on. Any but a loopback address needs --allow-network.",
)
@option(
    "--allow-network",
    group="Server",
    is_flag=True,
    help="Let other computers reach --host. The connection is not encrypted: who has the printed "
    "address can see the images and judge in the name of any reader.",
)
@option("--seed", group="Run", type=int, help="Seed of the sample and of the readers' orders.")
@common_options
def start(mapping: tuple[str, ...], **options: object) -> None:
    """Sample cases from results, and let experts judge them in the browser.

    Prints an address to open in a browser on this computer; other computers cannot reach it without
    --host and --allow-network. Each reader enters a name or code, and sees the cases in another
    order. Every judgement is on disk before the page goes on. Ctrl-C ends the server; the same
    command continues the review.

    Confident errors, contradictions, other errors and right answers are sampled at random, spread
    over modalities and question types.

    \b
    Examples:
      medr1 review start results.json
      medr1 review start results.json --image-root images --blind
      medr1 review start a.json --compare b.json --blind
      medr1 review start results.json --errors 50 --right-answers 50 --seed 1
    """
    _serve(call(start_review, options, columns=columns_of(mapping)))


def _serve(server: ReviewServer) -> None:
    """Print the address of a server, and answer until Ctrl-C."""
    echo(server.url)
    try:
        # a process in the background of a shell gets no KeyboardInterrupt: the server just ends
        with suppress(KeyboardInterrupt):
            server.serve()
        path = server.app.store.path
        echo(f"The review is stored in {path}. The same command continues it.", err=True)
    finally:
        server.close()


@click.command(
    cls=Medr1Command,
    workflow=adjudicate_review,
    short_help="Let an adjudicator decide the cases on which readers differ.",
)
@argument("results", metavar="FILE")
@argument("stores", nargs=-1, required=True, metavar="STORE...")
@option(
    "--adjudicator",
    group="Selection",
    metavar="NAME",
    required=True,
    help="Name or code of the reader who decides, the only one who can judge in this round.",
)
@option(
    "--questions",
    group="Selection",
    type=CommaList(str),
    metavar="NAME,...",
    help="Questions of the rubric whose disputes are decided: correct, grounded, safe, harm. "
    "[default: all of them]",
)
@option(
    "--store",
    group="Output",
    metavar="FILE",
    help="File with the judgements, which is made, or continued if it exists. "
    "[default: beside the results, NAME.adjudication.db]",
)
@data_option
@results_map_option
@_image_root_option
@_port_option
@common_options
def adjudicate(mapping: tuple[str, ...], **options: object) -> None:
    """Let an adjudicator decide the cases on which readers differ, in the browser.

    FILE is the results that were reviewed, STORE what `medr1 review start` wrote, of one or several
    computers. The adjudicator sees the verdicts and comments of the first round, without the
    readers' names. `medr1 review summary` takes the stores of both rounds. A review of two models
    (--compare) has no second round.

    \b
    Examples:
      medr1 review adjudicate results.json results.review.db --adjudicator "Dr. C"
      medr1 review adjudicate results.json a.db b.db --adjudicator C \\
          --questions correct,safe
      medr1 review summary results.review.db results.adjudication.db
    """
    _serve(call(adjudicate_review, options, columns=columns_of(mapping)))


@click.command(
    cls=Medr1Command,
    workflow=summarize_review,
    short_help="Sum up a review: agreement, and the accuracy that experts would find.",
)
@argument("stores", nargs=-1, required=True, metavar="FILE...")
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    help="Folder to write: review.json, judgements.csv and disputed.csv. [default: no files]",
)
@seed_option
@overwrite_option
@json_option
@common_options
def summary(as_json: bool, **options: object) -> None:
    """Sum up a review: agreement of the readers, and the accuracy that experts would find.

    FILE is what `medr1 review start` writes. Several files are put together if they were made from
    the same results with the same settings, such as on the computers of several readers. With a
    file of `medr1 review adjudicate`, its decisions count in the corrected accuracy.

    The corrected accuracy is that of all items, with what experts found on the sampled ones
    (prediction-powered inference). The precision and recall of the automatic verdict, also by
    answer type, and the bins of the model's confidence are estimates for all items too. With two
    models, each has its own numbers. disputed.csv has the cases on which readers differ.

    \b
    Examples:
      medr1 review summary results.review.db
      medr1 review summary first.db second.db --output-dir output/review
    """
    from medr1.files import to_json
    from medr1.report.terminal.review import review_table

    document = call(summarize_review, options)
    echo(to_json(document) if as_json else review_table(document), nl=not as_json)


@click.command(
    cls=Medr1Command,
    workflow=label_review,
    short_help="Write the experts' verdicts as labels for rewards and training.",
)
@argument("results", metavar="FILE")
@argument("stores", nargs=-1, required=True, metavar="STORE...")
@option(
    "--output-dir",
    group="Output",
    metavar="DIR",
    required=True,
    help="Folder to write: cases.jsonl and confirmed.json.",
)
@data_option
@results_map_option
@_image_root_option
@overwrite_option
@json_option
@common_options
def labels(mapping: tuple[str, ...], as_json: bool, **options: object) -> None:
    """Write the experts' verdicts as labels for rewards and training.

    FILE is the results that were reviewed, STORE what `medr1 review start` and `adjudicate` wrote.
    The final verdict is the adjudicated one, else that of more than half of the readers. Cases
    without either are undecided, and in no file. A review of two models (--compare) has no labels.

    cases.jsonl has the cases with their verdict, for `medr1 rewards`. confirmed.json has the
    results that experts call correct, and neither ungrounded nor unsafe, for `medr1 data distill`.

    \b
    Examples:
      medr1 review labels results.json results.review.db --output-dir labels
      medr1 rewards labels/cases.jsonl
      medr1 data distill train.json --results labels/confirmed.json \\
          --output-file sft.json
    """
    from dataclasses import asdict

    from medr1.files import to_json

    written = call(label_review, options, columns=columns_of(mapping))
    if as_json:
        echo(to_json(asdict(written)), nl=False)
        return
    answers = ", ".join(f"{number} {answer}" for answer, number in written.counts.items())
    echo(f"{counted(written.n_labelled, 'case')} with a final verdict: {answers}.")
    echo(f"{written.n_against_verdict} differ from the automatic verdict.")
    echo(f"{counted(written.n_confirmed, 'answer')} confirmed.")
    echo(f"{written.n_undecided} undecided, {written.n_unjudged} not judged.")


for command in (start, adjudicate, summary, labels, export):
    review.add_command(command)
