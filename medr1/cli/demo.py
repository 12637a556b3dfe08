"""`medr1 demo`: training, inference and evaluation on the embedded model and data."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from medr1.cli.common import (
    Medr1Command,
    common_options,
    json_option,
    option,
    seed_option,
)
from medr1.terminal import echo
from medr1.workflows.demo import CONFIGS, DemoPrompt, run_demo


@click.command(
    cls=Medr1Command,
    workflow=run_demo,
    short_help="Train, infer and evaluate with the embedded model and data.",
)
@option("--output-dir", group="Output", metavar="DIR", help="Folder to write.")
@option(
    "--max-steps",
    group="Training",
    type=click.IntRange(min=1),
    help="Number of GRPO steps. [default: 150 for nothink, 200 for think]",
)
@option(
    "--prompt",
    group="Prompt",
    type=click.Choice(list(CONFIGS)),
    help="Format of the answer. nothink: the answer in words. think: a short caption, then the "
    "letter of the answer, as in Med-R1.",
)
@option(
    "--full",
    group="Run",
    is_flag=True,
    help="Also measure calibration, dependence on the image, hallucination, reasoning, robustness, "
    "an ensemble, dropout sampling and other domains, with a review by simulated readers at the "
    "end; takes 10 to 20 minutes more.",
)
@seed_option
@json_option
@common_options
@click.pass_context
def demo(
    ctx: click.Context,
    output_dir: str,
    max_steps: int | None,
    prompt: DemoPrompt,
    full: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Train, infer and evaluate with the embedded model and data. Takes a few minutes on two cores.

    Evaluates the embedded model, trains it with GRPO, and evaluates it again on held-out images,
    beside a baseline that does not see the image. Results of an earlier demo in --output-dir are
    kept as DIR.bak. An interrupted demo continues when the same command is given again.

    With --full: also calibration, abstention, repeated samples, answers without the image,
    hallucinated claims, perturbed questions and images, an ensemble, dropout sampling, and a matrix
    of training domains, and a review by simulated readers whose errors are known. With --prompt
    think also the reasoning: its checks, answers after edited reasoning, and other formats on the
    same items. The commands are shown as a user would type them.

    \b
    Examples:
      medr1 demo
      medr1 demo --prompt think --seed 1 --output-dir output/think
    """
    import sys
    from contextlib import nullcontext, redirect_stdout

    from medr1.cli.full_demo import run_full_demo
    from medr1.files import to_json
    from medr1.report.terminal.demo import demo_samples, demo_table

    folder = Path(output_dir)
    try:
        document = run_demo(output_dir=folder, prompt=prompt, seed=seed, max_steps=max_steps)
    except KeyboardInterrupt:
        echo(f"Interrupted. To continue, give the same command: {_command(ctx)}", err=True)
        ctx.exit(130)
    if full:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            code = run_full_demo(folder, prompt, seed, max_steps)
        if code:
            ctx.exit(code)
    if as_json:
        echo(to_json(document), nl=False)
        return
    echo(f"{demo_table(document)}\n\n{demo_samples(document.samples)}")
    echo(f"\nCurve: {folder / 'curve.png'}   Everything else: {folder}")
    if full:
        trust = folder / "trust"
        echo(f"How far to trust it: {trust / 'report' / 'report.html'}")
        echo(f"Perturbed images and questions: {trust / 'robustness' / 'robustness.html'}")
        echo(f"Dropout sampling: {trust / 'report-dropout' / 'report.html'}")
        echo(f"Training domains: {trust / 'matrix' / 'matrix.html'}")
        echo(f"Review by simulated readers: {trust / 'review' / 'review.json'}")
        if prompt == "think":
            echo(f"Formats of the answer: {trust / 'compare-formats' / 'compare.html'}")


def _command(ctx: click.Context) -> str:
    """The command line as it was typed, but for --quiet, --verbose, --debug and --config."""
    words = ["medr1", "demo"]
    for param in ctx.command.params:
        value, source = ctx.params.get(str(param.name)), ctx.get_parameter_source(str(param.name))
        if param.name in ctx.params and source is click.core.ParameterSource.COMMANDLINE:
            words += [param.opts[0]] if value is True else [param.opts[0], str(value)]
    return shlex.join(words)
