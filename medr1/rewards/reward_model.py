"""The reward `model`: the number that a reward model gives a prompt and its completion.

The model is a sequence-classification checkpoint of transformers with one output. It reads text:
the chat of prompt and completion in its own chat template, without the images, as TRL does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.errors import InputError
from medr1.rewards.item import message_text

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

Conversation = list[dict[str, str]]
"""Messages, each with its `role` and its text as `content`."""

_BATCH_SIZE = 16


class RewardModel:
    """A reward model that is loaded.

    Args:
        folder: Its checkpoint.

    Raises:
        InputError: It is no such checkpoint, or a tensor is missing or has another shape: a reward
            by random weights would look like any other.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification

        self._folder = folder
        config, self._tokenizer = read_reward_model(folder)
        try:
            loaded: Any = AutoModelForSequenceClassification.from_pretrained(
                folder,
                config=config,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
            raise _not_a_reward_model(folder, error) from None
        model, report = loaded
        faults = [*report["missing_keys"], *report["mismatched_keys"]]
        if faults:
            raise InputError(
                f"the reward model {folder} lacks {len(faults)} tensors (first: {faults[0]}). "
                "Give a checkpoint that has all its weights."
            )
        model.config.pad_token_id = self._tokenizer.pad_token_id
        self._model = model.eval()
        self._most_tokens = getattr(config, "max_position_embeddings", None)

    def scores(self, conversations: Sequence[Conversation]) -> list[float]:
        """The reward of each conversation, which ends with the completion.

        Raises:
            InputError: A conversation is longer than the model can read.
        """
        import torch
        from accelerate import PartialState

        device = PartialState().device  # of the trainer, if there is one
        if self._model.device != device:
            self._model.to(device)
        texts = [
            self._tokenizer.apply_chat_template(conversation, tokenize=False)
            for conversation in conversations
        ]
        scores: list[float] = []
        for start in range(0, len(texts), _BATCH_SIZE):
            inputs = self._tokenizer(
                texts[start : start + _BATCH_SIZE],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                add_special_tokens=False,
            ).to(device)
            num_tokens = inputs["input_ids"].shape[1]
            if self._most_tokens and num_tokens > self._most_tokens:
                raise InputError(
                    f"a prompt with its completion has {num_tokens} tokens, and the reward model "
                    f"{self._folder} reads {self._most_tokens} at most. Lower "
                    "--max-completion-length, or give another reward model."
                )
            with torch.inference_mode():
                scores += self._model(**inputs).logits[:, 0].float().tolist()
        return scores


def read_reward_model(folder: Path) -> tuple[PreTrainedConfig, PreTrainedTokenizerBase]:
    """The configuration and the tokenizer of a reward model, after a check of both.

    Args:
        folder: Its checkpoint; the weights are not read.

    Raises:
        InputError: It is no sequence-classification checkpoint with one output, or its tokenizer
            has no chat template or cannot pad.
    """
    from transformers import AutoTokenizer

    from medr1.checkpoints.structure import resolved_configuration

    if not (folder / "config.json").is_file():
        raise InputError(f"the reward model {folder} has no config.json. Give a checkpoint folder.")
    try:
        config = resolved_configuration(folder)
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _not_a_reward_model(folder, error) from None
    architecture = str(next(iter(config.architectures or ()), "none"))
    if not architecture.endswith("ForSequenceClassification") or config.num_labels != 1:
        raise InputError(
            f"the reward model {folder} has the architecture {architecture[:60]} with "
            f"{config.num_labels} outputs, expected one for sequence classification with 1 output."
        )
    if tokenizer.chat_template is None:
        raise InputError(
            f"the tokenizer of the reward model {folder} has no chat template. Add "
            "chat_template.jinja to the folder."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"the tokenizer of the reward model {folder} has no pad_token and no eos_token."
        )
    return config, tokenizer


def _not_a_reward_model(folder: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300]
    return InputError(
        f"cannot load the reward model {folder}: {reason}. Give a sequence-classification "
        "checkpoint in safetensors."
    )


def conversations_of(
    completions: Sequence[Any], prompts: Sequence[Any] | None, problems: Sequence[str | None]
) -> list[Conversation]:
    """The conversation of each completion, as text only.

    Args:
        completions: Texts, or lists of chat messages.
        prompts: Texts, or lists of chat messages, as TRL passes them; None: `problems` are used.
        problems: The questions with their options.

    Raises:
        InputError: There is neither a prompt nor a question.
    """
    if prompts is None:
        if None in problems or len(problems) != len(completions):
            raise InputError("the reward 'model' needs problem, the question with its options.")
        prompts = [problem or "" for problem in problems]
    return [
        [*_messages(prompt, "user"), *_messages(completion, "assistant")]
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _messages(value: Any, role: str) -> Conversation:
    """Text-only messages from a text or from messages."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [{"role": message["role"], "content": message_text([message])} for message in value]
