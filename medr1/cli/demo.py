"""`medr1 demo`: the whole chain on the embedded model and data."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from medr1.cli.common import (
    Medr1Command,
    common_options,
    json_option,
    keep_apart,
    option,
    require_writable,
    seed_option,
)
from medr1.terminal import echo

logger = logging.getLogger("medr1")


@click.command(
    cls=Medr1Command, short_help="Run the whole pipeline on the embedded model and data."
)
@option("--output-dir", default="output/demo", metavar="DIR", help="Output folder.")
@option("--max-steps", type=click.IntRange(min=1), help="GRPO updates. [default: as configured]")
@option(
    "--prompt",
    type=click.Choice(["nothink", "think"]),
    default="nothink",
    help="nothink: the answer in words. think: a caption, then a letter, as Med-R1 answers.",
)
@option(
    "--full",
    is_flag=True,
    help="Also run calibration, robustness, ensemble and dropout on the trained model.",
)
@seed_option
@json_option
@common_options
def demo(
    output_dir: str, max_steps: int | None, prompt: str, full: bool, seed: int, as_json: bool
) -> None:
    """Train, infer and evaluate on the embedded default, in a few minutes on two cores.

    Evaluates the embedded model, trains it with GRPO, and evaluates it again on held-out images,
    beside a baseline that never looks at the image. What stands in --output-dir from an earlier
    demo is moved to .bak.

    With --full it goes on to calibration, abstention, repeated samples, an ensemble, dropout
    sampling and worse pictures: pages of each, by commands that are shown as they are typed.
    """
    import sys
    from contextlib import nullcontext, redirect_stdout

    from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
    from medr1.demo import run_demo
    from medr1.files import prepare_folder, to_json
    from medr1.report.tables import demo_samples, demo_table

    folder = Path(output_dir)
    require_writable(folder / "demo.json")
    keep_apart(folder, [tiny_vl_folder(), tiny_vqa_folder()], move=True)
    prepare_folder(folder, overwrite=True)
    document = run_demo(folder, prompt=prompt, seed=seed, max_steps=max_steps)
    if full:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            _how_far_to_trust(folder, prompt, seed, max_steps)
    if as_json:
        echo(to_json(document), nl=False)
        return
    echo(f"{demo_table(document)}\n\n{demo_samples(document)}")
    echo(f"\nCurve: {folder / 'curve.png'}   Everything else: {folder}")
    if full:
        trust = folder / "trust"
        echo(f"How far to trust it: {trust / 'report' / 'report.html'}")
        echo(f"Worse pictures: {trust / 'robustness' / 'robustness.html'}")
        echo(f"Dropout sampling: {trust / 'report-dropout' / 'report.html'}")


def _how_far_to_trust(folder: Path, prompt: str, seed: int, max_steps: int | None) -> None:
    """Ask the trained model more, and evaluate that: the commands as a user types them.

    An adapter with dropout is trained beside it, for dropout sampling and for an ensemble.
    """
    from medr1.cli.compare import compare
    from medr1.cli.eval import evaluate
    from medr1.cli.infer import infer
    from medr1.cli.robustness import robustness
    from medr1.cli.train import train
    from medr1.data.tiny import tiny_config, tiny_config_file, tiny_vqa_folder
    from medr1.demo import CONFIGS

    data, out = tiny_vqa_folder(), folder / "trust"
    before = ("--model-path", tiny_config(CONFIGS[prompt])["model_path"])
    model, adapter = ("--model-path", folder / "checkpoint"), out / "adapter"
    base, test, dropped, held_out = (
        out / f"{name}.json" for name in ("base", "test", "dropout", "validation")
    )
    asking = ("--batch-file", data / "test.json", "--batch-size", 32, "--seed", seed)
    apart = ("--batch-file", data / "validation.json", *asking[2:])
    fitted = ("--calibrate-on", held_out, "--target-risk", 0.15)
    beside = ("--train-data", data, "--image-root", data, "--seed", seed)
    worse, worsened = out / "robustness", ("--perturbations", "all", "--limit", 240)
    added = ("--robustness", worse / "robustness.json", "--ensemble", base, "--ensemble", dropped)
    lora = ("--use-peft", "--lora-r", 16, "--lora-alpha", 32, "--lora-dropout", 0.1)
    learning = ("--learning-rate", 0.005, "--max-steps", max_steps or 60, "--seed", seed)
    steps: tuple[tuple[click.Command, tuple[object, ...]], ...] = (
        (infer, (*model, *apart, "--output-file", held_out)),
        (infer, (*model, *asking, "--output-file", test, "--num-samples", 8)),
        (infer, (*before, *asking, "--output-file", base)),
        (compare, (base, test, "--seed", seed, "--output-dir", out / "compare")),
        (
            train,
            ("--config", tiny_config_file(CONFIGS[prompt]), *before, "--data", data, *lora,
             *learning, "--output-dir", adapter),
        ),
        (
            infer,
            ("--model-path", adapter, *asking, "--mode", "options", "--dropout-samples", 8,
             "--output-file", dropped),
        ),
        (robustness, (*model, *asking, "--output-dir", worse, *worsened)),
        (evaluate, (test, *fitted, *beside, *added, "--output-dir", out / "report")),
        (evaluate, (dropped, *beside, "--output-dir", out / "report-dropout")),
    )  # fmt: skip
    for command, given in steps:
        words = [str(word) for word in given]
        logger.info("medr1 %s %s", command.name, " ".join(words))
        command.main(words, prog_name=f"medr1 {command.name}", standalone_mode=False)
