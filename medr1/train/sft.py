"""Supervised fine-tuning (SFT) on the gold answers: TRL's SFTTrainer, asked as GRPO asks.

    for each step:
        draw prompts x, each with its target y         y = the gold, written in x's format
        L = - sum_xy sum_t log pi(y_t | x, y_<t)  /  tokens of all y of the step

The prompts are those of GRPO and of inference. Only the target has labels: none are on the prompt,
the system text, the image tokens and the padding. The target ends with the token that generation
stops at. Nothing is cut: what is longer than the model or `max_length` takes is refused.

    medr1 train --method sft --config configs/sft.yaml --data train.json --output-dir output/sft
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medr1.answers import has_format, in_format, rationale_of
from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot
from medr1.errors import InputError
from medr1.models import LoadedModel, control_tokens
from medr1.prompts import chat_messages, gold_text, plain_text, prompt_format, prompt_name
from medr1.records import Sample
from medr1.train.inputs import max_tokens, open_images, prepare_samples
from medr1.train.lengths import render_prompt, require_room
from medr1.train.settings import TrainingSettings, lora_config, trainer_config

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig

    from medr1.train.resume import ExactResumeMixin

RATIONALE_KEYS = ("thinking", "reasoning")
"""Where an item's metadata holds its rationale; `medr1 data distill` writes the first."""


def build_trainer(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> ExactResumeMixin:
    """The trainer, ready to run: stock TRL, with our prompts, images and targets."""
    from transformers import PrinterCallback
    from trl import SFTTrainer

    from medr1.train.callbacks import MetricsLog
    from medr1.train.finite import NonFiniteGuardMixin
    from medr1.train.resume import ExactResumeMixin

    class MedicalSFTTrainer(ExactResumeMixin, NonFiniteGuardMixin, SFTTrainer):
        """TRL's trainer, with the parts of ours that change what it does."""

    samples = fitting_samples(loaded, questions, settings)
    config: SFTConfig = trainer_config(settings, loaded)
    completions = target_completions(loaded, samples, settings.prompt)
    trainer = MedicalSFTTrainer(
        model=loaded.model,
        args=config,
        train_dataset=training_set(
            loaded, samples, completions, questions.image_root, settings.prompt
        ),
        processing_class=loaded.processor,
        peft_config=lora_config(settings),
        callbacks=[MetricsLog(settings.output_dir / "metrics.jsonl"), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    # Qwen's models say that they take no count of an update's tokens; each batch would then weigh
    # the same, however few tokens it has. TRL's loss, which is the one in use, takes that count.
    trainer.model_accepts_loss_kwargs = True
    return trainer


def fitting_samples(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> list[Sample]:
    """The samples as they are asked; InputError where one is unusable or too long with its target.

    An outline of the model is enough, so that this can be known before its weights are read.
    """
    samples = prepare_samples(loaded, questions, settings)
    completions = target_completions(loaded, samples, settings.prompt)
    where = (loaded, samples, questions.image_root, settings.prompt)
    room = trainer_config(settings, loaded).max_length or max_tokens(loaded)
    require_room(*where, min(room, max_tokens(loaded)), target_tokens(loaded, completions))
    if settings.max_prompt_length:
        require_room(*where, settings.max_prompt_length)
    return samples


def training_set(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    completions: Sequence[str],
    image_root: ImageRoot,
    prompt: str,
) -> Dataset:
    """The samples as the columns TRL reads; images are decoded when a row is asked for.

    The prompts are rendered here: TRL's own rendering goes on behind the token of the turn's end.
    """
    from datasets import Dataset

    prompts = [render_prompt(loaded, sample, prompt) for sample in samples]
    processor = loaded.processor  # all that `rows` refers to is pickled, so not the model

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [samples[index] for index in batch["index"]]
        images = open_images(chosen, image_root, processor)
        return {
            "prompt": [prompts[index] for index in batch["index"]],
            "completion": [completions[index] for index in batch["index"]],
            "images": [[images[name] for name in sample.images] for sample in chosen],
        }

    return Dataset.from_dict({"index": list(range(len(samples)))}).with_transform(rows)


def targets(loaded: LoadedModel, samples: Sequence[Sample], prompt: str) -> list[str]:
    """What each sample's completion should say: the gold in the prompt's format.

    InputError where the prompt asks for reasoning and a sample has none to learn, and where a tag
    inside of one would give it another format.
    """
    form, tokens = prompt_format(prompt), control_tokens(loaded.processor)
    rationales = [_rationale(sample) for sample in samples]
    if form in ("think", "think-after") and None in rationales:
        _refuse(
            [s for s, rationale in zip(samples, rationales, strict=True) if rationale is None],
            f"of {len(samples)} items have no rationale, and the prompt {prompt_name(prompt)} asks "
            "for one",
            "Add it under the key `thinking`, as `medr1 data distill` does from right completions, "
            "or train with --prompt nothink.",
        )
    found = [
        in_format(
            form,
            plain_text(gold_text(sample, loaded.info.answer_style), tokens),
            plain_text(rationale or "", tokens),
        )
        for sample, rationale in zip(samples, rationales, strict=True)
    ]
    if form != "bare":
        _refuse(
            [s for s, text in zip(samples, found, strict=True) if not has_format(text, form)],
            f"of {len(samples)} items have a <think> or <answer> tag within their answer or "
            "rationale",
            "Take these tags out.",
        )
    return found


def _rationale(sample: Sample) -> str | None:
    """The rationale that an item brought, None without one."""
    texts = (sample.metadata.get(key) for key in RATIONALE_KEYS)
    found = (rationale_of(text) for text in texts if isinstance(text, str))
    return next((rationale for rationale in found if rationale), None)


def _refuse(samples: Sequence[Sample], fault: str, remedy: str) -> None:
    if samples:
        raise InputError(f"{len(samples)} {fault} (the first: item {samples[0].id}). {remedy}")


def target_completions(loaded: LoadedModel, samples: Sequence[Sample], prompt: str) -> list[str]:
    """The targets as the chat template writes them, up to the token that ends the turn."""
    stops, completions = stop_tokens(loaded), []
    for sample, target in zip(samples, targets(loaded, samples, prompt), strict=True):
        asked = render_prompt(loaded, sample, prompt)
        messages = chat_messages(sample, prompt, loaded.info.answer_style)
        answered = {"role": "assistant", "content": [{"type": "text", "text": target}]}
        whole = str(loaded.processor.apply_chat_template([*messages, answered], tokenize=False))
        after = whole.removeprefix(asked + target)
        ends = [after.find(stop) + len(stop) for stop in stops if stop in after]
        if after == whole or not ends:
            raise InputError(
                f"the chat template of {loaded.path} does not write an answer as it is, followed "
                f"by a token that generation stops at ({', '.join(stops)}). Use another checkpoint."
            )
        completions.append(target + after[: min(ends)])
    return completions


def stop_tokens(loaded: LoadedModel) -> list[str]:
    """The tokens that end a completion when the checkpoint generates."""
    tokenizer = loaded.processor.tokenizer
    ids = loaded.model.generation_config.eos_token_id
    ids = tokenizer.eos_token_id if ids is None else ids
    return list(tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [ids]))


def target_tokens(loaded: LoadedModel, completions: Sequence[str]) -> list[int]:
    """How many tokens of each completion are learned."""
    return [len(ids) for ids in loaded.processor.tokenizer(list(completions))["input_ids"]]
