"""`medr1 train`: GRPO or SFT, configured by a YAML file and options.

Options that this file does not declare are fields of TRL's configurations: `--warmup-steps 10`.
click leaves them in `ctx.args`; `unparsed_fields` parses them, and `fields_of` checks their names.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from difflib import get_close_matches
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
    model_path_option,
    offline_option,
    option,
    overwrite_option,
    unknown_key,
)
from medr1.errors import InputError
from medr1.records import ANSWER_TYPES
from medr1.rewards import OVERLONG, REWARDS
from medr1.terminal import echo
from medr1.workflows.arguments import keep_apart, require_writable

logger = logging.getLogger("medr1")

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.models.loading import LoadedModel
    from medr1.train.monitoring.best_checkpoint import Validation
    from medr1.train.settings import TrainingSettings

_NOT_SETTINGS = {
    *("image_root", "output_dir", "offline", "overwrite", "dry_run", "as_json", "use_cpu"),
    *("eval_data", "eval_steps"),
}
"""Options that are used in this file only; all others go into `TrainingSettings`."""


def unparsed_fields(args: list[str]) -> dict[str, Any]:
    """The options that click did not parse, by name: `--warmup-steps 10` -> warmup_steps: "10".

    Also `--name=value`, and several values after one name, which become a list. A name without a
    value is True; `known_fields` turns `--no-name` into False.
    """
    fields: dict[str, Any] = {}
    name = None
    for arg in args:
        if arg.startswith("--") and len(arg) > 2:
            name, equals, value = arg[2:].partition("=")
            name = name.replace("-", "_")
            if name in fields:
                raise click.UsageError(f"--{name.replace('_', '-')} is given twice. Give it once.")
            fields[name] = [value] if equals else []
        elif name is None or (arg.startswith("-") and not arg[1:2].isdigit()):  # -1 is a value
            raise click.UsageError(f"Got unexpected extra argument ({arg})")
        else:
            fields[name].append(arg)
    return {
        name: values[0] if len(values) == 1 else values or True for name, values in fields.items()
    }


def known_fields(
    values: dict[str, Any], options: list[str], method: str, *, from_file: bool
) -> dict[str, Any]:
    """The values under TRL's names of fields: `no_bf16: True` becomes `bf16: False`.

    A field of the other method is accepted here; `fields.require_method_fields` refuses it, and
    names the method that has it.

    Args:
        values: Values by name, from the configuration file or the command line.
        options: Names of the command's own options, as candidates for "Did you mean".
        method: "grpo" or "sft"; "Did you mean" proposes only fields of this method.
        from_file: Whether the values are from --config; a message then names keys, not options.

    Raises:
        click.UsageError: A name that no configuration of TRL has.
    """
    from medr1.train.fields import CONFIGS, model_fields, trainer_fields

    candidates = [*trainer_fields(method), *model_fields(), *options]
    all_fields = {name for owner in CONFIGS for name in trainer_fields(owner)} | {*model_fields()}
    known = {}
    for name, value in values.items():
        if name not in all_fields and name.removeprefix("no_") in all_fields and value is True:
            name, value = name.removeprefix("no_"), False
        if name not in all_fields:
            raise _unknown_name(name, candidates, from_file)
        known[name] = value
    return known


def _unknown_name(name: str, candidates: list[str], from_file: bool) -> click.UsageError:
    """The error for a name that is neither an option nor a field, with the most similar one."""
    if from_file:
        return click.UsageError(unknown_key(name, candidates, "--config"))
    option_name, *option_names = (f"--{text.replace('_', '-')}" for text in (name, *candidates))
    similar = get_close_matches(option_name, option_names, n=1)
    return click.NoSuchOption(option_name, possibilities=similar)


def fields_of(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """TRL's fields from --config and the command line, which overrides it.

    Args:
        ctx: The command's context, with the file's keys and the arguments that click did not parse.
        options: The command's own options.

    Raises:
        click.UsageError: An unknown name.
        InputError: A field or option of the other method, or an unknown prompt.
    """
    from medr1.prompts import template
    from medr1.train.fields import require_method_fields

    names, method = list(options), options["method"]
    file_fields, typed_fields = ctx.meta.get("medr1.extra") or {}, unparsed_fields(ctx.args)
    extra = {
        **known_fields(file_fields, names, method, from_file=True),
        **known_fields(typed_fields, names, method, from_file=False),
    }
    require_method_fields(
        method, [*extra, *(name for name, value in options.items() if value is not None)]
    )
    template(options["prompt"])  # an unknown prompt is refused before data and model are read
    return extra


def dtype_of(fields: dict[str, Any], dtype: str) -> str:
    """The value of --dtype, or the one that TRL's bf16 or fp16 asks for.

    Args:
        fields: TRL's fields; bf16 and fp16 are removed, since `trainer_config` sets them.
        dtype: The value of --dtype.

    Raises:
        InputError: bf16 or fp16 is set, and --dtype is another type.
    """
    for name, kind in (("bf16", "bfloat16"), ("fp16", "float16")):
        if str(fields.pop(name, False)).lower() not in ("true", "1", "yes"):
            continue
        if dtype not in ("auto", kind):
            raise InputError(
                f"--{name} and --dtype {dtype} contradict each other. Give one of them."
            )
        dtype = kind
    return dtype


def device_of(options: dict[str, Any]) -> str:
    """The value of --device, or "cpu" with TRL's --use-cpu; InputError if the two differ."""
    device: str = options["device"]
    if not options["use_cpu"]:
        return device
    if device not in ("auto", "cpu"):
        raise InputError(
            f"--use-cpu and --device {device} contradict each other. Give one of them."
        )
    return "cpu"


def training_questions(options: dict[str, Any], split: str) -> Questions:
    """The questions of --data that have one of --answer-types.

    Args:
        options: The command's options: data, image_root, answer_types.
        split: The split to read if --data is a folder, such as "train".
    """
    from medr1.data.readers import read_questions, split_file

    root = Path(options["image_root"]) if options["image_root"] else None
    questions = read_questions(split_file(Path(options["data"]), split), image_root=root)
    return questions.only(options["answer_types"]) if options["answer_types"] else questions


def held_back_questions(
    options: dict[str, Any], questions: Questions, settings: TrainingSettings
) -> Questions | None:
    """The questions of --eval-data that have one of --answer-types; None without --eval-data.

    Args:
        options: The command's options: eval_data, answer_types.
        questions: The training questions, which must not be the same.
        settings: The settings, for the name of the split if --eval-data is a folder.
    """
    if not options["eval_data"]:
        return None
    from medr1.workflows.held_out import validation_questions

    split = str(settings.model.get("dataset_test_split", "validation"))
    held_back = validation_questions(Path(options["eval_data"]), split, questions)
    return held_back.only(options["answer_types"]) if options["answer_types"] else held_back


def validation_on(
    held_back: Questions, every: int | None, loaded: LoadedModel, settings: TrainingSettings
) -> Validation:
    """The validation of a run: greedy accuracy on the held-out questions, every N steps.

    Args:
        held_back: The questions of --eval-data.
        every: N, the value of --eval-steps; None: ten times in the run.
        loaded: The model that is trained.
        settings: Prompt, and length and batch size of the completions.
    """
    from medr1.infer.engine import Decoding
    from medr1.train.dry_run.plan import current_sharding
    from medr1.train.monitoring.best_checkpoint import Validation
    from medr1.train.settings import trainer_config
    from medr1.workflows.held_out import HeldOutEvaluator

    config = trainer_config(settings, loaded)
    evaluator = HeldOutEvaluator(
        loaded,
        held_back,
        settings.prompt,
        max_new_tokens=getattr(config, "max_completion_length", None) or Decoding.max_new_tokens,
        batch_size=config.per_device_eval_batch_size,
    )
    # With weights split over processes, each forward pass needs all processes: then every process
    # answers all questions. Otherwise each process answers its share.
    divided = current_sharding().weights == 1
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
    help="File with the training questions, or folder with train.json.",
)
@option(
    "--answer-types",
    type=CommaList(str),
    metavar="TYPE,...",
    help=f"Answer types to train on, of {', '.join(ANSWER_TYPES)}. [default: all]",
)
@option(
    "--output-dir",
    required=True,
    metavar="DIR",
    help="Folder to write: the checkpoint, logs, plan and training.html.",
)
@option(
    "--method",
    type=click.Choice(["grpo", "sft"]),
    default="grpo",
    help="Training method. grpo: reinforcement learning, with rewards of sampled completions. sft: "
    "supervised fine-tuning on the right answers.",
)
@option(
    "--prompt",
    metavar="NAME|FILE",
    default="nothink",
    help="Prompt template: think, nothink, think-after, bare, one of Med-R1's (authors-think and "
    "others), or a text file that contains {problem}. Its tags tell which answer format it asks "
    "for.",
)
@option(
    "--rewards",
    type=CommaList(str),
    metavar="NAME,...",
    help=f"Rewards: {', '.join(REWARDS)} (see `medr1 rewards --help`), {OVERLONG} (lower for long "
    "completions), or your own as package.module:function. [default: accuracy,format]",
)
@option(
    "--reward-weights",
    type=CommaList(float),
    metavar="FLOAT,...",
    help="Weights of the rewards, in the same order. Example: 1,0.5. [default: 1 each]",
)
@option(
    "--num-generations",
    type=int,
    help="Number of completions per prompt (G), at least 2. [default: 8]",
)
@option(
    "--batch-size",
    "--per-device-train-batch-size",
    "per_device_train_batch_size",
    type=int,
    help="Number of completions per device and batch, for grpo; of items, for sft. For grpo, batch "
    "size x devices x accumulation steps has to be a multiple of --num-generations. [default: 8]",
)
@option(
    "--gradient-accumulation-steps",
    type=int,
    help="Number of batches per training step. [default: 1]",
)
@option(
    "--max-completion-length",
    type=int,
    help="Maximum length of a completion, in tokens. [default: 512]",
)
@option("--temperature", type=float, help="Sampling temperature. [default: 1.0]")
@option(
    "--beta",
    type=float,
    help="Weight of the KL divergence to the reference model; 0: no reference model. "
    "[default: 0.0]",
)
@option(
    "--learning-rate",
    type=float,
    help="Learning rate of AdamW. [default: 1e-06 for grpo, 2e-05 for sft]",
)
@option(
    "--max-steps",
    type=int,
    help="Number of training steps; one step is one update of the weights. Overrides "
    "--num-train-epochs. [default: by --num-train-epochs]",
)
@option(
    "--num-train-epochs",
    type=float,
    help="Number of passes over the training questions. [default: 3.0]",
)
@option(
    "--logging-steps",
    type=float,
    help="Number of steps between two log entries. [default: 10]",
    hidden=True,
)
@option(
    "--save-steps",
    type=float,
    help="Number of steps between two saved checkpoints. [default: 500]",
    hidden=True,
)
@option(
    "--completions-steps",
    type=click.IntRange(min=0),
    help="Number of steps between two logs of completions; 0: no such log. [default: 10]",
    hidden=True,
)
@option(
    "--eval-data",
    metavar="PATH",
    help="File with validation questions, or folder with validation.json. Accuracy on them is "
    "measured during training, and the best checkpoint is kept in the folder best.",
)
@option(
    "--eval-steps",
    type=int,
    help="Number of steps between two validations. [default: a tenth of the run]",
)
@option(
    "--min-pixels",
    type=int,
    help="Smallest image, in pixels (width x height); smaller ones are enlarged. [default: the "
    "checkpoint's]",
    hidden=True,
)
@option(
    "--max-pixels",
    type=int,
    help="Largest image, in pixels (width x height); larger ones are shrunk. Example: 401408. "
    "[default: the checkpoint's]",
)
@option(
    "--max-prompt-length",
    type=int,
    help="Maximum length of a prompt with its images, in tokens; longer ones are refused.",
    hidden=True,
)
@option("--freeze-vision", is_flag=True, help="Do not train the vision tower (image encoder).")
@option(
    "--shared-prefix/--no-shared-prefix",
    default=True,
    help="Process each prompt once for all its completions. Faster, with the same results.",
)
@option("--seed", type=int, help="Random seed. [default: 42]")
@image_root_option
@device_options
@option(
    "--use-cpu", is_flag=True, help="Compute on the CPU: TRL's name for --device cpu.", hidden=True
)
@offline_option
@overwrite_option
@option(
    "--dry-run",
    is_flag=True,
    help="Print the plan (steps, tokens, memory, first prompt), and stop.",
)
@json_option
@common_options
@click.pass_context
def train(ctx: click.Context, **options: Any) -> None:
    """Train a checkpoint with GRPO (reinforcement learning) or SFT (supervised fine-tuning).

    All weights are trained in float32, because small updates are lost in 16 bits; --dtype is the
    type to compute in. With --use-peft, only a LoRA adapter is trained, in float32, and the
    checkpoint's own weights are kept in --dtype.

    An interrupted run resumes exactly, from its newest complete checkpoint, when the same command
    is given again. If a cluster scheduler or a user stops it by a signal, it saves a checkpoint
    first; the exit code is 143 after SIGTERM and 75 after SIGUSR1.

    Every field of TRL's GRPOConfig (or SFTConfig), ModelConfig and ScriptArguments is also an
    option, on the command line and in the YAML file: --warmup-steps 10, --use-peft --lora-r 16,
    --no-bf16.

    \b
    Examples:
      medr1 train --config configs/tiny.yaml --output-dir output/tiny
      medr1 train --method sft --config configs/sft.yaml --data train.json --output-dir output/sft
      torchrun --nproc_per_node 8 -m medr1 train --config configs/tiny.yaml --output-dir output/tiny

    """
    # stdout is for the result only, and reward functions, libraries and trackers print to it.
    with redirect_stdout(sys.stderr):
        result = _run(ctx, options)
    if result is not None:
        echo(result, nl=False)


def _run(ctx: click.Context, options: dict[str, Any]) -> str | None:
    """Do what the options ask for; the text to print: the plan, or the path of the checkpoint.

    None in all processes but the first, under torchrun.
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import is_adapter
    from medr1.files import to_json
    from medr1.models.loading import choose_device, choose_dtype, find_checkpoint, load_outline
    from medr1.train.recovery.signals import end_with_launcher

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
    inputs = [options[name] for name in ("data", "eval_data", "image_root", "prompt")]
    keep_apart(output, [*inputs, checkpoint, base], options["overwrite"])

    # Imported after the checks above, because these modules also load torch and the trainers.
    from medr1.train.dry_run.plan_text import plan_text
    from medr1.train.run import is_first_process, resolve_plan
    from medr1.train.settings import settings_from

    own_options = {
        name: value
        for name, value in options.items()
        if name not in _NOT_SETTINGS and value is not None
    }
    compute_dtype = str(choose_dtype(dtype, choose_device(device))).removeprefix("torch.")
    settings = settings_from({**extra, **own_options, "dtype": compute_dtype}, output)
    dtype = compute_dtype if settings.model.get("use_peft") else "float32"
    outline = load_outline(checkpoint, device=device, dtype=dtype, offline=options["offline"])
    # Before the weights are loaded, so that bad settings are refused early.
    plan = resolve_plan(outline, questions, settings)
    if options["dry_run"]:
        if not is_first_process():
            return None
        return to_json(plan) if options["as_json"] else plan_text(plan) + "\n"
    _train_or_resume(options, questions, settings, outline, plan)
    if not is_first_process():
        return None
    return to_json({"output_dir": str(output)}) if options["as_json"] else f"{output}\n"


def _train_or_resume(
    options: dict[str, Any],
    questions: Questions,
    settings: TrainingSettings,
    outline: LoadedModel,
    plan: Mapping[str, Any],
) -> None:
    """Train in the output folder, from the newest checkpoint there; nothing if it is finished."""
    from medr1.files import clear_temporaries
    from medr1.models.loading import load_model
    from medr1.report.pages.training import write_training_page
    from medr1.train.recovery.run_state import configuration, inspect_run_folder, locked_run_folder
    from medr1.train.run import is_first_process
    from medr1.train.run import train as run
    from medr1.train.settings import quantization_config

    output, overwrite = settings.output_dir, options["overwrite"]
    is_first = is_first_process()
    held_back = held_back_questions(options, questions, settings)
    run_configuration = (
        configuration(settings, outline.path, questions, held_back) if is_first else {}
    )
    run_state = inspect_run_folder(output, run_configuration, overwrite=overwrite, first=is_first)
    if run_state.is_finished:
        if is_first:
            clear_temporaries(output)
        logger.info("%s is finished already. To train again, give --overwrite.", output)
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
    with locked_run_folder(output, run_state, overwrite=overwrite, first=is_first):
        try:
            run(loaded, questions, settings, validation=validation, run_state=run_state, plan=plan)
        finally:
            if is_first:
                write_training_page(output, stopped_by=sys.exc_info()[1])
