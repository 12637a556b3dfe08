"""Loads an encoder like BERT, for BERTScore and the semantic similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medr1.errors import InputError

_MAX_TOKENS = 512
"""Longest text in tokens, where neither model nor tokenizer has a smaller limit."""


def fingerprint(folder: Path) -> str:
    """The first digits of the hash of a checkpoint.

    Args:
        folder: Its folder.
    """
    from medr1.checkpoints.integrity import checkpoint_sha256

    return checkpoint_sha256(folder)[:12]


def load_encoder(folder: Path, layer: int | None, what: str) -> tuple[Any, Any]:
    """The encoder in evaluation mode, and its tokenizer.

    Args:
        folder: The folder of the model, in safetensors.
        layer: The layer after which it is cut off, from 1; None: the last.
        what: What it is loaded for, for messages.

    Raises:
        InputError: It is no such encoder, or a tensor is missing or has another shape: a score
            with random weights would look like any other.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer

    from medr1.checkpoints.structure import resolved_configuration

    try:
        config = resolved_configuration(folder)
        if layer is not None:
            config.num_hidden_layers = layer
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        loaded: Any = AutoModel.from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise not_an_encoder(folder, what, error) from None
    encoder, report = loaded
    missing = sorted(str(key) for key in report["missing_keys"] if "pooler" not in str(key))
    if missing or report["mismatched_keys"]:
        raise InputError(
            f"{folder} lacks {len(missing) or 'matching'} tensors of its encoder (first: "
            f"{missing[0] if missing else next(iter(report['mismatched_keys']))}). Fetch it again."
        )
    if getattr(encoder.config, "is_encoder_decoder", False):
        encoder = encoder.encoder
    # a tokenizer without a limit has a huge model_max_length, which the package cannot handle
    max_positions = getattr(encoder.config, "max_position_embeddings", None) or _MAX_TOKENS
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_positions, _MAX_TOKENS)
    if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id):
        raise InputError(f"the tokenizer in {folder} is not like BERT's: it has no [CLS] or [SEP].")
    return encoder.eval(), tokenizer


def not_an_encoder(folder: Path, what: str, error: Exception) -> InputError:
    """The error for a folder that has no encoder.

    Args:
        folder: The folder.
        what: What it was to be loaded for.
        error: What was raised.
    """
    reason = " ".join(str(error).split())[:300]
    return InputError(
        f"cannot load {folder} for {what}: {reason}. Name a BERT-like encoder in safetensors."
    )
