"""`medr1 train`: GRPO from a YAML file and flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    common_options,
    device_options,
    image_root_option,
    json_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    require_writable,
    unknown_key,
)
from medr1.prompts import PROMPTS
from medr1.records import ANSWER_TYPES

_NOT_SETTINGS = {
    *("image_root", "output_dir", "offline", "overwrite", "dry_run", "as_json", "use_cpu"),
}


@click.command(cls=Medr1Command, extra_config_keys=True, short_help="Train a checkpoint with GRPO.")
@model_path_option(required=True)
@option(
    "--data",
    "--dataset-name",
    "data",
    required=True,
    metavar="PATH",
    help="Training questions: a file, or a folder with train.json.",
)
@option("--answer-types", type=CommaList(str), help=f"Only these: {','.join(ANSWER_TYPES)}.")
@option("--output-dir", required=True, metavar="DIR", help="Where the checkpoint goes.")
@option("--prompt", type=click.Choice(list(PROMPTS)), default="nothink", help="How to ask.")
@option("--rewards", type=CommaList(str), default="accuracy,format", help="By name.")
@option("--reward-weights", type=CommaList(float), help="One a reward. [default: 1 each]")
@option("--num-generations", type=int, help="G, completions a prompt.")
@option(
    "--batch-size",
    "--per-device-train-batch-size",
    "per_device_train_batch_size",
    type=int,
    help="Completions a device and step.",
)
@option("--gradient-accumulation-steps", type=int, help="Batches an update.")
@option("--max-completion-length", type=int, help="Tokens of a completion at most.")
@option("--temperature", type=float, help="Of sampling.")
@option("--beta", type=float, help="Weight of the KL term; 0 means no reference model.")
@option("--learning-rate", type=float, help="Of AdamW.")
@option("--max-steps", type=int, help="Updates; wins over --num-train-epochs.")
@option("--num-train-epochs", type=float, help="Passes over the data.")
@option("--logging-steps", type=float, help="Updates between two lines of metrics.jsonl.")
@option("--save-steps", type=float, help="Updates between two checkpoints.")
@option("--freeze-vision", is_flag=True, help="Leave the vision tower as it is.")
@option("--seed", type=int, help="Seed of all that is random.")
@image_root_option
@device_options
@option("--use-cpu", is_flag=True, help="TRL's name for --device cpu.")
@offline_option
@overwrite_option
@option("--dry-run", is_flag=True, help="Print the resolved plan and stop.")
@json_option
@common_options
@click.pass_context
def train(ctx: click.Context, **options: Any) -> None:
    """Train a checkpoint with GRPO.

    \b
      medr1 train --config configs/tiny.yaml --output-dir output/tiny
      torchrun --nproc_per_node 8 -m medr1 train --config configs/tiny.yaml --output-dir output/tiny

    Any field of TRL's GRPOConfig may stand in the YAML file beside the options below.
    """
    from medr1.data.readers import read_questions, split_file
    from medr1.errors import InputError
    from medr1.files import prepare_folder, to_json
    from medr1.models import find_checkpoint, load_model

    extra = ctx.meta.get("medr1.extra") or {}
    output = Path(options["output_dir"])
    require_writable(output)
    root = Path(options["image_root"]) if options["image_root"] else None
    questions = read_questions(split_file(Path(options["data"]), "train"), image_root=root)
    if options["answer_types"]:
        questions = questions.only(options["answer_types"])
    checkpoint = find_checkpoint(options["model_path"], offline=options["offline"])

    from medr1.train.grpo import grpo_fields, settings_from
    from medr1.train.grpo import resolved as resolved_plan
    from medr1.train.grpo import train as run

    fields = grpo_fields()
    for key in extra:
        if key not in fields:
            raise InputError(unknown_key(key, [*fields, *options], "--config"))
    chosen = {k: v for k, v in options.items() if k not in _NOT_SETTINGS and v is not None}
    settings = settings_from({**extra, **chosen}, output)
    device = options["device"]
    if options["use_cpu"]:
        if device not in ("auto", "cpu"):
            raise InputError(f"--use-cpu and --device {device} contradict each other; give one.")
        device = "cpu"
    loaded = load_model(
        checkpoint, device=device, dtype=options["dtype"], offline=options["offline"]
    )
    if options["dry_run"]:
        click.echo(to_json(resolved_plan(loaded, questions, settings)), nl=False)
        return
    prepare_folder(output, overwrite=options["overwrite"])
    folder = run(loaded, questions, settings)
    said = {"output_dir": str(folder)}
    click.echo(to_json(said) if options["as_json"] else str(folder), nl=not options["as_json"])
