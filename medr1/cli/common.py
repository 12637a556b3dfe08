"""What all commands share: options, configuration files, logging, and messages for errors."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from medr1.cli.completion import completion_of
from medr1.cli.configuration import (
    as_typed,
    find_embedded_inputs,
    lookup_note,
    resolve_input,
    unknown_key,
)
from medr1.cli.help import GroupedOption, help_all_option, unknown_option, write_options
from medr1.errors import InputError, Medr1Error, OutputError
from medr1.installation import embedded_path, extra, is_checkout
from medr1.terminal import echo_error, set_up_logging
from medr1.workflows.configuration import read_config

Decorator = Callable[[Callable[..., object]], Callable[..., object]]
Result = TypeVar("Result")


class Medr1Command(click.Command):
    """A command whose options take dashes or underscores, and whose errors are one sentence.

    With `extra_config_keys`, a configuration file may hold keys that are no option of the command;
    they go to `ctx.meta["medr1.extra"]`. `medr1 train` reads TRL's fields that way.

    The function `workflow` does the work. Its parameters' defaults are those of the options with
    the same names, which therefore state none.

    `first_options` are the options that --help shows, separated by blanks, if they are not all;
    --help-all shows all of them.
    """

    def __init__(
        self,
        *args: Any,
        workflow: Callable[..., object] | None = None,
        extra_config_keys: bool = False,
        first_options: str = "",
        **kwargs: Any,
    ) -> None:
        context = {"token_normalize_func": lambda token: token.replace("_", "-")}
        kwargs["context_settings"] = {**context, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.extra_config_keys = extra_config_keys
        self.workflow = workflow
        self.first_options = first_options.split()
        self.params.append(help_all_option())
        if workflow is not None:
            _set_defaults(self.params, workflow)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        write_options(ctx, formatter, self.first_options)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but refuse an option that is given under both of its names.

        The embedded data set is found from any folder.
        """
        typed_options = {
            arg.split("=")[0].replace("_", "-") for arg in args if arg.startswith("--")
        }
        for param in self.params:
            names = [name for name in param.opts if name in typed_options]
            if len(names) > 1 and not ctx.resilient_parsing:
                raise click.UsageError(
                    f"{' and '.join(names)} are the same option; give one of them.", ctx
                )
        try:
            remaining = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise unknown_option(error, self.params) from None
        find_embedded_inputs(ctx)
        return remaining

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an expected error becomes one sentence on stderr and an exit code."""
        verbose = ctx.meta.get("medr1.verbose", False)
        set_up_logging(ctx.meta.get("medr1.quiet", False), verbose)
        if not verbose:
            warnings.simplefilter("ignore")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # which click would end with 1
            ctx.exit(handle_broken_pipe())
        except (Medr1Error, ImportError, MemoryError, OSError) as error:
            user_error = error if isinstance(error, Medr1Error) else _environment_error(error)
            if user_error is None or ctx.meta.get("medr1.debug"):
                raise
            note = lookup_note(ctx, str(user_error))
            echo_error(Medr1Error(f"{user_error}{note}") if note else user_error)
            ctx.exit(user_error.exit_code)


def _set_defaults(params: Iterable[click.Parameter], workflow: Callable[..., object]) -> None:
    """Give each option the default of the function's parameter of the same name.

    None, False and () are left out: they are what an option has that is not given.
    """
    defaults = {name: p.default for name, p in inspect.signature(workflow).parameters.items()}
    for param in params:
        default = defaults.get(str(param.name), inspect.Parameter.empty)
        if default is inspect.Parameter.empty or default is None or default in ((), ""):
            continue
        is_list = isinstance(param.type, CommaList)
        if default is not False:
            param.default = ",".join(map(str, default)) if is_list else default


def call(
    workflow: Callable[..., Result], options: Mapping[str, object], /, **arguments: object
) -> Result:
    """Call the function of a command with its options. click has checked their types.

    Args:
        workflow: The function.
        options: Name of a parameter -> value of the option. An option that is not given is None,
            and left out, so that the parameter has its default.
        **arguments: More arguments, which are passed as they are.
    """
    given_options = {name: value for name, value in options.items() if value is not None}
    return workflow(**given_options, **arguments)


def handle_broken_pipe() -> int:
    """The exit code after the reader of stdout has closed it, as `| head` does.

    stdout is pointed at /dev/null, because Python flushes it once more when it exits.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


_OPTIONAL_PACKAGES = {
    **dict.fromkeys(("trl", "peft"), extra("train")),
    **dict.fromkeys(("tensorboard", "wandb"), extra("tracking")),
    **dict.fromkeys(("starlette", "uvicorn"), extra("review")),
    **dict.fromkeys(("datasets", "nibabel", "pyarrow", "pydicom")),
    "bitsandbytes": extra("qlora"),
    "openpyxl": extra("excel"),
    "deepspeed": extra("deepspeed"),
    "liger_kernel": "liger-kernel",
    "flash_attn": "flash-attn --no-build-isolation",
    "flash_attn_interface": "flash-attn-3 --no-build-isolation",
}
"""Optional packages, and the argument of `pip install` for each; None: the package's own name."""
_MODEL_PACKAGES = (
    "accelerate",
    "safetensors",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)
"""What models need, and scripts/requirements-eval.txt leaves out."""


_BAD_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
_CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _environment_error(error: Exception) -> Medr1Error | None:
    """The error as a sentence if memory, disk, a path or a package is the cause; None for a bug."""
    if isinstance(error, ModuleNotFoundError):
        return _not_installed(error)
    # Three forms of the same cause: Python's own, the operating system's, and that of the loader
    # of shared libraries, when torch or another library no longer fits.
    out_of_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    library_not_mapped = isinstance(error, ImportError) and "failed to map segment" in str(error)
    if isinstance(error, MemoryError) or out_of_memory or library_not_mapped:
        return Medr1Error(
            "not enough memory. Free memory or raise the limit (ulimit -v), or use less at once: "
            "fewer --workers, a smaller --batch-size."
        )
    if isinstance(error, OSError) and error.errno in _BAD_PATH:
        return InputError(f"{error.filename}: {error.strerror}. Check the path.")
    if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        where = f"{error.filename}: " if error.filename else ""
        return OutputError(
            f"{where}{error.strerror}. Choose another folder, or free space or permissions there."
        )
    return None


def _not_installed(error: ModuleNotFoundError) -> InputError | None:
    """What to install for an optional package; None for any other package: that is a bug."""
    package = (error.name or "").partition(".")[0]
    missing = f"this needs the package {package}, which is not installed here."
    if package == "vllm":
        return InputError(
            f"{missing} It has its own environment: bash scripts/vllm_server.sh --help"
        )
    folder = "In medr1's folder: " if is_checkout() else "Install it: "
    constraints = " -c scripts/constraints.txt" if is_checkout() else ""
    if package in _MODEL_PACKAGES:
        name = "-e ." if is_checkout() else "medr1"
        missing = f"{missing[:-1]}: medr1 was installed without the packages that run models."
    elif package in _OPTIONAL_PACKAGES:
        name = _OPTIONAL_PACKAGES[package] or package
    else:
        return None
    return InputError(f"{missing} {folder}pip install {name}{constraints}")


def argument(name: str, *, metavar: str, **kwargs: Any) -> Decorator:
    """A positional argument, which a shell completes as its placeholder tells.

    Args:
        name: The parameter of the command's function.
        metavar: The placeholder in the help, such as "FILE".
        kwargs: More arguments of `click.argument`.
    """
    return click.argument(name, metavar=metavar, shell_complete=completion_of(metavar), **kwargs)


def option(*names: str, group: str, **kwargs: Any) -> Decorator:
    """An option as every command has it: the default is shown, and MEDR1_<NAME> is read.

    In the help, the value of a whole number is N and that of any other number FLOAT, so that a
    help text can speak of N.

    Args:
        names: Spellings of the option, such as "--seed"; the first also names the variable.
        group: The heading of the option in the help, one of `help.GROUPS`.
        kwargs: Arguments of `click.option`; they override the ones that are set here.
    """
    variable = names[0].removeprefix("--").replace("-", "_").upper()
    settings = {
        "cls": GroupedOption,
        "group": group,
        "show_default": True,
        "envvar": f"MEDR1_{variable}",
        "shell_complete": completion_of(kwargs.get("metavar"), names[0]),
        **kwargs,
    }
    if settings.get("type") is int or isinstance(settings.get("type"), click.IntRange):
        settings.setdefault("metavar", "N")
    elif isinstance(settings.get("type"), click.FloatRange):
        settings.setdefault("metavar", "FLOAT")
    if isinstance(settings.get("type"), click.IntRange | click.FloatRange):
        # For click's message, which would be "is not a valid integer range".
        settings["type"].name = "integer" if settings["metavar"] == "N" else "number"
    return click.option(*names, **settings)


_PLURALS = {str: "texts", int: "integers", float: "numbers"}


class CommaList(click.ParamType[tuple[object, ...]]):
    """The type of an option with several values: `a,b,c` on the command line, a list in YAML."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = f"{kind.__name__},..."  # `configuration.as_typed` looks for this ending

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[object, ...]:
        """The parts of the text, each in the type of the list's values."""
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, list | tuple):
            with suppress(ValueError, TypeError):
                return tuple(
                    self.kind(part.strip() if isinstance(part, str) else part) for part in parts
                )
        plural = _PLURALS[self.kind]
        self.fail(f"{value!r} is not a comma-separated list of {plural}.", param, ctx)


def _remember(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    """A callback that puts an option's value into `ctx.meta`, where `Medr1Command` reads it."""

    def callback(ctx: click.Context, param: click.Parameter, value: object) -> None:
        ctx.meta[f"medr1.{name}"] = value

    return callback


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """The callback of --config: the file's values become the defaults of the other options.

    So what is on the command line or in a MEDR1_* variable overrides the file.
    """
    if value is None:
        return
    file = Path(value)
    if not file.exists():
        with suppress(InputError):  # a recipe that comes with medr1, such as configs/tiny.yaml
            file = embedded_path(value)
    try:
        values = read_config(file)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    command = ctx.command
    # A key may be any spelling of an option: batch_size or per_device_train_batch_size.
    options = {
        spelling.lstrip("-").replace("-", "_"): param
        for param in command.params
        if isinstance(param, click.Option) and param.name not in (None, "config")
        for spelling in (*param.opts, *param.secondary_opts)
    }
    extra = {key: value for key, value in values.items() if key not in options}
    if extra and not (isinstance(command, Medr1Command) and command.extra_config_keys):
        raise click.UsageError(unknown_key(next(iter(extra)), options, value), ctx)
    ctx.meta["medr1.extra"] = extra
    defaults: dict[str, object] = {}
    for key in [key for key in values if key not in extra]:
        name = str(options[key].name)
        if name in defaults:
            raise click.UsageError(
                f"{value}: {name} is given twice, once as {key}. Remove one of them.", ctx
            )
        typed = as_typed(values[key], options[key], f"{value}: {key}")
        defaults[name] = resolve_input(typed, options[key], file)
    ctx.meta["medr1.config"] = file
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def add_options(*options: Decorator) -> Decorator:
    """A decorator that adds several options to a command.

    Args:
        *options: The options, in the order of the help.
    """

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        for decorator in reversed(options):
            function = decorator(function)
        return function

    return decorate


common_options = add_options(
    option(
        "--config",
        group="Run",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help="YAML file with `option: value` lines. Command-line options and MEDR1_* "
        "environment variables override it. Its relative paths are looked up in the current "
        "folder, then beside the file, then in the folder above it.",
    ),
    option(
        "--quiet",
        "-q",
        group="Run",
        is_flag=True,
        expose_value=False,
        callback=_remember("quiet"),
        help="Do not show progress; warnings and errors are still shown.",
    ),
    option(
        "--verbose",
        "-v",
        group="Run",
        is_flag=True,
        expose_value=False,
        callback=_remember("verbose"),
        help="Show more details of the progress, and warnings of libraries.",
    ),
    option(
        "--debug",
        group="Run",
        is_flag=True,
        expose_value=False,
        callback=_remember("debug"),
        help="Show the Python traceback of an error.",
    ),
)
"""--config, --quiet, --verbose and --debug; the command's function does not get them.

--config is eager: it is read first, because it sets the defaults of the other options."""


json_option = option(
    "--json", "as_json", group="Output", is_flag=True, help="Print the result as one JSON document."
)
seed_option = option("--seed", group="Run", type=int, help="Random seed.")
overwrite_option = option(
    "--overwrite",
    group="Output",
    is_flag=True,
    help="Replace an existing output. The old one is kept as NAME.bak, NAME.bak.2, ...",
)
data_option = option(
    "--data",
    group="Input",
    metavar="PATH",
    help="File with the questions, or folder with test.json. Needed if the results lack the ground "
    "truth, the options or metadata.",
)
image_root_option = option(
    "--image-root",
    group="Input",
    metavar="DIR",
    help="Folder with the images; images outside it are refused. [default: the folder of the "
    "question file]",
)
cluster_by_option = option(
    "--cluster-by",
    group="Metrics",
    metavar="image|KEY",
    help="Unit that confidence intervals resample: image, or a metadata key such as patient.",
)
group_by_option = option(
    "--group-by",
    group="Metrics",
    type=CommaList(str),
    metavar="KEY,...",
    help="Metadata keys; each of their values gets its own results. Example: age,scanner.",
)
common_only_option = option(
    "--common-only",
    group="Metrics",
    is_flag=True,
    help="Compare only the items that all files contain. Without it, files with different items "
    "are refused.",
)
max_errors_option = option(
    "--max-errors",
    group="Run",
    type=click.IntRange(min=0),
    default=0,
    help="Accepted number of failed items; exit code 3 if more items fail.",
)
max_new_tokens_option = option(
    "--max-new-tokens",
    group="Decoding",
    type=click.IntRange(min=1),
    help="Maximum length of a completion, in tokens.",
)
allow_template_option = option(
    "--allow-template",
    group="Model",
    is_flag=True,
    help="Accept a chat template that medr1 does not know, after a test in a separate process.",
)
offline_option = option("--offline", group="Run", is_flag=True, help="Do not use the network.")


device_option = option(
    "--device",
    group="Model",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    help="Device to compute on. auto: cuda if available, else mps, else cpu.",
)


device_options = add_options(
    device_option,
    option(
        "--dtype",
        group="Model",
        type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
        help="Data type to compute in. auto: bfloat16 on CUDA, float32 on other devices.",
    ),
)
"""--device and --dtype."""


bits_options = add_options(
    option(
        "--load-in-4bit",
        group="Model",
        is_flag=True,
        help="Load the language model with 4 bits for each weight, for models that do not fit into "
        "memory. The vision tower and the output layer keep --dtype. Needs bitsandbytes.",
    ),
    option(
        "--load-in-8bit",
        group="Model",
        is_flag=True,
        help="Load the language model with 8 bits for each weight; see --load-in-4bit.",
    ),
)
"""--load-in-4bit and --load-in-8bit; `engines.chosen_bits` reads them."""


def model_path_option(**kwargs: Any) -> Decorator:
    """--model-path, also under TRL's name --model-name-or-path."""
    return option(
        "--model-path",
        "--model-name-or-path",
        "model_path",
        group="Model",
        metavar="DIR|ID",
        help="Folder of a checkpoint or LoRA adapter, its short name (VQA_CT), or its id on the "
        "Hugging Face hub (owner/name).",
        **kwargs,
    )


def map_option(where: str, example: str) -> Decorator:
    """--map, for the columns of a file whose names medr1 does not know.

    Args:
        where: The file or files that have the columns, as the help text names them.
        example: A value of the option, such as "prediction=reply".
    """
    return option(
        "--map",
        "mapping",
        group="Input",
        multiple=True,
        metavar="KEY=COLUMN",
        help=f"Name of the column in {where} that holds a key. Example: {example}. Repeatable.",
    )


results_map_option = map_option("the results", "prediction=reply")


def columns_of(mapping: tuple[str, ...]) -> dict[str, str]:
    """{"prediction": "reply"} from prediction=reply."""
    pairs = [text.partition("=") for text in mapping]
    for text, (key, _, column) in zip(mapping, pairs, strict=True):
        if not key or not column:
            raise InputError(f"--map {text}: expected KEY=COLUMN, such as prediction=reply.")
    return {key: column for key, _, column in pairs}
