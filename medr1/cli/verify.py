"""`medr1 verify`: whether a checkpoint is whole, unchanged and safe to load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click

from medr1.cli.common import Medr1Command, common_options, json_option, offline_option
from medr1.terminal import echo, one_line

Verdict = tuple[bool | None, str]
"""Whether a check went well (None: that cannot be said), and how it went."""

_WORDS = {True: "ok", None: "?", False: "FAILED"}


@click.command(cls=Medr1Command, short_help="Check that a checkpoint is complete and unchanged.")
@click.argument("checkpoint", metavar="CHECKPOINT")
@offline_option
@json_option
@common_options
def verify(checkpoint: str, offline: bool, as_json: bool) -> None:
    """Check that a checkpoint or an adapter is whole, unchanged and safe to load.

    A line a check; exit code 2 where one fails. Bytes are compared with SHA256SUMS in its folder.

    \b
      medr1 verify checkpoints/tiny-vl
    """
    from medr1.errors import InputError
    from medr1.files import to_json
    from medr1.models import find_checkpoint

    folder = find_checkpoint(checkpoint, offline=offline)
    checks: list[dict[str, str | bool | None]] = []
    for name, run in _checks(folder, offline):
        try:
            ok, said = run()
        except InputError as error:
            ok, said = False, str(error)
        checks.append({"check": name, "ok": ok, "said": said})
        if not as_json:
            echo(one_line(f"{_WORDS[ok]:<6} {name}: {said}"))
    failed = [str(check["check"]) for check in checks if check["ok"] is False]
    if as_json:
        echo(to_json({"checkpoint": str(folder), "ok": not failed, "checks": checks}), nl=False)
    if failed:
        raise InputError(f"{folder} failed: {', '.join(failed)}. Do not use it; fetch it again.")


def _checks(folder: Path, offline: bool) -> Iterator[tuple[str, Callable[[], Verdict]]]:
    """The name of each check, and what makes it; it raises InputError where it fails."""
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
    from medr1.models import load_model, load_processor

    adapter = is_adapter(folder)

    def own_files() -> list[Path]:
        return [folder / WEIGHTS] if adapter else weight_files(folder)

    def base() -> Path:
        return find_base(folder, offline=offline) if adapter else folder

    def bytes_() -> Verdict:
        faults = checksum_faults(folder)
        if faults is None:
            return None, f"there is no {CHECKSUMS} to check them against"
        if faults:
            raise InputError("; ".join(faults))
        return True, f"as {CHECKSUMS} says"

    def configuration() -> Verdict:
        if adapter:
            read_adapter(folder)
        require_sound(base())
        return True, f"a LoRA adapter for {base()}" if adapter else "fits the files"

    def headers() -> Verdict:
        files = own_files()
        tensors = sum(len(tensor_shapes(file)) for file in files)
        return True, f"{tensors} tensors in {len(files)} files"

    def finite() -> Verdict:
        return True, f"{require_finite(own_files())} tensors are finite"

    def template() -> Verdict:
        require_known_template(load_processor(folder, base()), f"checkpoint {folder}")
        return True, "known"

    def whole() -> Verdict:
        load_model(folder, device="cpu", allow_template=True, offline=offline)
        return True, "every tensor has its place, and every place its tensor"

    yield from {
        "bytes": bytes_, "configuration": configuration, "generation": lambda: _generation(base()),
        "headers": headers, "values": finite, "template": template, "loading": whole,
    }.items()  # fmt: skip


def _generation(base: Path) -> Verdict:
    from medr1.checkpoints.generation import generation_settings
    from medr1.checkpoints.structure import require_sound, resolved_configuration

    require_sound(base)
    _, not_taken = generation_settings(base, resolved_configuration(base))
    return (None, not_taken) if not_taken else (True, "all of it is taken")
