"""What --help and --help-all print: options under headings, and commands under headings."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from medr1.terminal import echo

if TYPE_CHECKING:
    from click.types import OptionHelpExtra

GROUPS = (
    *("Input", "Selection", "Split", "Images", "Model", "Prompt", "Decoding", "Perturbations"),
    *("Training", "Validation and logs", "Server", "Metrics", "Judge", "Checks", "Output", "Run"),
)
"""The headings of options, in the order of the help. Each command has a few of them."""
_NAME_COLUMNS = 30
"""Columns for the names of options; a longer name has a line for itself."""


class GroupedOption(click.Option):
    """An option with the heading under which the help shows it."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        """Make the option; `group` is one of GROUPS, the rest is for `click.Option`."""
        super().__init__(*args, **kwargs)
        self.group = group

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """What stands in brackets after the help text, the smallest and largest value in words."""
        extra = super().get_help_extra(ctx)
        if isinstance(self.show_default, str):
            extra["default"] = self.show_default
        kind = self.type
        if isinstance(kind, click.IntRange | click.FloatRange) and extra.pop("range", ""):
            low = f"{'more than' if kind.min_open else 'at least'} {kind.min}"
            high = f"{'less than' if kind.max_open else 'at most'} {kind.max}"
            if isinstance(kind, click.FloatRange):  # that a number of things is positive is plain
                extra["range"] = low if kind.max is None else f"{low}, {high}"
        return extra


def help_all_option() -> GroupedOption:
    """--help-all, which prints all options and ends."""

    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta["medr1.help_all"] = True
            echo(ctx.get_help())
            ctx.exit()

    return GroupedOption(
        ["--help-all"],
        group="Run",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show all options, and exit.",
    )


def unknown_option(
    error: click.NoSuchOption, params: Iterable[click.Parameter]
) -> click.NoSuchOption:
    """The error, naming the options that begin with what was typed: --out is --output-dir.

    Args:
        error: The error about the unknown option, in which click names similar options only.
        params: The options of the command.
    """
    names = [name for param in params for name in param.opts]
    longer = [repr(name) for name in names if name.startswith(error.option_name)]
    if not longer or len(error.option_name) < len("--xx"):
        return error
    message = f"No such option {error.option_name!r}. Did you mean {' or '.join(longer)}?"
    return click.NoSuchOption(error.option_name, message, ctx=error.ctx)


def write_options(
    ctx: click.Context, formatter: click.HelpFormatter, first_options: Iterable[str]
) -> None:
    """Write the options of a command under their headings, and how to see the others.

    Args:
        ctx: The context of the command.
        formatter: What the help is written to.
        first_options: The options that --help shows, such as "--data". Empty: all of them.
    """
    first = {*first_options, "--help", "--help-all"}
    shows_all = len(first) == 2 or bool(ctx.meta.get("medr1.help_all"))
    options = [param for param in ctx.command.get_params(ctx) if isinstance(param, click.Option)]
    rows: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
    for option in options:
        record = option.get_help_record(ctx)
        if record and (shows_all or first & {*option.opts}):
            rows[_group_of(option)].append(record)
    _write_sections(formatter, rows)
    if not shows_all:
        formatter.write_paragraph()
        formatter.write_text(f"All options: {ctx.command_path} --help-all")


def _group_of(option: click.Option) -> str:
    """The heading of an option; that of click's own --help is the last one."""
    return option.group if isinstance(option, GroupedOption) else GROUPS[-1]


def _write_sections(formatter: click.HelpFormatter, rows: dict[str, list[tuple[str, str]]]) -> None:
    """Write each heading that has rows, with the texts of all headings in the same column.

    click's `write_dl` would break lines within the names of options, at hyphens.
    """
    names = [len(name) for section in rows.values() for name, _ in section]
    indent = 2 + max((length for length in names if length <= _NAME_COLUMNS), default=0) + 2
    for heading, section in rows.items():
        if section:
            formatter.write(f"\n{heading}:\n")
        for name, text in section:
            words = f"  {name}".ljust(indent) if len(name) + 4 <= indent else f"  {name}\n"
            lines = wrap(" ".join(text.split()), formatter.width - indent, break_on_hyphens=False)
            first = words + (" " * indent if words.endswith("\n") else "")
            formatter.write(first + f"\n{' ' * indent}".join(lines) + "\n")


class GroupedCommands(click.Group):
    """A group of commands, which the help shows under headings."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headings: dict[str, str] = {}

    def add_section(self, heading: str, *commands: click.Command) -> None:
        """Add commands below a heading.

        Args:
            heading: The heading, such as "Checkpoints".
            *commands: The commands, in the order of the help.
        """
        for command in commands:
            self.add_command(command)
            self.headings[str(command.name)] = heading

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order in which the commands were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, each with its short help."""
        width = max(map(len, self.commands))
        rows: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            text = command.get_short_help_str(formatter.width - 6 - width)
            rows.setdefault(self.headings[name], []).append((name, text))
        _write_sections(formatter, rows)
