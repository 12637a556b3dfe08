"""What medr1 takes from a checkpoint's generation_config.json: an allow list, each value checked.

The rest of what stands there is not handed to transformers, which would load other models, stop at
other places or fail in the middle of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medr1.checkpoints.structure import is_token, read_configuration
from medr1.errors import InputError

FILE = "generation_config.json"
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_NUMBERS = {
    "repetition_penalty": (0.01, 100.0),
    "temperature": (0.0, 1000.0),
    "top_k": (0, 1 << 22),
    "top_p": (0.0, 1.0),
}
"""Key -> the least and the most it may be. What a checkpoint is sampled with is handed on to those
that use what medr1 writes; medr1 itself samples as its options say."""
_OF_NO_EFFECT = {
    "transformers_version", "_from_model_config", "use_cache", "max_length", "max_new_tokens",
}  # fmt: skip
"""How it was written, and what medr1 has options for."""
_NEUTRAL: dict[str, float] = dict.fromkeys(
    (
        "num_beams", "num_beam_groups", "num_return_sequences", "length_penalty",
        "typical_p", "encoder_repetition_penalty", "guidance_scale",
    ),
    1,
)  # fmt: skip
"""Key -> the value that changes nothing; for any other key, one that is false, 0 or empty."""


def generation_settings(folder: Path, config: Any) -> tuple[dict[str, Any], str]:
    """What is taken, and a sentence about what is not ("" where nothing is left out).

    `config` is the checkpoint's resolved configuration, which has the special tokens where the file
    does not. InputError for a value that cannot be right.
    """
    document = read_configuration(folder / FILE)
    text = config.get_text_config()
    taken: dict[str, Any] = {}
    for key in TOKENS:
        inherited = getattr(text, key, None)
        value = getattr(config, key, inherited) if document.get(key) is None else document[key]
        if value is not None:
            many = isinstance(value, list) and key == "eos_token_id"
            if not all(is_token(one, text.vocab_size) for one in (value if many else [value])):
                raise _not_right(folder, key, value, f"a token's number below {text.vocab_size:,}")
            taken[key] = value
    for key, (least, most) in _NUMBERS.items():
        if (value := document.get(key)) is not None:
            kind = int if isinstance(least, int) else float
            if type(value) not in (int, kind) or not least <= value <= most:
                raise _not_right(folder, key, value, f"a number from {least:g} to {most:,}")
            taken[key] = kind(value)
    if (sampled := document.get("do_sample")) not in (None, True, False):
        raise _not_right(folder, "do_sample", sampled, "true or false")
    if sampled:
        taken["do_sample"] = True
    else:  # of no effect then, and not written either
        taken = {key: taken[key] for key in taken if key in (*TOKENS, "repetition_penalty")}
    return taken, _not_taken(folder, document)


def _not_right(folder: Path, key: str, value: Any, expected: str) -> InputError:
    return InputError(
        f"{folder / FILE}: {key} is {str(value)[:40]!r}, expected {expected}. Fetch it again."
    )


def _not_taken(folder: Path, document: Mapping[str, Any]) -> str:
    known = {*TOKENS, *_NUMBERS, *_OF_NO_EFFECT, "do_sample"}
    rest = [
        key if key.isidentifier() and key.isascii() else ascii(key)
        for key, value in document.items()
        if key not in known and value and (value is True or value != _NEUTRAL.get(key))
    ]
    if not rest:
        return ""
    more = f" and {len(rest) - 10} more" if len(rest) > 10 else ""
    return (
        f"{folder / FILE}: medr1 does not take {', '.join(key[:40] for key in rest[:10])}{more}; "
        "answers may differ from those of a program that does."
    )
