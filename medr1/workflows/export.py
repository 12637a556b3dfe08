"""Write a checkpoint as a folder that another engine reads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from medr1.errors import InputError
from medr1.workflows.arguments import keep_apart, require_choice, require_writable

ServingEngine = Literal["mlx", "vllm"]
"""An engine that serves a checkpoint: mlx-vlm, or vLLM."""

_FLAT = ("qwen2_vl", "qwen2_5_vl")
"""Architectures whose config.json medr1 can write for mlx-vlm."""


@dataclass(frozen=True)
class Export:
    """A checkpoint that was written for another engine."""

    folder: Path
    command: str
    """The command line that serves it."""


def export_checkpoint(
    checkpoint: str | Path,
    *,
    engine: ServingEngine,
    output_dir: str | Path,
    offline: bool = False,
    overwrite: bool = False,
) -> Export:
    """Write a checkpoint as a folder that another engine reads, with SHA256SUMS.

    A LoRA adapter is merged into its base. The weights of a complete model become hard links, or
    copies on another file system. medr1 and transformers read the folder too.

    Args:
        checkpoint: Folder of the checkpoint or LoRA adapter, its short name, or its id on the
            Hugging Face hub.
        engine: mlx or vllm.
        output_dir: Folder to write.
        offline: Whether the network may not be used.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Raises:
        InputError: There is no such checkpoint, or the engine cannot read it.
        OutputError: The folder cannot be written.
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import find_checkpoint, is_adapter
    from medr1.checkpoints.integrity import loaded_files
    from medr1.checkpoints.structure import read_configuration, require_sound
    from medr1.checkpoints.writing import link_or_copy, new_checkpoint

    require_choice("engine", engine, get_args(ServingEngine))
    output = Path(output_dir)
    require_writable(output)
    require_writable(output / "config.json")
    folder = find_checkpoint(str(checkpoint), offline=offline)
    base = find_base(folder, offline=offline) if is_adapter(folder) else folder
    keep_apart(output, [folder, base], overwrite)
    require_sound(base)
    _require_readable(engine, read_configuration(base / "config.json"), base)
    with new_checkpoint(output, overwrite=overwrite) as temporary:
        if is_adapter(folder):
            _merge_into(temporary, folder, offline)
        else:
            for file in loaded_files(folder):
                target = temporary / file.relative_to(folder)
                target.parent.mkdir(exist_ok=True)
                link_or_copy(file, target)
        _write_changes(temporary, engine, folder)
    return Export(output, _command(engine, output))


def _require_readable(engine: ServingEngine, config: Mapping[str, object], base: Path) -> None:
    """InputError for a checkpoint that the engine cannot read, also when it is exported."""
    model_type = config.get("model_type")
    if engine == "mlx" and model_type not in _FLAT:
        raise InputError(
            f"{base} is a {model_type}. mlx-vlm needs another config.json, and medr1 can write "
            f"that of {' and '.join(_FLAT)} only."
        )


def _merge_into(folder: Path, adapter: Path, offline: bool) -> None:
    """Write an adapter that is merged into its base to a folder."""
    from medr1.models.loading import save_merged
    from medr1.workflows.merge import load_merged

    save_merged(load_merged(adapter, "auto", offline=offline), folder)


def _write_changes(folder: Path, engine: ServingEngine, source: Path) -> None:
    """Change what the engine reads differently, and record where the checkpoint comes from."""
    from medr1.checkpoints.flat_config import flat_config
    from medr1.checkpoints.integrity import checkpoint_sha256
    from medr1.checkpoints.structure import read_configuration
    from medr1.files import to_json, write_atomic
    from medr1.models.loading import checkpoint_document

    # Each file is replaced, not changed: it may be a hard link to that of the source.
    if engine == "mlx":
        config = folder / "config.json"
        write_atomic(config, to_json(flat_config(read_configuration(config))))
    record = folder / "medr1.json"
    entries = read_configuration(record)
    exported = {
        "exported_for": engine,
        "exported_from": source.resolve().name,
        "exported_from_sha256": checkpoint_sha256(source),
    }
    write_atomic(record, checkpoint_document(**{**entries, **exported}))


def _command(engine: ServingEngine, folder: Path) -> str:
    """The command line that serves the folder."""
    if engine == "mlx":
        # All requests of a batch would get temperature and seed of the first (mlx-vlm 0.7.10), and
        # no log-probabilities are returned unless a number of tokens is given.
        options = ["--model", str(folder), "--max-num-seqs", "1", "--top-logprobs-k", "20"]
        return shlex.join(["python", "-m", "mlx_vlm.server", *options])
    name = folder.resolve().name
    return shlex.join(["vllm", "serve", str(folder), "--served-model-name", name])
