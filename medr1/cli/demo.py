"""`medr1 demo`: training, inference and evaluation on the embedded model and data."""

from __future__ import annotations

import logging
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

logger = logging.getLogger("medr1")


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
    help="Also measure calibration, robustness, an ensemble and dropout sampling of the trained "
    "model; takes about two minutes more.",
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

    With --full: also calibration, abstention, repeated samples, an ensemble, dropout sampling and
    perturbed images, with a report of each. The commands are shown as a user would type them.

    \b
    Examples:
      medr1 demo
      medr1 demo --prompt think --seed 1 --output-dir output/think
    """
    import sys
    from contextlib import nullcontext, redirect_stdout

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
            _evaluate_further(folder, prompt, seed, max_steps)
    if as_json:
        echo(to_json(document), nl=False)
        return
    echo(f"{demo_table(document)}\n\n{demo_samples(document.samples)}")
    echo(f"\nCurve: {folder / 'curve.png'}   Everything else: {folder}")
    if full:
        trust = folder / "trust"
        echo(f"How far to trust it: {trust / 'report' / 'report.html'}")
        echo(f"Perturbed images: {trust / 'robustness' / 'robustness.html'}")
        echo(f"Dropout sampling: {trust / 'report-dropout' / 'report.html'}")


def _command(ctx: click.Context) -> str:
    """The command line as it was typed, but for --quiet, --verbose, --debug and --config."""
    words = ["medr1", "demo"]
    for param in ctx.command.params:
        value, source = ctx.params.get(str(param.name)), ctx.get_parameter_source(str(param.name))
        if param.name in ctx.params and source is click.core.ParameterSource.COMMANDLINE:
            words += [param.opts[0]] if value is True else [param.opts[0], str(value)]
    return shlex.join(words)


def _evaluate_further(folder: Path, prompt: DemoPrompt, seed: int, max_steps: int | None) -> None:
    """Run the commands of --full on the trained model, in this process, and log each of them.

    A LoRA adapter with dropout is trained as well: dropout sampling needs a model with dropout, and
    the ensemble a second model.
    """
    from medr1.cli.compare import compare
    from medr1.cli.eval import evaluate
    from medr1.cli.infer import infer
    from medr1.cli.robustness import robustness
    from medr1.cli.train import train
    from medr1.data.tiny import tiny_config, tiny_config_file, tiny_vqa_folder

    data, out = tiny_vqa_folder(), folder / "trust"
    base_model = ("--model-path", tiny_config(CONFIGS[prompt])["model_path"])
    model, adapter = ("--model-path", folder / "checkpoint"), out / "adapter"
    # Results files: of the base model, of the trained model, of dropout passes with the adapter,
    # and of the trained model on the validation split, for the calibration.
    base, test, dropout, validation = (
        out / f"{name}.json" for name in ("base", "test", "dropout", "validation")
    )
    on_test = ("--batch-file", data / "test.json", "--batch-size", 32, "--seed", seed)
    on_validation = ("--batch-file", data / "validation.json", *on_test[2:])
    calibration = ("--calibrate-on", validation, "--target-risk", 0.15)
    data_options = ("--train-data", data, "--image-root", data, "--seed", seed)
    perturbed, perturbations = out / "robustness", ("--perturbations", "all", "--limit", 240)
    more_parts = (
        *("--robustness", perturbed / "robustness.json"),
        *("--ensemble", base, "--ensemble", dropout),
    )
    lora = ("--use-peft", "--lora-r", 16, "--lora-alpha", 32, "--lora-dropout", 0.1)
    schedule = ("--learning-rate", 0.005, "--max-steps", max_steps or 60, "--seed", seed)
    steps: tuple[tuple[click.Command, tuple[object, ...]], ...] = (
        (infer, (*model, *on_validation, "--output-file", validation)),
        (infer, (*model, *on_test, "--output-file", test, "--num-samples", 8)),
        (infer, (*base_model, *on_test, "--output-file", base)),
        (compare, (base, test, "--seed", seed, "--output-dir", out / "compare")),
        (
            train,
            ("--config", tiny_config_file(CONFIGS[prompt]), *base_model, "--data", data, *lora,
             *schedule, "--output-dir", adapter),
        ),
        (
            infer,
            ("--model-path", adapter, *on_test, "--mode", "options", "--dropout-samples", 8,
             "--output-file", dropout),
        ),
        (robustness, (*model, *on_test, "--output-dir", perturbed, *perturbations)),
        (
            evaluate,
            (test, *calibration, *data_options, *more_parts, "--output-dir", out / "report"),
        ),
        (evaluate, (dropout, *data_options, "--output-dir", out / "report-dropout")),
    )  # fmt: skip
    for command, arguments in steps:
        words = [str(argument) for argument in arguments]
        logger.info("medr1 %s %s", command.name, " ".join(words))
        command.main(words, prog_name=f"medr1 {command.name}", standalone_mode=False)
