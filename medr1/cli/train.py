"""`medr1 train`: GRPO or SFT, configured by a YAML file and options.

Options that this file does not declare are fields of TRL's configurations: `--warmup-steps 10`.
click leaves them in `ctx.args`; `unparsed_fields` parses them, and `trl_names` checks their names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from difflib import get_close_matches
from typing import Any, get_args

import click

from medr1.cli.common import (
    CommaList,
    Medr1Command,
    allow_template_option,
    call,
    common_options,
    device_options,
    image_root_option,
    json_option,
    model_path_option,
    offline_option,
    option,
    overwrite_option,
)
from medr1.cli.configuration import unknown_key
from medr1.cli.help import GroupedOption
from medr1.cli.scan_options import scan_options, scans_from
from medr1.processes import require_forks
from medr1.records import ANSWER_TYPES
from medr1.rewards import MODEL_REWARDS, REWARDS
from medr1.terminal import echo
from medr1.workflows.train import Method, known_fields, run_training


def unparsed_fields(args: list[str]) -> dict[str, object]:
    """The options that click did not parse, by name: `--warmup-steps 10` -> warmup_steps: "10".

    Also `--name=value`, and several values after one name, which become a list. A name without a
    value is True; `trl_names` turns `--no-name` into False.
    """
    fields: dict[str, list[str]] = {}
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


def trl_names(
    values: Mapping[str, object], options: Iterable[str], method: Method, *, from_file: bool
) -> dict[str, object]:
    """The values under TRL's names of fields: `no_bf16: True` becomes `bf16: False`.

    A field of the other method is accepted here; `run_training` refuses it, and names the method
    that has it.

    Args:
        values: Values by name, from the configuration file or the command line.
        options: Names of the command's own options, as candidates for "Did you mean".
        method: "grpo" or "sft"; "Did you mean" proposes only fields of this method.
        from_file: Whether the values are from --config; a message then names keys, not options.

    Raises:
        click.UsageError: A name that no configuration of TRL has.
    """
    all_fields = known_fields()
    fields = {}
    for name, value in values.items():
        if name not in all_fields and name.removeprefix("no_") in all_fields and value is True:
            name, value = name.removeprefix("no_"), False
        if name not in all_fields:
            raise _unknown_name(name, [*known_fields(method), *options], from_file)
        fields[name] = value
    return fields


def _unknown_name(name: str, candidates: Sequence[str], from_file: bool) -> click.UsageError:
    """The error for a name that is neither an option nor a field, with the most similar one."""
    if from_file:
        return click.UsageError(unknown_key(name, candidates, "--config"))
    option_name, *option_names = (f"--{text.replace('_', '-')}" for text in (name, *candidates))
    similar = get_close_matches(option_name, option_names, n=1)
    return click.NoSuchOption(option_name, possibilities=similar)


def fields_of(ctx: click.Context, method: Method) -> dict[str, object]:
    """TRL's fields from --config and the command line, which overrides it.

    Args:
        ctx: The command's context, with its options, the keys of the configuration file and the
            arguments that click did not parse.
        method: The value of --method.

    Raises:
        click.UsageError: An unknown name.
    """
    file_fields, typed_fields = ctx.meta.get("medr1.extra") or {}, unparsed_fields(ctx.args)
    return {
        **trl_names(file_fields, ctx.params, method, from_file=True),
        **trl_names(typed_fields, ctx.params, method, from_file=False),
    }


class _FieldsOption(GroupedOption):
    """--fields, which prints the fields of TRL's configurations and ends.

    It reads --method and --json, wherever they stand. Options that are required and not given are
    checked after it.
    """

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Print the list if the option is given."""
        if opts.get(str(self.name)) and not ctx.resilient_parsing:
            others = {param.name: param for param in ctx.command.params}
            method, as_json = (
                others[name].type_cast_value(ctx, others[name].consume_value(ctx, opts)[0])
                for name in ("method", "as_json")
            )
            # a command, so that an error becomes a sentence
            Medr1Command("fields", callback=lambda **_: _print_fields(method, as_json)).invoke(ctx)
            ctx.exit()
        return super().handle_parse_result(ctx, opts, args)


def _print_fields(method: Method, as_json: bool) -> None:
    """Print the list of fields, which --fields asks for."""
    require_forks("medr1 train")
    from medr1.files import to_json
    from medr1.train.field_list import field_list, field_text

    with redirect_stdout(sys.stderr):
        listed = field_list(method)
    echo(to_json(listed) if as_json else field_text(listed), nl=not as_json)


@click.command(
    cls=Medr1Command,
    workflow=run_training,
    first_options="--config --model-path --data --output-dir --method --rewards "
    "--num-generations --batch-size --learning-rate --max-steps --dry-run",
    extra_config_keys=True,
    short_help="Train a checkpoint with GRPO or SFT.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@model_path_option(required=True)
@option(
    "--data",
    "--dataset-name",
    "data",
    group="Input",
    required=True,
    metavar="PATH",
    help="File with the training questions, or folder with train.json.",
)
@option(
    "--answer-types",
    group="Input",
    type=CommaList(str),
    metavar="TYPE,...",
    help=f"Answer types to train on, of {', '.join(ANSWER_TYPES)}. [default: all]",
)
@option(
    "--output-dir",
    group="Output",
    required=True,
    metavar="DIR",
    help="Folder to write: the checkpoint, logs, plan and training.html.",
)
@option(
    "--method",
    group="Training",
    type=click.Choice(get_args(Method)),
    help="Training method. grpo: reinforcement learning, with rewards of sampled completions. sft: "
    "supervised fine-tuning on the right answers.",
)
@option(
    "--prompt",
    group="Prompt",
    metavar="NAME|FILE",
    help="Prompt template: think, nothink, think-after, bare, one of Med-R1's (authors-think and "
    "others), or a text file that contains {problem}. Its tags tell which answer format it asks "
    "for.",
)
@option(
    "--rewards",
    group="Training",
    type=CommaList(str),
    metavar="NAME,...",
    help=f"Rewards: {', '.join([*REWARDS, *MODEL_REWARDS])}, or your own as "
    "package.module:function. `medr1 rewards --help` explains them and their parameters. "
    "Example: accuracy,soft-overlong:cache=256. [default: accuracy,format]",
)
@option(
    "--reward-weights",
    group="Training",
    type=CommaList(float),
    metavar="FLOAT,...",
    help="Weights of the rewards, in the same order. Example: 1,0.5. [default: 1 each]",
)
@option(
    "--num-generations",
    group="Training",
    type=int,
    help="Number of completions per prompt (G), at least 2. [default: 8]",
)
@option(
    "--batch-size",
    "--per-device-train-batch-size",
    "per_device_train_batch_size",
    group="Training",
    type=int,
    help="Number of completions per device and batch, for grpo; of items, for sft. For grpo, batch "
    "size x devices x accumulation steps has to be a multiple of --num-generations. [default: 8]",
)
@option(
    "--gradient-accumulation-steps",
    group="Training",
    type=int,
    help="Number of batches per training step. [default: 1]",
)
@option(
    "--fit-memory",
    group="Training",
    is_flag=True,
    help="Split each batch into smaller passes, as few as needed, until the planned memory is at "
    "most 90 % of that of the device. A training step has the same completions and, up to "
    "rounding, the same gradient.",
)
@option(
    "--max-completion-length",
    group="Decoding",
    type=int,
    help="Maximum length of a completion, in tokens. [default: 512]",
)
@option("--temperature", group="Decoding", type=float, help="Sampling temperature. [default: 1.0]")
@option(
    "--beta",
    group="Training",
    type=float,
    help="Weight of the KL divergence to the reference model; 0: no reference model. "
    "[default: 0.0]",
)
@option(
    "--learning-rate",
    group="Training",
    type=float,
    help="Learning rate of AdamW. [default: 1e-06 for grpo, 2e-05 for sft]",
)
@option(
    "--max-steps",
    group="Training",
    type=int,
    help="Number of training steps; one step is one update of the weights. Overrides "
    "--num-train-epochs. [default: by --num-train-epochs]",
)
@option(
    "--num-train-epochs",
    group="Training",
    type=float,
    help="Number of passes over the training questions. [default: 3.0]",
)
@option(
    "--logging-steps",
    group="Validation and logs",
    type=float,
    help="Number of steps between two log entries. [default: 10]",
)
@option(
    "--save-steps",
    group="Validation and logs",
    type=float,
    help="Number of steps between two saved checkpoints. [default: 500]",
)
@option(
    "--completions-steps",
    group="Validation and logs",
    type=click.IntRange(min=0),
    help="Number of steps between two logs of completions; 0: no such log. [default: 10]",
)
@option(
    "--eval-data",
    group="Validation and logs",
    metavar="PATH",
    help="File with validation questions, or folder with validation.json. Accuracy on them is "
    "measured during training, and the best checkpoint is kept in the folder best.",
)
@option(
    "--eval-steps",
    group="Validation and logs",
    type=int,
    help="Number of steps between two validations. [default: a tenth of the run]",
)
@option(
    "--min-pixels",
    group="Images",
    type=int,
    help="Smallest image, in pixels (width x height); smaller ones are enlarged. Only for a "
    "Qwen-VL. [default: the checkpoint's]",
)
@option(
    "--max-pixels",
    group="Images",
    type=int,
    help="Largest image, in pixels (width x height); larger ones are shrunk. Only for a Qwen-VL. "
    "Example: 401408. [default: the checkpoint's]",
)
@option(
    "--max-prompt-length",
    group="Prompt",
    type=int,
    help="Maximum length of a prompt with its images, in tokens; longer ones are refused.",
)
@option(
    "--freeze-vision",
    group="Training",
    is_flag=True,
    help="Do not train the vision tower (image encoder).",
)
@option(
    "--shared-prefix/--no-shared-prefix",
    group="Training",
    help="Process each prompt once for all its completions, if the model is a Qwen-VL. Faster, "
    "with the same results.",
)
@option(
    "--rollout-url",
    group="Server",
    metavar="URL",
    help="Address of an OpenAI-compatible server that samples the completions of grpo, such as "
    "http://127.0.0.1:8000/v1. It serves the checkpoint that is trained, and gets the new weights "
    "after each update: vLLM with VLLM_SERVER_DEV_MODE=1. [default: this process samples]",
)
@option(
    "--dynamic-sampling",
    group="Training",
    metavar="N",
    type=click.IntRange(min=0),
    help="Number of further draws, at most, that replace questions whose completions all have the "
    "same reward, as in DAPO; 0: none are replaced. [default: 0]",
)
@option(
    "--curriculum",
    group="Training",
    metavar="FILE",
    help="File with pass rates, from `medr1 data filter --pass-rates`: the first pass over the "
    "questions goes from easy to hard, later ones are shuffled. [default: all are shuffled]",
)
@option(
    "--group-by-image",
    group="Training",
    is_flag=True,
    help="Draw the questions of one image in one batch, where they share the image. Use it for "
    "data with several questions about each image.",
)
@option(
    "--group-by-length",
    group="Training",
    is_flag=True,
    help="Put groups of similar length in one batch of an update, which leaves less padding. Only "
    "for grpo with shared prompts. Needs --gradient-accumulation-steps.",
)
@option(
    "--papo",
    group="Training",
    type=float,
    help="Coefficient of PAPO, which raises the KL divergence between the policy with the image "
    "and with 60 % of the image masked; 0: not used. Only for a Qwen-VL. Example: 0.01. "
    "[default: 0]",
)
@option(
    "--papo-entropy",
    group="Training",
    type=float,
    help="Coefficient of PAPO's double entropy loss, which lowers the entropy with both images. "
    "Needs --papo. Example: 0.03. [default: 0]",
)
@option("--seed", group="Run", type=int, help="Random seed. [default: 42]")
@image_root_option
@scan_options
@device_options
@allow_template_option
@option(
    "--use-cpu",
    group="Model",
    is_flag=True,
    help="Compute on the CPU: TRL's name for --device cpu.",
)
@offline_option
@overwrite_option
@option(
    "--dry-run",
    group="Run",
    is_flag=True,
    help="Print the plan (steps, tokens, memory, first prompt), and stop.",
)
@option(
    "--fields",
    "show_fields",
    cls=_FieldsOption,
    group="Run",
    is_flag=True,
    expose_value=False,
    help="Print every field of TRL's configurations for --method, with its type and default and, "
    "if it cannot be set, why; and exit.",
)
@json_option
@common_options
@click.pass_context
def train(
    ctx: click.Context, /, method: Method, dry_run: bool, as_json: bool, **options: object
) -> None:
    """Train a checkpoint with GRPO (reinforcement learning) or SFT (supervised fine-tuning).

    All weights are trained in float32, because small updates are lost in 16 bits; --dtype is the
    type to compute in. With --use-peft, only a LoRA adapter is trained, in float32, and the
    checkpoint's own weights are kept in --dtype.

    An interrupted run resumes exactly, from its newest complete checkpoint, when the same command
    is given again. If a cluster scheduler or a user stops it by a signal, it saves a checkpoint
    first; the exit code is 143 after SIGTERM and 75 after SIGUSR1.

    Every field of TRL's GRPOConfig (or SFTConfig), ModelConfig and ScriptArguments is also an
    option, on the command line and in the YAML file: --warmup-steps 10, --use-peft --lora-r 16,
    --no-bf16. --fields lists them.

    \b
    Examples:
      medr1 train --config configs/tiny.yaml --output-dir output/tiny
      medr1 train --method sft --config configs/sft.yaml --data train.json \\
          --output-dir output/sft
      torchrun --nproc_per_node 8 -m medr1 train --config configs/tiny.yaml \\
          --output-dir output/tiny
    """
    require_forks("medr1 train")  # before TRL is imported, which does not load without forks
    from medr1.files import to_json
    from medr1.train.dry_run.plan_text import plan_text

    # stdout is for the result only, and reward functions, libraries and trackers print to it.
    with redirect_stdout(sys.stderr):
        fields = fields_of(ctx, method)
        scans = scans_from(options)
        result = call(run_training, options, method=method, dry_run=dry_run, scans=scans, **fields)
    if result is None:  # under torchrun, only the first process reports
        return
    if dry_run:
        echo(to_json(result.plan) if as_json else plan_text(result.plan), nl=not as_json)
        return
    output = result.output_dir
    echo(to_json({"output_dir": str(output)}) if as_json else output, nl=not as_json)
