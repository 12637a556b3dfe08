"""Supervised fine-tuning (SFT) on the ground truths: TRL's SFTTrainer with the prompts of GRPO.

    for each step:
        draw prompts x, each with its target y    y = the ground truth in the format that x asks for
        L = - sum_xy sum_t log pi(y_t | x, y_<t)  /  tokens of all y of the step

The prompts are those of GRPO and of inference. Only the tokens of the target have labels, so
nothing is learned on the prompt, the system text, the image tokens and the padding. The target ends
with the token at which generation stops. Nothing is cut: an item that is longer than the model or
`max_length` takes is refused.

    medr1 train --method sft --config configs/sft.yaml --data train.json --output-dir output/sft
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medr1.answers import format_completion, has_format, reasoning_of
from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot
from medr1.errors import InputError
from medr1.models.calls import with_start
from medr1.models.loading import LoadedModel, control_tokens
from medr1.prompts import chat_messages, ground_truth_text, plain_text, prompt_format, prompt_name
from medr1.records import Sample
from medr1.train.dry_run.prompt_lengths import render_prompt, require_room
from medr1.train.inputs import max_tokens, open_images, prepare_samples
from medr1.train.settings import TrainingSettings, lora_config, trainer_config

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig

    from medr1.train.recovery.exact_resume import ExactResumeMixin

RATIONALE_KEYS = ("thinking", "reasoning")
"""Keys of an item's metadata that may have its reasoning; `medr1 data distill` writes the first."""


def build_trainer(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> ExactResumeMixin:
    """TRL's SFTTrainer with medr1's prompts, images and targets, ready to run.

    Args:
        loaded: The model to train.
        questions: The items to train on.
        settings: What to do.
        callbacks: Further callbacks of the trainer.

    Raises:
        InputError: As `fitting_samples`.
    """
    from transformers import PrinterCallback
    from trl import SFTTrainer

    from medr1.train.monitoring.metrics_log import MetricsLog
    from medr1.train.recovery.exact_resume import ExactResumeMixin
    from medr1.train.recovery.nonfinite_guard import NonFiniteGuardMixin

    class MedicalSFTTrainer(ExactResumeMixin, NonFiniteGuardMixin, SFTTrainer):
        """TRL's trainer with exact resume, and with an end at numbers that are not finite."""

    samples = fitting_samples(loaded, questions, settings)
    config = _config(settings, loaded)
    completions = target_completions(loaded, samples, settings.prompt)
    trainer = MedicalSFTTrainer(
        model=loaded.model,
        args=config,
        train_dataset=training_set(
            loaded, samples, completions, questions.image_root, settings.prompt
        ),
        processing_class=loaded.processor,
        peft_config=lora_config(settings, loaded.model),
        callbacks=[MetricsLog(settings.output_dir / "metrics.jsonl"), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    # With gradient accumulation, the loss has to be divided by the number of tokens of the complete
    # update. Otherwise each batch has the same weight, however few tokens it has. Trainer passes
    # that number only to models that say they take it, and many do not say so. TRL's loss, which
    # is used instead of the model's, does take it.
    trainer.model_accepts_loss_kwargs = True
    return trainer


def _config(settings: TrainingSettings, loaded: LoadedModel) -> SFTConfig:
    """TRL's configuration for these settings, whose method is SFT."""
    from trl import SFTConfig

    config = trainer_config(settings, loaded)
    assert isinstance(config, SFTConfig)
    return config


def fitting_samples(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> list[Sample]:
    """The items as samples to train on, after checking that each fits with its target.

    Args:
        loaded: The model; an outline is enough, so that a run can be refused before its weights
            are loaded.
        questions: The items.
        settings: The prompt and the limits of length.

    Raises:
        InputError: A sample cannot be used, has no target, or is too long.
    """
    samples = prepare_samples(loaded, questions, settings)
    completions = target_completions(loaded, samples, settings.prompt)
    prompts = (loaded, samples, questions.image_root, settings.prompt)
    max_length = _config(settings, loaded).max_length or max_tokens(loaded)
    max_length = min(max_length, max_tokens(loaded))
    require_room(*prompts, max_length, target_tokens(loaded, completions))
    if settings.max_prompt_length:
        require_room(*prompts, settings.max_prompt_length)
    return samples


def training_set(
    loaded: LoadedModel,
    samples: Sequence[Sample],
    completions: Sequence[str],
    image_root: ImageRoot,
    prompt: str,
) -> Dataset:
    """The samples as the columns that TRL reads; images are decoded when a row is read.

    The prompts are rendered here, because what TRL renders continues behind the token that ends the
    turn.

    Args:
        loaded: The model, for its processor.
        samples: The samples to train on.
        completions: The target of each sample, from `target_completions`.
        image_root: The folder in which relative image paths start.
        prompt: A prompt template, as in `prompts.template`.
    """
    from datasets import Dataset

    # TRL lets the tokenizer add no special tokens.
    prompts = [
        with_start(loaded.processor, render_prompt(loaded, sample, prompt)) for sample in samples
    ]
    # The data set pickles everything that `rows` refers to: that must not be the model.
    processor, family = loaded.processor, loaded.family

    def rows(batch: dict[str, list[int]]) -> dict[str, list[object]]:
        batch_samples = [samples[index] for index in batch["index"]]
        images = open_images(batch_samples, image_root, processor, family)
        return {
            "prompt": [prompts[index] for index in batch["index"]],
            "completion": [completions[index] for index in batch["index"]],
            "images": [[images[name] for name in sample.images] for sample in batch_samples],
        }

    return Dataset.from_dict({"index": list(range(len(samples)))}).with_transform(rows)


def targets(loaded: LoadedModel, samples: Sequence[Sample], prompt: str) -> list[str]:
    """The text that each sample's completion should have: the ground truth in the prompt's format.

    Args:
        loaded: The model, for its control tokens and the form of its answers.
        samples: The samples to train on.
        prompt: A prompt template, as in `prompts.template`.

    Raises:
        InputError: The prompt asks for reasoning and a sample has none, or a tag in a sample's
            texts would break the format.
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
    target_texts = [
        format_completion(
            form,
            plain_text(ground_truth_text(sample, loaded.info.answer_style), tokens),
            plain_text(rationale or "", tokens),
        )
        for sample, rationale in zip(samples, rationales, strict=True)
    ]
    if form != "bare":
        _refuse(
            [
                s
                for s, text in zip(samples, target_texts, strict=True)
                if not has_format(text, form)
            ],
            f"of {len(samples)} items have a <think> or <answer> tag within their answer or "
            "rationale",
            "Remove these tags.",
        )
    return target_texts


def _rationale(sample: Sample) -> str | None:
    """The reasoning in an item's metadata; None without one."""
    texts = (sample.metadata.get(key) for key in RATIONALE_KEYS)
    rationales = (reasoning_of(text) for text in texts if isinstance(text, str))
    return next((rationale for rationale in rationales if rationale), None)


def _refuse(samples: Sequence[Sample], fault: str, remedy: str) -> None:
    """Raise InputError if there are samples with this fault."""
    if samples:
        raise InputError(f"{len(samples)} {fault} (the first: item {samples[0].id}). {remedy}")


def target_completions(loaded: LoadedModel, samples: Sequence[Sample], prompt: str) -> list[str]:
    """The targets as the chat template writes them, up to the token that ends the turn.

    Args:
        loaded: The model, for its chat template and its end tokens.
        samples: The samples to train on.
        prompt: A prompt template, as in `prompts.template`.

    Raises:
        InputError: As `targets`, or the chat template changes an answer or does not end it.
    """
    stops, completions = stop_tokens(loaded), []
    for sample, target in zip(samples, targets(loaded, samples, prompt), strict=True):
        prompt_text = render_prompt(loaded, sample, prompt)
        messages = chat_messages(sample, prompt, loaded.info.answer_style)
        answer = {"role": "assistant", "content": [{"type": "text", "text": target}]}
        chat = str(loaded.processor.apply_chat_template([*messages, answer], tokenize=False))
        # The chat has to be the prompt as inference writes it, then the target, then an end token.
        # A template may add more behind that, such as a line end, which is not learned.
        space = _space_before(target, prompt_text, chat)
        rest = chat.removeprefix(prompt_text.rstrip()).lstrip().removeprefix(target)
        ends = [rest.find(stop) + len(stop) for stop in stops if stop in rest]
        if space is None or not ends:
            raise InputError(
                f"the chat template of {loaded.path} does not write an answer unchanged, followed "
                f"by a token that ends generation ({', '.join(stops)}). Use another checkpoint."
            )
        completions.append(space + target + rest[: min(ends)])
    return completions


def _space_before(target: str, prompt_text: str, chat: str) -> str | None:
    """The white space that the answer begins with; None if it is not where it has to be.

    Templates differ in the white space between the role and the text of an answer. SmolVLM's writes
    "Assistant:" at the end of a prompt and " yes" behind it. LLaVA-OneVision's ends a prompt with a
    line end, and begins the answer of a chat with a space and a line end: then nothing is between.
    """
    stem = prompt_text.rstrip()
    rest = chat.removeprefix(stem)
    answer = rest.lstrip()
    if not chat.startswith(stem) or not answer.startswith(target):
        return None
    space, end_of_prompt = rest[: len(rest) - len(answer)], prompt_text[len(stem) :]
    return space.removeprefix(end_of_prompt) if space.startswith(end_of_prompt) else ""


def stop_tokens(loaded: LoadedModel) -> list[str]:
    """The texts of the tokens at which the checkpoint's generation stops."""
    tokenizer = loaded.processor.tokenizer
    ids = loaded.model.generation_config.eos_token_id
    ids = tokenizer.eos_token_id if ids is None else ids
    return list(tokenizer.convert_ids_to_tokens(ids if isinstance(ids, list) else [ids]))


def target_tokens(loaded: LoadedModel, completions: Sequence[str]) -> list[int]:
    """The number of tokens of each target.

    Args:
        loaded: The model, for its tokenizer.
        completions: The targets, from `target_completions`.
    """
    tokenizer = loaded.processor.tokenizer
    rows = tokenizer(list(completions), add_special_tokens=False)["input_ids"]
    return [len(ids) for ids in rows]
