"""`medr1 verify`: checks that a checkpoint is complete, unchanged and safe to load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from medr1.cli.common import Medr1Command, common_options, json_option, offline_option
from medr1.terminal import counted, echo, one_line

Verdict = tuple[bool | None, str]
"""Whether a check passed (None: not known), and a sentence about it."""

_WORDS = {True: "ok", None: "?", False: "FAILED"}


@click.command(cls=Medr1Command, short_help="Check that a checkpoint is complete and unchanged.")
@click.argument("checkpoint", metavar="CHECKPOINT")
@offline_option
@json_option
@common_options
def verify(checkpoint: str, offline: bool, as_json: bool) -> None:
    """Check that a checkpoint or a LoRA adapter is complete, unchanged and safe to load.

    CHECKPOINT is its folder, its short name (VQA_CT), or its id on the Hugging Face hub. One line
    is printed per check; the exit code is 2 if a check fails. Files are compared with the
    SHA256SUMS in the folder, if there is one.

    \b
    Examples:
      medr1 verify checkpoints/tiny-vl
    """
    from medr1.errors import InputError
    from medr1.files import to_json
    from medr1.models.loading import find_checkpoint

    folder = find_checkpoint(checkpoint, offline=offline)
    checks: list[dict[str, str | bool | None]] = []
    for name, run in _checks(folder, offline):
        try:
            passed, message = run()
        except InputError as error:
            passed, message = False, str(error)
        checks.append({"check": name, "ok": passed, "said": message})
        if not as_json:
            echo(one_line(f"{_WORDS[passed]:<6} {name}: {message}"))
    failed = [str(check["check"]) for check in checks if check["ok"] is False]
    if as_json:
        echo(to_json({"checkpoint": str(folder), "ok": not failed, "checks": checks}), nl=False)
    if failed:
        raise InputError(
            f"{folder} failed these checks: {', '.join(failed)}. Do not use it; download it again."
        )


def _checks(folder: Path, offline: bool) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """(name, function) of each check; the function raises InputError if the check fails."""
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
    from medr1.errors import InputError
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
