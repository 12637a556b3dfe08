"""Open the engine that answers questions: a checkpoint in this process, or a model on a server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.errors import InputError

if TYPE_CHECKING:
    from transformers import TextStreamer

    from medr1.chat.settings import Server
    from medr1.infer.engine import Engine
    from medr1.infer.local.engine import LocalEngine
    from medr1.infer.local.generic import GenericEngine
    from medr1.models.loading import LoadedModel
    from medr1.models.quantization import Bits
    from medr1.records import Decoding

logger = logging.getLogger("medr1")


def chosen_bits(load_in_4bit: bool, load_in_8bit: bool, server: Server | None) -> Bits | None:
    """The bits of a weight that two flags ask for; None for as many as the data type has.

    Args:
        load_in_4bit: Whether the language model is loaded with 4 bits for each weight.
        load_in_8bit: Whether it is loaded with 8.
        server: The server that answers; None: the model runs in this process.

    Raises:
        InputError: Both are asked for, or one together with a server.
    """
    if not (load_in_4bit or load_in_8bit):
        return None
    bits: Bits = 4 if load_in_4bit else 8
    if load_in_4bit and load_in_8bit:
        raise InputError("--load-in-4bit and --load-in-8bit exclude each other. Give one of them.")
    if server:
        raise InputError(
            f"--load-in-{bits}bit needs --engine local: a server decides how it loads its model."
        )
    return bits


def open_engine(
    model_path: str | Path,
    decoding: Decoding,
    server: Server | None,
    device: str,
    dtype: str,
    allow_template: bool,
    offline: bool,
    bits: Bits | None,
    *,
    on_text: Callable[[str, bool], None] | None = None,
) -> Engine:
    """Open the engine that answers.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id; with
            `server`, the name of the model there.
        decoding: How questions are answered. For passes with dropout, an adapter is not merged into
            its base, because merging removes the adapter's dropout.
        server: The server; None: the model runs in this process.
        device: auto, cuda, mps or cpu.
        dtype: auto, bfloat16, float16 or float32.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        bits: Bits of a weight of the language model, from `chosen_bits`; None: as many as `dtype`.
        on_text: Receives pieces of the completion of a single question, and whether a piece is the
            last; not from a server.

    Raises:
        InputError: There is no such model, it cannot be loaded, or it cannot answer in this way.
        Medr1Error: The server cannot be reached, or does not work.
        ModuleNotFoundError: `bits` needs bitsandbytes, which is not installed.
    """
    from medr1.infer.engine import require_capable

    engine: Engine
    if server:
        from medr1.infer.server.engine import ServerEngine

        engine = ServerEngine.connect(server, str(model_path))
    else:
        from medr1.infer.local.engine import LocalEngine
        from medr1.models.families.choice import BATCHED_TYPES
        from medr1.models.loading import choose_device, choose_dtype, find_checkpoint, load_model
        from medr1.models.quantization import bitsandbytes_config

        compute_dtype = choose_dtype(dtype, choose_device(device))
        quantization = bitsandbytes_config(bits, compute_dtype) if bits else None
        loaded = load_model(
            find_checkpoint(str(model_path), offline=offline),
            device=device,
            dtype=dtype,
            allow_template=allow_template,
            offline=offline,
            quantization=quantization,
            merge=not decoding.dropout_samples,
        )
        engine = local_engine(loaded, decoding, on_text)
        if not isinstance(engine, LocalEngine):
            logger.warning(
                "%s is asked one prompt at a time: medr1 has faster passes for %s only.",
                loaded.model.config.model_type,
                ", ".join(BATCHED_TYPES),
            )
    require_capable(engine, decoding)
    return engine


def local_engine(
    loaded: LoadedModel,
    decoding: Decoding,
    on_text: Callable[[str, bool], None] | None = None,
) -> LocalEngine | GenericEngine:
    """The engine for the family of a loaded model.

    Args:
        loaded: The model.
        decoding: As in `open_engine`.
        on_text: As in `open_engine`.

    Raises:
        InputError: There are passes with dropout, and the model has no dropout.
    """
    from medr1.infer.local.dropout import require_dropout
    from medr1.infer.local.engine import LocalEngine
    from medr1.infer.local.generic import GenericEngine
    from medr1.models.families.batched import BatchedFamily

    streamer = _streamer(loaded, on_text) if on_text else None
    if isinstance(loaded.family, BatchedFamily):
        if decoding.dropout_samples:
            require_dropout(loaded)
        return LocalEngine(loaded, streamer)
    return GenericEngine(loaded, streamer)


def _streamer(loaded: LoadedModel, on_text: Callable[[str, bool], None]) -> TextStreamer:
    """An object that passes a completion to `on_text` while `generate` writes it."""
    from transformers import TextStreamer

    class CallingStreamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text, stream_end)

    return CallingStreamer(loaded.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
