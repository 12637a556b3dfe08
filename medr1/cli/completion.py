"""Completion of values in a shell: files, folders and names, for options and arguments.

click completes commands, options and the values of a choice, and writes the scripts for the shells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""The context, the parameter and what is typed so far -> what may stand there."""


def completion_of(metavar: str | None, option: str = "") -> Completion | None:
    """The completion of a parameter; None for one whose type completes it, or nothing does.

    Args:
        metavar: The placeholder in the help, such as "FILE", "NAME,..." or "RESULTS...".
        option: The option, such as "--rewards"; empty for an argument.
    """
    names = _NAMES.get(option or str(metavar))
    is_file = metavar in _FILES if option else metavar not in ("NAME", "NAME...")
    path = "dir" if metavar in _FOLDERS else "file" if is_file else None
    if metavar is None or not (names or path):
        return None

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        # in a list, what stands before the last comma is repeated
        before, comma, last = incomplete.rpartition("," if "," in metavar else "\0")
        matching = [name for name in (names() if names else ()) if name.startswith(last)]
        if path and not matching:  # a shell offers either names or paths
            return [CompletionItem(incomplete, type=path)]
        return [CompletionItem(f"{before}{comma}{name}") for name in matching]

    return complete


_FILES = ("FILE", "PATH", "NAME|FILE", "DIR|ARCHIVE")
_FOLDERS = ("DIR", "DIR|ID", "CHECKPOINT", "ADAPTER")


def _prompts() -> Iterable[str]:
    from medr1.prompts import ALL_PROMPTS

    return ALL_PROMPTS


def _rewards() -> Iterable[str]:
    from medr1.rewards import REWARDS

    return REWARDS


def _metrics() -> Iterable[str]:
    from medr1.metrics.registry import SELECTABLE

    return SELECTABLE


def _definitions() -> Iterable[str]:
    from medr1.evaluate.definitions.metrics import DEFINITIONS

    return DEFINITIONS


def _perturbations() -> Iterable[str]:
    from medr1.data.perturbations import PERTURBATIONS
    from medr1.data.rewordings import REWORDINGS

    return (*PERTURBATIONS, *REWORDINGS, "all")


def _answer_types() -> Iterable[str]:
    from medr1.records import ANSWER_TYPES

    return ANSWER_TYPES


def _audit_checks() -> Iterable[str]:
    from typing import get_args

    from medr1.workflows.audit import AuditCheck

    return get_args(AuditCheck)


def _documents() -> Iterable[str]:
    from medr1.documents.schemas import DOCUMENTS

    return DOCUMENTS


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "--prompt": _prompts,
    "--rewards": _rewards,
    "--metrics": _metrics,
    "--explain": _definitions,
    "--perturbations": _perturbations,
    "--answer-types": _answer_types,
    "--fail-on": _audit_checks,
    "NAME": _documents,
}
"""An option, or the placeholder of an argument -> the names that it takes."""
