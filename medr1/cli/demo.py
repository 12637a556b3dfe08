"""`medr1 demo`: the whole chain on the embedded model and data."""

from __future__ import annotations

from pathlib import Path

import click

from medr1.cli.common import (
    Medr1Command,
    common_options,
    json_option,
    option,
    require_writable,
    seed_option,
)


@click.command(cls=Medr1Command, short_help="Run the whole chain on the embedded default.")
@option("--output-dir", default="output/demo", metavar="DIR", help="Where everything goes.")
@option("--max-steps", type=click.IntRange(min=1), help="GRPO updates. [default: as configured]")
@option(
    "--prompt",
    type=click.Choice(["nothink", "think"]),
    default="nothink",
    help="nothink: the answer in words. think: a caption, then a letter, as Med-R1 answers.",
)
@seed_option
@json_option
@common_options
def demo(output_dir: str, max_steps: int | None, prompt: str, seed: int, as_json: bool) -> None:
    """Train, infer and evaluate on the embedded default, in a few minutes on two cores.

    Evaluates the embedded model, trains it with GRPO, and evaluates it again on held-out images,
    beside a baseline that never looks at the image. What stands in --output-dir from an earlier
    demo is moved to .bak.
    """
    from medr1.demo import run_demo
    from medr1.files import prepare_folder, to_json
    from medr1.report.tables import demo_samples, demo_table

    folder = Path(output_dir)
    require_writable(folder / "demo.json")
    prepare_folder(folder, overwrite=True)
    document = run_demo(folder, prompt=prompt, seed=seed, max_steps=max_steps)
    if as_json:
        click.echo(to_json(document), nl=False)
        return
    click.echo(f"{demo_table(document)}\n\n{demo_samples(document)}")
    click.echo(f"\nCurve: {folder / 'curve.png'}   Everything else: {folder}")
