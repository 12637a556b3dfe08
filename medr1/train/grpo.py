"""GRPO on a vision-language model: TRL's GRPOTrainer, given medical questions and verdicts.

    for each step:
        draw P prompts; sample G completions of each from the policy      num_generations = G
        r_g = sum_k w_k * reward_k(completion_g)                           rewards.py
        A_g = (r_g - mean_G r) / (std_G r + 1e-4)                          scale_rewards = "group"
        rho_t = pi(token_t) / pi_old(token_t)
        L = -mean_t min(rho_t A, clip(rho_t, 1 - eps, 1 + eps) A) + beta KL(pi || ref)

Where it departs from the GRPO paper (arXiv 2402.03300), as TRL's defaults do: beta is 0, so there
is no reference model; one update a batch, so rho is 1 at the update; and the mean over tokens runs
over the whole batch (loss_type "dapo"), which does not favour short right answers.

    medr1 train --config configs/tiny.yaml --output-dir output/tiny
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medr1.data.images import load_image, resolve_image
from medr1.data.readers import Questions
from medr1.models import LoadedModel, control_tokens
from medr1.prompts import as_plain_text, user_text
from medr1.records import Sample
from medr1.rewards import reward_functions
from medr1.train.lengths import require_room, set_pixel_limits
from medr1.train.settings import TrainingSettings, lora_config, trainer_config

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback

    from medr1.train.resume import ExactResume


def build_trainer(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> ExactResume:
    """The trainer, ready to run: TRL's, with our prompts, images, rewards and checkpoints."""
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    from medr1.train.callbacks import MetricsLog
    from medr1.train.resume import ExactResume

    class MedicalGRPOTrainer(ExactResume, GRPOTrainer):
        """TRL's trainer, with the parts of ours that change what it does."""

    tokens = control_tokens(loaded.processor)
    samples = [as_plain_text(sample, tokens) for sample in questions.require_complete()]
    config = trainer_config(settings, loaded)
    set_pixel_limits(loaded.processor, settings.min_pixels, settings.max_pixels)
    room = loaded.model.config.get_text_config().max_position_embeddings
    room -= config.max_completion_length or 0
    room = min(room, settings.max_prompt_length or room)
    require_room(loaded, samples, questions.image_root, settings.prompt, room)
    if settings.freeze_vision:
        loaded.model.model.visual.requires_grad_(False)
    rewards = reward_functions(
        settings.rewards, settings.prompt, max_completion_length=config.max_completion_length
    )
    reward_funcs: list[Any] = list(rewards)
    trainer = MedicalGRPOTrainer(
        model=loaded.model,
        reward_funcs=reward_funcs,
        args=config,
        train_dataset=training_set(
            samples, questions.image_root, settings.prompt, loaded.info.answer_style
        ),
        processing_class=loaded.processor,
        peft_config=lora_config(settings),
        callbacks=[MetricsLog(settings.output_dir / "metrics.jsonl"), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.ref_model is not None:  # TRL reads the base again, which an adapter here is not
        reference = trainer.accelerator.unwrap_model(trainer.ref_model)
        reference.load_state_dict(loaded.model.state_dict())
    return trainer


def training_set(samples: Sequence[Sample], image_root: Path, prompt: str, style: str) -> Dataset:
    """The samples as the columns TRL reads; images are decoded when a row is asked for."""
    from datasets import Dataset

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [samples[index] for index in batch["index"]]
        return {
            "prompt": [[{"role": "user", "content": user_text(s, prompt, style)}] for s in chosen],
            "images": [
                [load_image(resolve_image(name, image_root)).image for name in s.images]
                for s in chosen
            ],
            "id": [s.id for s in chosen],
            "solution": [s.ground_truth for s in chosen],
            "options": [dict(s.options) for s in chosen],
            "answer_type": [s.answer_type for s in chosen],
        }

    return Dataset.from_dict({"index": list(range(len(samples)))}).with_transform(rows)
