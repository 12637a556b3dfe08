"""GRPO on a vision-language model: TRL's GRPOTrainer, given medical questions and verdicts.

    for each step:
        draw P prompts; sample G completions of each from the policy      num_generations = G
        r_g = sum_k w_k * reward_k(completion_g)                           rewards.py
        A_g = (r_g - mean_G r) / (std_G r + 1e-4)                          scale_rewards = "group"
        rho_t = pi(token_t) / pi_old(token_t)
        L = -mean_t min(rho_t A, clip(rho_t, 1 - eps, 1 + eps) A) + beta KL(pi || ref)

Where it departs from the GRPO paper (arXiv 2402.03300), as TRL's defaults do: beta is 0, so there
is no reference model; one update a batch, so rho is 1 at the update; and the mean over tokens runs
over the whole batch (loss_type "dapo"), which does not favour short right answers. With a beta, the
KL is multiplied by rho, without which its gradient is not that of the reverse KL (arXiv 2512.02556;
`use_bias_correction_kl: false` is the paper's). tests/train/test_losses.py writes all of it out.

Images and prompts are run once for all G completions, where stock TRL runs them G times; the
numbers are the same (shared_prefix.py).

    medr1 train --config configs/tiny.yaml --output-dir output/tiny
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot
from medr1.errors import InputError
from medr1.models import LoadedModel
from medr1.prompts import user_text
from medr1.records import Sample
from medr1.rewards import reward_functions
from medr1.train.inputs import most_tokens, open_images, prepare
from medr1.train.lengths import require_room
from medr1.train.settings import (
    TrainingSettings,
    lora_config,
    quantization_config,
    trainer_config,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig

    from medr1.train.resume import ExactResumeMixin


def build_trainer(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> ExactResumeMixin:
    """The trainer, ready to run: TRL's, with our prompts, images, rewards and checkpoints."""
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    from medr1.train.callbacks import AlarmLog, MetricsLog
    from medr1.train.finite import NonFiniteGuardMixin
    from medr1.train.resume import ExactResumeMixin
    from medr1.train.sampled import CompletionLogMixin, CompletionsLog
    from medr1.train.shared_prefix import SharedPrefixTrainer

    class WatchedGRPOTrainer(
        ExactResumeMixin, NonFiniteGuardMixin, CompletionLogMixin, GRPOTrainer
    ):
        """TRL's trainer, with the parts of ours that change what it does."""

    class SharingGRPOTrainer(SharedPrefixTrainer, WatchedGRPOTrainer):
        """The same, each prompt run once."""

    samples = fitting_samples(loaded, questions, settings)
    config: GRPOConfig = trainer_config(settings, loaded)
    if config.ddp_find_unused_parameters is None:  # with an image in every sample, there are none
        config.ddp_find_unused_parameters = not all(sample.images for sample in samples)
    longest = {"max_completion_length": config.max_completion_length}
    rewards: Any = reward_functions(settings.rewards, settings.prompt, **longest)
    output = settings.output_dir
    logs: list[Any] = [MetricsLog(output / "metrics.jsonl"), AlarmLog(output / "alarms.jsonl")]
    asked = questions.image_root, settings.prompt, loaded.info.answer_style
    trainer_class = SharingGRPOTrainer if settings.shared_prefix else WatchedGRPOTrainer
    config.model_init_kwargs = _reference_arguments(loaded, settings)
    trainer = trainer_class(
        model=loaded.model,
        reward_funcs=list(rewards),
        args=config,
        train_dataset=training_set(loaded.processor, samples, *asked),
        processing_class=loaded.processor,
        peft_config=lora_config(settings),
        callbacks=logs + list(callbacks),
    )
    config.model_init_kwargs = None  # no setting of the run, and not to be written with them
    if settings.completions_steps:
        path, every = output / "completions.jsonl", settings.completions_steps
        trainer.add_callback(CompletionsLog(path, every, trainer.samples))
    trainer.remove_callback(PrinterCallback)
    if quantization_config(settings) is not None:
        policy: Any = trainer.model
        for parameter in policy.parameters():  # TRL makes adapters of 4-bit weights 16 bits
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return trainer


def _reference_arguments(loaded: LoadedModel, settings: TrainingSettings) -> dict[str, Any] | None:
    """What TRL is to read a reference model with, which it does by itself: as ours is loaded.

    Else the attention and the generation settings that stand in the checkpoint would win.
    """
    if not settings.trainer.get("beta") or settings.model.get("use_peft"):
        return None
    model: Any = loaded.model
    if model.config.architectures != [type(model).__name__]:  # by which TRL chooses the class
        raise InputError(
            f"{loaded.path}/config.json: architectures is {str(model.config.architectures)[:60]}, "
            f"expected [{type(model).__name__}] where there is a beta. Correct it there."
        )
    return {
        "config": model.config,
        "generation_config": model.generation_config,
        "use_safetensors": True,
        "local_files_only": True,
    }


def fitting_samples(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> list[Sample]:
    """The samples as they are asked; InputError where one is unusable or its prompt too long.

    An outline of the model is enough, so that this can be known before its weights are read.
    """
    samples = prepare(loaded, questions, settings)
    without = next((sample for sample in samples if not sample.images), None)
    if without is not None and any(sample.images for sample in samples):
        raise InputError(
            f"item {without.id} has no image and others have: TRL's GRPO does not take both in one "
            "batch. Train on each kind by itself."
        )
    room = most_tokens(loaded) - (trainer_config(settings, loaded).max_completion_length or 0)
    room = min(room, settings.max_prompt_length or room)
    require_room(loaded, samples, questions.image_root, settings.prompt, room)
    return samples


def training_set(
    processor: Any, samples: Sequence[Sample], image_root: ImageRoot, prompt: str, style: str
) -> Dataset:
    """The samples as the columns TRL reads; an image is decoded once for the rows asked for."""
    from datasets import Dataset

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [samples[index] for index in batch["index"]]
        images = open_images(chosen, image_root, processor)
        return {
            "prompt": [[{"role": "user", "content": user_text(s, prompt, style)}] for s in chosen],
            "images": [[images[name] for name in s.images] for s in chosen],
            "id": [s.id for s in chosen],
            "solution": [s.ground_truth for s in chosen],
            "options": [dict(s.options) for s in chosen],
            "answer_type": [s.answer_type for s in chosen],
        }

    return Dataset.from_dict({"index": list(range(len(samples)))}).with_transform(rows)
