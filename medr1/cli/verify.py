"""`medr1 verify`: whether a checkpoint is whole, unchanged and safe to load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from medr1.cli.common import Medr1Command, common_options, json_option, offline_option
from medr1.terminal import echo, one_line

_WORDS = {True: "ok", None: "?", False: "FAILED"}


@click.command(cls=Medr1Command, short_help="Check that a checkpoint is whole and unchanged.")
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
    from medr1.checkpoints.integrity import CHECKSUMS
    from medr1.errors import InputError
    from medr1.files import to_json
    from medr1.models import find_checkpoint

    folder = find_checkpoint(checkpoint, offline=offline)
    checks: list[dict[str, str | bool | None]] = []
    for name, run in _checks(folder, offline):
        ok: bool | None
        try:
            ok, said = True, run()
            if said is None:
                ok, said = None, f"there is no {CHECKSUMS} to check them against"
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


def _checks(folder: Path, offline: bool) -> Iterator[tuple[str, Any]]:
    """The name of each check, and what says how it went (None: it had nothing to go by) or raises
    InputError."""
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

    def own_files() -> list[Path]:
        return [folder / WEIGHTS] if is_adapter(folder) else weight_files(folder)

    def bytes_() -> str | None:
        faults = checksum_faults(folder)
        if faults is None:
            return None
        if faults:
            raise InputError("; ".join(faults))
        return f"as {CHECKSUMS} says"

    def configuration() -> str:
        if not is_adapter(folder):
            require_sound(folder)
            return "fits the files"
        read_adapter(folder)
        base = find_base(folder, offline=offline)
        require_sound(base)
        return f"a LoRA adapter for {base}"

    def headers() -> str:
        files = own_files()
        return f"{sum(len(tensor_shapes(file)) for file in files)} tensors in {len(files)} files"

    def finite() -> str:
        return f"{require_finite(own_files())} tensors are finite"

    def template() -> str:
        base = find_base(folder, offline=offline) if is_adapter(folder) else folder
        require_known_template(load_processor(folder, base), f"checkpoint {folder}")
        return "known"

    def whole() -> str:
        load_model(folder, device="cpu", allow_template=True, offline=offline)
        return "every tensor has its place, and every place its tensor"

    yield "bytes", bytes_
    yield "configuration", configuration
    yield "headers", headers
    yield "values", finite
    yield "template", template
    yield "loading", whole
