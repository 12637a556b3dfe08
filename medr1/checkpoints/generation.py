"""Reading a checkpoint's generation_config.json: only known settings, and only valid values.

All other settings are left out. transformers would act on them: load other models, stop generating
at other places, or fail in the middle of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medr1.checkpoints.structure import is_token, read_configuration
from medr1.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

GENERATION_CONFIG = "generation_config.json"
TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
_NUMBERS = {
    "repetition_penalty": (0.01, 100.0),
    "temperature": (0.0, 1000.0),
    "top_k": (0, 1 << 22),
    "top_p": (0.0, 1.0),
}
"""Key -> its smallest and largest valid value.

medr1 itself samples as its options say. It passes these settings on to the checkpoints that it
writes, for programs that use them.
"""
_IGNORED = {
    "transformers_version", "_from_model_config", "use_cache", "max_length", "max_new_tokens",
}  # fmt: skip
"""Keys that are left out without a warning: notes on the file, and what medr1 has options for."""
_NEUTRAL_VALUES: dict[str, float] = dict.fromkeys(
    (
        "num_beams", "num_beam_groups", "num_return_sequences", "length_penalty",
        "typical_p", "encoder_repetition_penalty", "guidance_scale",
    ),
    1,
)  # fmt: skip
"""Key -> the value without effect; of any other key it is one that is false, 0 or empty."""


def generation_settings(folder: Path, config: PreTrainedConfig) -> tuple[dict[str, object], str]:
    """The generation settings of a checkpoint that medr1 uses, and a sentence about the others.

    Args:
        folder: The checkpoint.
        config: Its resolved configuration, which has the special tokens where the file does not.

    Returns:
        (settings, warning); the warning is "" where nothing of effect is left out.

    Raises:
        InputError: If a value is invalid.
    """
    document = read_configuration(folder / GENERATION_CONFIG)
    text = config.get_text_config()
    settings: dict[str, object] = {}
    for key in TOKEN_KEYS:
        inherited = getattr(text, key, None)
        value = getattr(config, key, inherited) if document.get(key) is None else document[key]
        if value is not None:
            tokens = value if isinstance(value, list) and key == "eos_token_id" else [value]
            if not all(is_token(token, text.vocab_size) for token in tokens):
                raise _invalid(folder, key, value, f"a token's number below {text.vocab_size:,}")
            settings[key] = value
    for key, (least, most) in _NUMBERS.items():
        if (value := document.get(key)) is not None:
            kind = int if isinstance(least, int) else float
            if not (isinstance(value, int | float) and type(value) in (int, kind)) or not (
                least <= value <= most
            ):
                raise _invalid(folder, key, value, f"a number from {least:g} to {most:,}")
            settings[key] = kind(value)
    if (do_sample := document.get("do_sample")) not in (None, True, False):
        raise _invalid(folder, "do_sample", do_sample, "true or false")
    if do_sample:
        settings["do_sample"] = True
    else:  # temperature, top_k and top_p have no effect without sampling
        settings = {
            key: settings[key] for key in settings if key in (*TOKEN_KEYS, "repetition_penalty")
        }
    return settings, _left_out(folder, document)


def _invalid(folder: Path, key: str, value: object, expected: str) -> InputError:
    """The error that a setting has a value that cannot be right."""
    return InputError(
        f"{folder / GENERATION_CONFIG}: {key} is {str(value)[:40]!r}, expected {expected}. "
        "Fetch it again."
    )


def _left_out(folder: Path, document: Mapping[str, object]) -> str:
    """A sentence that names the settings with an effect that are left out; "" for none."""
    handled = {*TOKEN_KEYS, *_NUMBERS, *_IGNORED, "do_sample"}
    rest = [
        key if key.isidentifier() and key.isascii() else ascii(key)
        for key, value in document.items()
        if key not in handled and value and (value is True or value != _NEUTRAL_VALUES.get(key))
    ]
    if not rest:
        return ""
    more = f" and {len(rest) - 10} more" if len(rest) > 10 else ""
    return (
        f"{folder / GENERATION_CONFIG}: medr1 does not use "
        f"{', '.join(key[:40] for key in rest[:10])}{more}; "
        "answers may differ from those of a program that does."
    )
