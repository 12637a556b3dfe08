"""Check that a checkpoint is complete, unchanged and safe to load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medr1.errors import InputError
from medr1.terminal import counted

Verdict = tuple[bool | None, str]
"""Whether a check passed (None: not known), and a sentence about it."""


@dataclass(frozen=True)
class Check:
    """The outcome of one check of a checkpoint."""

    name: str
    passed: bool | None
    """None: not known."""
    message: str
    """A sentence about it."""


@dataclass(frozen=True)
class Verification:
    """The outcome of all checks of a checkpoint."""

    folder: Path
    """The folder of the checkpoint."""
    checks: tuple[Check, ...]

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [check.name for check in self.checks if check.passed is False]


def verify_checkpoint(
    checkpoint: str | Path,
    *,
    offline: bool = False,
    on_check: Callable[[Check], None] | None = None,
) -> Verification:
    """Check that a checkpoint or a LoRA adapter is complete, unchanged and safe to load.

    Args:
        checkpoint: Its folder, its short name, or its id on the Hugging Face hub.
        offline: Whether the network may not be used.
        on_check: Receives each check as soon as it is finished.

    Raises:
        InputError: There is no such checkpoint.
    """
    from medr1.models.loading import find_checkpoint

    folder = find_checkpoint(str(checkpoint), offline=offline)
    checks = []
    for name, run in checks_of(folder, offline):
        try:
            check = Check(name, *run())
        except InputError as error:
            check = Check(name, False, str(error))
        if on_check:
            on_check(check)
        checks.append(check)
    return Verification(folder, tuple(checks))


def checks_of(folder: Path, offline: bool) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """The checks of a checkpoint: the name of each, and the function that runs it.

    The function raises InputError if the check fails.

    Args:
        folder: The folder of the checkpoint.
        offline: Whether an adapter's base may not be downloaded.
    """
    from medr1.checkpoints.adapters import WEIGHTS, find_base, read_adapter
    from medr1.checkpoints.finding import is_adapter
    from medr1.checkpoints.integrity import CHECKSUMS, checksum_faults
    from medr1.checkpoints.structure import (
        require_finite,
        require_sound,
        tensor_shapes,
        weight_files,
    )
    from medr1.checkpoints.templates import require_known_template
    from medr1.models.loading import load_model, load_processor

    adapter = is_adapter(folder)

    def own_files() -> list[Path]:
        return [folder / WEIGHTS] if adapter else weight_files(folder)

    def base() -> Path:
        return find_base(folder, offline=offline) if adapter else folder

    def bytes_() -> Verdict:
        faults = checksum_faults(folder)
        if faults is None:
            return None, f"there is no {CHECKSUMS} to compare the files with"
        if faults:
            raise InputError("; ".join(faults))
        return True, f"the same as in {CHECKSUMS}"

    def configuration() -> Verdict:
        if adapter:
            read_adapter(folder)
        require_sound(base())
        return True, f"a LoRA adapter for {base()}" if adapter else "matches the files"

    def headers() -> Verdict:
        files = own_files()
        tensors = sum(len(tensor_shapes(file)) for file in files)
        return True, f"{counted(tensors, 'tensor')} in {counted(len(files), 'file')}"

    def finite() -> Verdict:
        return True, f"{require_finite(own_files())} tensors are finite"

    def template() -> Verdict:
        require_known_template(load_processor(folder, base()), f"checkpoint {folder}")
        return True, "known"

    def whole() -> Verdict:
        load_model(folder, device="cpu", allow_template=True, offline=offline)
        return (
            True,
            "every tensor of the files is in the model, and every one of the model in the files",
        )

    yield from {
        "bytes": bytes_, "configuration": configuration, "generation": lambda: _generation(base()),
        "headers": headers, "values": finite, "template": template, "loading": whole,
    }.items()  # fmt: skip


def _generation(base: Path) -> Verdict:
    """Whether medr1 uses all settings of generation_config.json; None, with the rest named."""
    from medr1.checkpoints.generation import generation_settings
    from medr1.checkpoints.structure import require_sound, resolved_configuration

    require_sound(base)
    _, unused = generation_settings(base, resolved_configuration(base))
    return (None, unused) if unused else (True, "all settings are used")
