"""What the commands share: options, configuration files, logging, and how an error is said."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medr1.answers import PROTOCOLS
from medr1.cli.configuration import as_typed, read_config
from medr1.errors import InputError, Medr1Error, OutputError
from medr1.files import require_apart, temporary
from medr1.terminal import echo_error, set_up_logging

if TYPE_CHECKING:
    from medr1.data.readers import Questions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Medr1Command(click.Command):
    """A command whose options take dashes or underscores, and whose errors are one sentence."""

    def __init__(self, *args: Any, extra_config_keys: bool = False, **kwargs: Any) -> None:
        context = {"token_normalize_func": lambda token: token.replace("_", "-")}
        kwargs["context_settings"] = {**context, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.extra_config_keys = extra_config_keys

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = {arg.split("=")[0].replace("_", "-") for arg in args if arg.startswith("--")}
        for param in self.params:
            names = [name for name in param.opts if name in given]
            if len(names) > 1:
                raise click.UsageError(f"{' and '.join(names)} are the same option; give one.", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        verbose = ctx.meta.get("medr1.verbose", False)
        set_up_logging(ctx.meta.get("medr1.quiet", False), verbose)
        if not verbose:
            warnings.simplefilter("ignore")
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # which click would end with 1
            ctx.exit(handle_broken_pipe())
        except (Medr1Error, ImportError, MemoryError, OSError) as error:
            said = error if isinstance(error, Medr1Error) else _of_the_machine(error)
            if said is None or ctx.meta.get("medr1.debug"):
                raise
            echo_error(said)
            ctx.exit(said.exit_code)


def handle_broken_pipe() -> int:
    """The exit code where whoever read our output has left, and nothing more can be said there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


_OPTIONAL = {
    **dict.fromkeys(("trl", "peft"), "-e '.[train]'"),
    **dict.fromkeys(("tensorboard", "wandb"), "-e '.[tracking]'"),
    **dict.fromkeys(("datasets", "pyarrow")),
    "bitsandbytes": "-e '.[qlora]'",
    "deepspeed": "-e '.[deepspeed]'",
    "liger_kernel": "liger-kernel",
    "flash_attn": "flash-attn --no-build-isolation",
    "flash_attn_interface": "flash-attn-3 --no-build-isolation",
}
"""Packages that an installation may lack, and what pip installs for each, where not its name."""


_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
_NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _of_the_machine(error: Exception) -> Medr1Error | None:
    """What the machine refuses, in a sentence; None for what is a bug."""
    if isinstance(error, ModuleNotFoundError):
        return _not_installed(error)
    short = isinstance(error, OSError) and error.errno == errno.ENOMEM
    unmapped = isinstance(error, ImportError) and "failed to map segment" in str(error)
    if isinstance(error, MemoryError) or short or unmapped:
        return Medr1Error(
            "not enough memory. Free some or raise its limit (ulimit -v), or ask for less at once: "
            "fewer --workers, a smaller --batch-size."
        )
    if isinstance(error, OSError) and error.errno in _NO_PATH:
        return InputError(f"{error.filename}: {error.strerror}. Check the path.")
    if isinstance(error, OSError) and error.errno in _NO_PLACE:
        where = f"{error.filename}: " if error.filename else ""
        return OutputError(f"{where}{error.strerror}. Choose another place, or free this one.")
    return None


def _not_installed(error: ModuleNotFoundError) -> InputError | None:
    """What to install, for a package that is optional; None for any other, which is a bug."""
    package = (error.name or "").partition(".")[0]
    needs = f"this needs {package}, which is not installed here."
    if package == "vllm":
        return InputError(f"{needs} It has its own environment: bash scripts/vllm_server.sh --help")
    if package not in _OPTIONAL:
        return None
    name = _OPTIONAL[package] or package
    return InputError(f"{needs} In the checkout: pip install {name} -c scripts/constraints.txt")


def option(*names: str, **kwargs: Any) -> Decorator:
    """`click.option` with the default shown and MEDR1_<NAME> read, the same for every command."""
    variable = names[0].removeprefix("--").replace("-", "_").upper()
    settings = {"show_default": True, "envvar": f"MEDR1_{variable}", **kwargs}
    return click.option(*names, **settings)


class CommaList(click.ParamType):
    """`a,b,c` on the command line, a list in YAML."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = f"{kind.__name__},..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        try:
            return tuple(
                self.kind(part.strip() if isinstance(part, str) else part) for part in parts
            )
        except (ValueError, TypeError):
            self.fail(f"{value!r} is not a list of {self.kind.__name__}.", param, ctx)


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        ctx.meta[f"medr1.{name}"] = value

    return callback


def _load_config(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    values = read_config(Path(value))
    command = ctx.command
    names = {
        spelling.lstrip("-").replace("-", "_"): p
        for p in command.params
        if isinstance(p, click.Option) and p.name not in (None, "config")
        for spelling in (*p.opts, *p.secondary_opts)
    }
    extra = {key: value for key, value in values.items() if key not in names}
    if extra and not (isinstance(command, Medr1Command) and command.extra_config_keys):
        raise click.UsageError(unknown_key(next(iter(extra)), names, value), ctx)
    ctx.meta["medr1.extra"] = extra
    known: dict[str, Any] = {}
    for key in values.keys() - extra.keys():
        name = str(names[key].name)
        if name in known:
            raise click.UsageError(f"{value}: {name} is given twice, once as {key}.", ctx)
        known[name] = as_typed(values[key], names[key], f"{value}: {key}")
    ctx.default_map = {**(ctx.default_map or {}), **known}


def unknown_key(key: str, known: Iterable[str], where: str) -> str:
    """One sentence about a key nobody reads, with the nearest that somebody does."""
    near = get_close_matches(key, list(known), n=1)
    hint = f" Did you mean {near[0]}?" if near else " See --help for the keys there are."
    return f"{where}: unknown key {key!r}.{hint}"


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--config --quiet --verbose --debug, read before the others and kept out of the body."""
    for decorator in (
        option(
            "--debug",
            is_flag=True,
            expose_value=False,
            callback=_remember("debug"),
            help="Show the traceback of an error.",
        ),
        option(
            "--verbose",
            "-v",
            is_flag=True,
            expose_value=False,
            callback=_remember("verbose"),
            help="Log more, and show the libraries' warnings.",
        ),
        option(
            "--quiet",
            "-q",
            is_flag=True,
            expose_value=False,
            callback=_remember("quiet"),
            help="Show no progress on stderr.",
        ),
        option(
            "--config",
            metavar="FILE",
            is_eager=True,
            expose_value=False,
            callback=_load_config,
            help="YAML with `option: value` lines; a flag or MEDR1_* variable wins over it.",
        ),
    ):
        function = decorator(function)
    return function


json_option = option("--json", "as_json", is_flag=True, help="Print one JSON document.")
seed_option = option("--seed", type=int, default=0, help="Random seed.")
overwrite_option = option(
    "--overwrite",
    is_flag=True,
    help="Replace an existing output; the old one is renamed to .bak, .bak.2 ...",
)
data_option = option(
    "--data",
    metavar="PATH",
    help="Question file; needed if the results lack ground truth, options or groups.",
)
image_root_option = option(
    "--image-root",
    metavar="DIR",
    help="Folder of the images; images outside are refused. [default: the file's folder]",
)
protocol_option = option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    default="default",
    help="Rules by which an answer counts as right.",
)
cluster_by_option = option(
    "--cluster-by",
    metavar="image|KEY",
    default="image",
    help="Resample by this unit for intervals: image, or a metadata key such as patient.",
)
group_by_option = option(
    "--group-by",
    type=CommaList(str),
    metavar="KEY,...",
    help="Also report results by these metadata keys, such as age or scanner.",
)
common_only_option = option(
    "--common-only",
    is_flag=True,
    help="Compare only the items that all files have.",
)
max_errors_option = option(
    "--max-errors",
    type=click.IntRange(min=0),
    default=0,
    help="Exit with 3 if more than N items fail.",
)
max_new_tokens_option = option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    default=512,
    help="Maximum tokens of a completion.",
)
allow_template_option = option(
    "--allow-template", is_flag=True, help="Try a chat template that medr1 does not know."
)
offline_option = option("--offline", is_flag=True, help="Never use the network.")


device_option = option(
    "--device",
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    default="auto",
    help="auto: cuda, then mps, then cpu.",
)


def device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--device and --dtype."""
    function = option(
        "--dtype",
        type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
        default="auto",
        help="auto: bfloat16 on CUDA, float32 elsewhere.",
    )(function)
    return device_option(function)


def model_path_option(**kwargs: Any) -> Decorator:
    """--model-path, or TRL's --model-name-or-path."""
    return option(
        "--model-path",
        "--model-name-or-path",
        "model_path",
        metavar="DIR",
        help="Checkpoint folder, or a hub id.",
        **kwargs,
    )


def load(options: dict[str, Any], *, merge: bool = True) -> Any:
    """The model that the options name, as `models.LoadedModel`; `merge` as in `load_model`."""
    from medr1.models import find_checkpoint, load_model

    path = find_checkpoint(options["model_path"], offline=options["offline"])
    return load_model(
        path,
        device=options["device"],
        dtype=options["dtype"],
        allow_template=options["allow_template"],
        offline=options["offline"],
        merge=merge,
    )


def map_option(where: str, example: str) -> Decorator:
    """--map, for the keys of the files that `where` names."""
    return option(
        "--map",
        "mapping",
        multiple=True,
        metavar="KEY=COLUMN",
        help=f"What a key is called in {where}, such as {example}. Repeatable.",
    )


results_map_option = map_option("the results", "prediction=reply")


def questions_of(data: str | None) -> Questions | None:
    """The questions of --data, of a folder its test split; None where it is not given."""
    from medr1.data.readers import read_questions, split_file

    return read_questions(split_file(Path(data), "test")) if data else None


def columns_of(mapping: tuple[str, ...]) -> dict[str, str]:
    """{"prediction": "reply"} from prediction=reply."""
    pairs = [text.partition("=") for text in mapping]
    for text, (key, _, column) in zip(mapping, pairs, strict=True):
        if not key or not column:
            raise InputError(f"--map {text}: expected is KEY=COLUMN, such as prediction=reply.")
    return {key: column for key, _, column in pairs}


def keep_apart(output: str | Path | None, inputs: Iterable[str | Path | None], move: bool) -> None:
    """InputError if --overwrite (`move`) would rename a folder that holds an input.

    Inputs that are None, or that do not exist as a path (a hub id), are skipped.
    """
    if move and output:
        require_apart(Path(output), [Path(read) for read in inputs if read])


def require_writable(path: Path) -> None:
    """Refuse an output that could not be written, before the work is done."""
    parent = path.parent
    while not os.path.exists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: {parent} is not a folder.")
    try:
        with suppress(FileNotFoundError):
            os.lstat(temporary(path.absolute()))  # else its name is too long
        with tempfile.TemporaryFile(dir=parent):  # what the permissions say is not the whole truth
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror} ({parent}). Choose another place."
        ) from None
