"""`medr1 train`: GRPO or SFT from a YAML file and flags."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    common_options,
    device_options,
    image_root_option,
    json_option,
    keep_apart,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    require_writable,
    unknown_key,
)
from medr1.errors import InputError
from medr1.records import ANSWER_TYPES
from medr1.terminal import echo

logger = logging.getLogger("medr1")

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.models import LoadedModel
    from medr1.train.settings import TrainingSettings
    from medr1.train.validation import Validation

_NOT_SETTINGS = {
    *("image_root", "output_dir", "offline", "overwrite", "dry_run", "as_json", "use_cpu"),
    *("eval_data", "eval_steps"),
}


def fields_given(args: list[str]) -> dict[str, Any]:
    """The flags that no option of ours takes, by name: `--name value ...`, `--name=value`.

    Without a value a flag is true, and `--no-name` false.
    """
    given: dict[str, Any] = {}
    name = None
    for arg in args:
        if arg.startswith("--") and len(arg) > 2:
            name, equals, value = arg[2:].partition("=")
            name = name.replace("-", "_")
            if name in given:
                raise click.UsageError(f"--{name.replace('_', '-')} is given twice.")
            given[name] = [value] if equals else []
        elif name is None or (arg.startswith("-") and not arg[1:2].isdigit()):
            raise click.UsageError(f"Got unexpected extra argument ({arg})")
        else:
            given[name].append(arg)
    return {
        name: values[0] if len(values) == 1 else values or True for name, values in given.items()
    }


def known_fields(
    given: dict[str, Any], where: str, options: list[str], method: str
) -> dict[str, Any]:
    """The fields by TRL's names; a click error with the nearest name for one nobody has.

    A field of another method counts as known here: settings say whose it is.
    """
    from medr1.train.fields import CONFIGS, model_fields, trainer_fields

    nearest = [*trainer_fields(method), *model_fields(), *options]
    fields = {name for other in CONFIGS for name in trainer_fields(other)} | {*model_fields()}
    found = {}
    for name, value in given.items():
        if name not in fields and name.removeprefix("no_") in fields and value is True:
            name, value = name.removeprefix("no_"), False
        if name not in fields:
            raise click.UsageError(unknown_key(name, nearest, where))
        found[name] = value
    return found


def fields_of(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """TRL's fields from the file and the flags; an error for what the method does not have."""
    from medr1.prompts import template
    from medr1.train.fields import require_of

    names, method = list(options), options["method"]
    in_file, on_line = ctx.meta.get("medr1.extra") or {}, fields_given(ctx.args)
    extra = {
        **known_fields(in_file, "--config", names, method),
        **known_fields(on_line, "train", names, method),
    }
    require_of(method, [*extra, *(name for name, value in options.items() if value is not None)])
    template(options["prompt"])  # refused before data and model are read
    return extra


def dtype_of(fields: dict[str, Any], dtype: str) -> str:
    """--dtype, or what TRL's bf16 and fp16 say, which are taken out of the fields."""
    for name, kind in (("bf16", "bfloat16"), ("fp16", "float16")):
        if str(fields.pop(name, False)).lower() not in ("true", "1", "yes"):
            continue
        if dtype not in ("auto", kind):
            raise InputError(f"--{name} and --dtype {dtype} contradict each other; give one.")
        dtype = kind
    return dtype


def device_of(options: dict[str, Any]) -> str:
    """--device, or cpu where TRL's --use-cpu asks for it."""
    device: str = options["device"]
    if not options["use_cpu"]:
        return device
    if device not in ("auto", "cpu"):
        raise InputError(f"--use-cpu and --device {device} contradict each other; give one.")
    return "cpu"


def training_questions(options: dict[str, Any], split: str) -> Questions:
    """The questions of --data, of the answer types asked for."""
    from medr1.data.readers import read_questions, split_file

    root = Path(options["image_root"]) if options["image_root"] else None
    questions = read_questions(split_file(Path(options["data"]), split), image_root=root)
    return questions.only(options["answer_types"]) if options["answer_types"] else questions


def held_back_questions(
    options: dict[str, Any], questions: Questions, settings: TrainingSettings
) -> Questions | None:
    """The questions of --eval-data, of the answer types asked for."""
    if not options["eval_data"]:
        return None
    from medr1.validation import validation_questions

    split = str(settings.model.get("dataset_test_split", "validation"))
    held_back = validation_questions(Path(options["eval_data"]), split, questions)
    return held_back.only(options["answer_types"]) if options["answer_types"] else held_back


def validation_on(
    held_back: Questions, every: int | None, loaded: LoadedModel, settings: TrainingSettings
) -> Validation:
    """What is measured on the questions held back, every so many steps."""
    from medr1.infer.engine import Decoding
    from medr1.train.plan import sharding
    from medr1.train.settings import trainer_config
    from medr1.train.validation import Validation
    from medr1.validation import HeldOutEvaluator

    config = trainer_config(settings, loaded)
    evaluator = HeldOutEvaluator(
        loaded,
        held_back,
        settings.prompt,
        max_new_tokens=getattr(config, "max_completion_length", None) or Decoding.max_new_tokens,
        batch_size=config.per_device_eval_batch_size,
    )
    divided = sharding().weights == 1
    return Validation(lambda: evaluator.accuracy(divided=divided), every)


@click.command(
    cls=Medr1Command,
    extra_config_keys=True,
    short_help="Train a checkpoint with GRPO or SFT.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
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
@option(
    "--output-dir",
    required=True,
    metavar="DIR",
    help="Output folder: the checkpoint, logs and plan.",
)
@option(
    "--method",
    type=click.Choice(["grpo", "sft"]),
    default="grpo",
    help="grpo: on rewards of sampled completions. sft: on the gold answers.",
)
@option(
    "--prompt",
    metavar="NAME|FILE",
    default="nothink",
    help="think, nothink, think-after, bare, authors-* (Med-R1's own) or a text file that holds "
    "{problem}; its tags say which format it asks for.",
)
@option(
    "--rewards",
    type=CommaList(str),
    help="By name, as `medr1 rewards` prints them; soft-overlong; or package.module:function. "
    "[default: accuracy,format]",
)
@option(
    "--reward-weights", type=CommaList(float), help="Weights, one per reward. [default: 1 each]"
)
@option("--num-generations", type=int, help="Completions per prompt (G).")
@option(
    "--batch-size",
    "--per-device-train-batch-size",
    "per_device_train_batch_size",
    type=int,
    help="Completions per device and batch.",
)
@option("--gradient-accumulation-steps", type=int, help="Batches per update.")
@option("--max-completion-length", type=int, help="Maximum tokens of a completion.")
@option("--temperature", type=float, help="Sampling temperature.")
@option("--beta", type=float, help="Weight of the KL term; 0 means no reference model.")
@option("--learning-rate", type=float, help="AdamW learning rate.")
@option("--max-steps", type=int, help="Number of updates; overrides --num-train-epochs.")
@option("--num-train-epochs", type=float, help="Passes over the data.")
@option("--logging-steps", type=float, help="Log metrics every N updates.", hidden=True)
@option("--save-steps", type=float, help="Save a checkpoint every N updates.", hidden=True)
@option(
    "--completions-steps",
    type=click.IntRange(min=0),
    help="Log completions every N updates. [default: 10; 0: never]",
    hidden=True,
)
@option("--eval-data", metavar="PATH", help="Validation questions, evaluated during training.")
@option("--eval-steps", type=int, help="Validate every N updates. [default: ten times a run]")
@option(
    "--min-pixels",
    type=int,
    help="Enlarge images to so many pixels. [default: the model's]",
    hidden=True,
)
@option("--max-pixels", type=int, help="Shrink images to so many pixels. [default: the model's]")
@option(
    "--max-prompt-length",
    type=int,
    help="Refuse longer prompts, in tokens with images.",
    hidden=True,
)
@option("--freeze-vision", is_flag=True, help="Do not train the vision tower.")
@option(
    "--shared-prefix/--no-shared-prefix",
    default=True,
    help="Run each prompt once for all its completions; the numbers are the same.",
)
@option("--seed", type=int, help="Random seed.")
@image_root_option
@device_options
@option("--use-cpu", is_flag=True, help="TRL's name for --device cpu.", hidden=True)
@offline_option
@overwrite_option
@option("--dry-run", is_flag=True, help="Print the resolved plan and stop.")
@json_option
@common_options
@click.pass_context
def train(ctx: click.Context, **options: Any) -> None:
    """Train a checkpoint with GRPO, or with SFT: supervised, on the gold answers.

    \b
      medr1 train --config configs/tiny.yaml --output-dir output/tiny
      medr1 train --method sft --config configs/sft.yaml --data train.json --output-dir output/sft
      torchrun --nproc_per_node 8 -m medr1 train --config configs/tiny.yaml --output-dir output/tiny

    All weights are trained in float32, computing in --dtype: an update of 1e-6 is lost in 16 bits.
    Adapters (--use-peft) are, and leave the checkpoint's own weights in --dtype.

    An interrupted run goes on where the same command is given again: exactly, from the newest
    whole checkpoint. SIGTERM and SIGUSR1 save first, and end with 143 and 75.

    Every field of TRL's GRPOConfig (for SFT its SFTConfig), ModelConfig and ScriptArguments is an
    option too, here and in the YAML file, under its own name: --warmup-steps 10, --use-peft
    --lora-r 16, --no-bf16.
    """
    with redirect_stdout(sys.stderr):  # what rewards, libraries and services print is no result
        result = _run(ctx, options)
    if result is not None:
        echo(result, nl=False)


def _run(ctx: click.Context, options: dict[str, Any]) -> str | None:
    """What the command prints: the plan, or where the checkpoint lies; first process only."""
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import is_adapter
    from medr1.files import to_json
    from medr1.models import choose_device, choose_dtype, find_checkpoint, load_outline
    from medr1.train.stopping import end_with_launcher

    extra = fields_of(ctx, options)
    end_with_launcher()
    dtype, device = dtype_of(extra, options["dtype"]), device_of(options)
    if options["offline"]:
        os.environ["WANDB_MODE"] = "offline"
    output = Path(options["output_dir"])
    require_writable(output / "training.json")
    questions = training_questions(options, str(extra.get("dataset_train_split", "train")))
    checkpoint = find_checkpoint(options["model_path"], offline=options["offline"])
    base = find_base(checkpoint, offline=options["offline"]) if is_adapter(checkpoint) else None
    read = [options[name] for name in ("data", "eval_data", "image_root", "prompt")]
    keep_apart(output, [*read, checkpoint, base], options["overwrite"])

    from medr1.train.plan_text import plan_text
    from medr1.train.run import is_first_process, resolved
    from medr1.train.settings import settings_from

    chosen = {k: v for k, v in options.items() if k not in _NOT_SETTINGS and v is not None}
    compute = str(choose_dtype(dtype, choose_device(device))).removeprefix("torch.")
    settings = settings_from({**extra, **chosen, "dtype": compute}, output)
    dtype = compute if settings.model.get("use_peft") else "float32"
    outline = load_outline(checkpoint, device=device, dtype=dtype, offline=options["offline"])
    plan = resolved(outline, questions, settings)  # refuses before the weights are read
    if options["dry_run"]:
        if not is_first_process():
            return None
        return to_json(plan) if options["as_json"] else plan_text(plan) + "\n"
    _begin_or_go_on(options, questions, settings, outline, plan)
    if not is_first_process():
        return None
    return to_json({"output_dir": str(output)}) if options["as_json"] else f"{output}\n"


def _begin_or_go_on(
    options: dict[str, Any],
    questions: Questions,
    settings: TrainingSettings,
    outline: LoadedModel,
    plan: Mapping[str, Any],
) -> None:
    """Train what is outlined in the output folder, from where the run stands there."""
    from medr1.files import clear_temporaries
    from medr1.models import load_model
    from medr1.report.training import write_training_page
    from medr1.train.begin import configuration, inspect_run_folder, locked_run_folder
    from medr1.train.run import is_first_process
    from medr1.train.run import train as run
    from medr1.train.settings import quantization_config

    output, overwrite = settings.output_dir, options["overwrite"]
    first = is_first_process()
    held_back = held_back_questions(options, questions, settings)
    wanted = configuration(settings, outline.path, questions, held_back) if first else {}
    run_state = inspect_run_folder(output, wanted, overwrite=overwrite, first=first)
    if run_state.is_finished:
        if first:
            clear_temporaries(output)
        logger.info("%s is finished. --overwrite trains it anew.", output)
        return
    loaded = load_model(
        outline.path,
        device=outline.device.type,
        dtype=str(outline.dtype).removeprefix("torch."),
        attention=settings.model.get("attn_implementation"),
        offline=options["offline"],
        quantization=quantization_config(settings),
    )
    every = options["eval_steps"]
    validation = validation_on(held_back, every, loaded, settings) if held_back else None
    with locked_run_folder(output, run_state, overwrite=overwrite, first=first):
        try:
            run(loaded, questions, settings, validation=validation, run_state=run_state, plan=plan)
        finally:
            if first:
                write_training_page(output, stopped_by=sys.exc_info()[1])
