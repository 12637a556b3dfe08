"""One start token in each prompt that TRL's GRPO processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import ProcessorMixin
    from trl import GRPOTrainer as _Trainer

    from medr1.train.inputs import Batch, Row
else:
    _Trainer = object


class SingleStartMixin(_Trainer):
    """Mixin for TRL's GRPOTrainer: no second start token where the chat template writes one.

    TRL renders a prompt, and lets the processor encode the text for the model's other inputs. The
    tokenizer of a published Gemma 3 begins every text with `<bos>`, which the rendered prompt has
    already: the token types would be one token longer than the ids, and stand one place too far.
    The ids themselves have one start token. The setting is undone before anything is saved.
    """

    processing_class: ProcessorMixin

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        settings = self.processing_class.tokenizer.init_kwargs
        if not writes_start_twice(self.processing_class, inputs[0]["prompt"]):
            return super()._generate_and_score_completions(inputs)
        settings["add_special_tokens"] = False
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            del settings["add_special_tokens"]


def writes_start_twice(processor: ProcessorMixin, messages: list[dict[str, str]]) -> bool:
    """Whether both the chat template and the tokenizer begin a prompt with the start token.

    Args:
        processor: Of the checkpoint.
        messages: A prompt, as messages.
    """
    tokenizer = processor.tokenizer
    text = str(processor.apply_chat_template(messages, tokenize=False))
    start = tokenizer.bos_token_id
    return start is not None and tokenizer(text)["input_ids"][:2] == [start, start]
