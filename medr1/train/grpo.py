"""GRPO on a vision-language model: TRL's GRPOTrainer with medical questions and medr1's rewards.

    for each step:
        draw P prompts; sample G completions of each from the policy       num_generations = G
        r_g = sum_k w_k * reward_k(completion_g)                             rewards/
        A_g = (r_g - mean_G r) / (std_G r + 1e-4)                          scale_rewards = "group"
        rho_t = pi(token_t) / pi_old(token_t)
        L = -mean_t min(rho_t A, clip(rho_t, 1 - eps, 1 + eps) A) + beta KL(pi || ref)

It differs from the GRPO paper (arXiv 2402.03300) where TRL's defaults do:

- beta is 0, so there is no reference model.
- There is one update per batch, so rho is 1 at the update.
- The loss is the mean over all tokens of the batch (loss_type "dapo"). The paper's mean over each
  completion first makes each token of a short completion count more.
- With a beta above 0, the KL is multiplied by rho. Without that, its gradient is not the gradient
  of the reverse KL (arXiv 2512.02556). `use_bias_correction_kl: false` is the paper's way.

README.md in this folder has the complete algorithm in plain PyTorch, and tests/train/test_losses.py
compares the trainer with it.

Images and prompts of a Qwen-VL are run once for all G completions, and stock TRL runs them G times;
the numbers are the same (shared_prefix/trainer.py). Models of other families are trained by stock
TRL. To run it:

    medr1 train --config configs/tiny.yaml --output-dir output/tiny
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from medr1.data.readers import Questions
from medr1.data.roots import ImageRoot
from medr1.errors import InputError
from medr1.models.loading import LoadedModel
from medr1.prompts import chat_turns
from medr1.records import Sample
from medr1.rewards import reward_functions, reward_with_column
from medr1.train.dry_run.prompt_lengths import require_room
from medr1.train.dry_run.trl_limits import (
    not_shared_reason,
    require_passed_fields,
    start_is_written_twice,
)
from medr1.train.dynamic_sampling import require_complete_groups
from medr1.train.inputs import max_tokens, open_images, prepare_samples
from medr1.train.question_order import question_order
from medr1.train.rollouts.checks import require_rollout_settings
from medr1.train.settings import (
    TrainingSettings,
    lora_config,
    quantization_config,
    trainer_config,
)
from medr1.train.without_image import COLUMN, require_images

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig

    from medr1.train.recovery.exact_resume import ExactResumeMixin


def build_trainer(
    loaded: LoadedModel,
    questions: Questions,
    settings: TrainingSettings,
    callbacks: Sequence[TrainerCallback] = (),
) -> ExactResumeMixin:
    """TRL's trainer, ready to run, with medr1's prompts, images, rewards and checkpoints.

    Args:
        loaded: The model to train and its processor.
        questions: The questions to train on.
        settings: The settings of the run.
        callbacks: Further callbacks of the trainer, besides those that write its logs.

    Raises:
        InputError: A setting or an item cannot be used (`fitting_samples`, `trainer_config`).
    """
    from transformers import PrinterCallback

    from medr1.train.monitoring.completions_log import CompletionsLog
    from medr1.train.monitoring.metrics_log import AlarmLog, MetricsLog

    samples = fitting_samples(loaded, questions, settings)
    config = grpo_config(settings, loaded)
    if config.ddp_find_unused_parameters is None:
        # the vision tower is used in every batch only if each sample has an image
        config.ddp_find_unused_parameters = not all(sample.images for sample in samples)
    output = settings.output_dir
    rewards = reward_functions(
        settings.rewards,
        settings.prompt,
        max_completion_length=config.max_completion_length,
        judge_cache=output / "judge.jsonl",
    )
    logs: list[TrainerCallback] = [
        MetricsLog(output / "metrics.jsonl"),
        AlarmLog(output / "alarms.jsonl"),
    ]
    prompt_arguments = questions.image_root, settings.prompt, loaded.info.answer_style
    shares = settings.shared_prefix and not_shared_reason(loaded.model, config) is None
    config.model_init_kwargs = _reference_arguments(loaded, settings)
    trainer = _trainer_class(shares)(
        model=loaded.model,
        reward_funcs=list(rewards),
        args=config,
        train_dataset=training_set(loaded, samples, *prompt_arguments),
        processing_class=loaded.processor,
        peft_config=lora_config(settings, loaded.model),
        callbacks=logs + list(callbacks),
    )
    trainer.samples_of_rows = samples
    if settings.rollout_url:
        trainer.sample_by_server(settings.rollout_url)
    trainer.dynamic_sampling = settings.dynamic_sampling
    trainer.question_order = question_order(settings, questions, config)
    if settings.group_by_length:
        trainer.arrange_by_length(shares=shares)
    if settings.papo:
        from medr1.train.masked_image import black_patch

        trainer.papo, trainer.papo_entropy = settings.papo, settings.papo_entropy
        trainer.black_patch = black_patch(loaded.processor)
    config.model_init_kwargs = None  # it is no setting of the run, and must not be saved with them
    if settings.completions_steps:
        path, num_steps = output / "completions.jsonl", settings.completions_steps
        trainer.add_callback(CompletionsLog(path, num_steps, trainer.samples))
    trainer.remove_callback(PrinterCallback)
    policy = trainer.model
    if quantization_config(settings) is not None and policy is not None:
        # TRL converts the adapters of 4-bit weights to 16 bits
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    watched: ExactResumeMixin = trainer
    return watched


def _trainer_class(shares: bool) -> Any:
    """TRL's trainer with what medr1 adds; `shares`: each prompt is run once for its completions."""
    from trl import GRPOTrainer

    from medr1.train.dynamic_sampling import DynamicSamplingMixin
    from medr1.train.gathered_weights import GatheredWeightsMixin
    from medr1.train.masked_image import MaskedImageMixin
    from medr1.train.monitoring.completions_log import CompletionLogMixin
    from medr1.train.question_order import QuestionOrderMixin
    from medr1.train.recovery.exact_resume import ExactResumeMixin
    from medr1.train.recovery.nonfinite_guard import NonFiniteGuardMixin
    from medr1.train.rollouts.trainer import ServerRolloutMixin
    from medr1.train.shared_prefix.arranged_batches import ArrangedBatchesMixin
    from medr1.train.shared_prefix.trainer import SharedPrefixTrainer
    from medr1.train.without_image import WithoutImageMixin

    class WatchedGRPOTrainer(
        ExactResumeMixin,
        CompletionLogMixin,
        QuestionOrderMixin,
        DynamicSamplingMixin,
        NonFiniteGuardMixin,
        WithoutImageMixin,
        GatheredWeightsMixin,
        ArrangedBatchesMixin,
        ServerRolloutMixin,
        GRPOTrainer,
    ):
        """TRL's trainer with exact resuming, checks for finite numbers and logged completions."""

    class StockGRPOTrainer(MaskedImageMixin, WatchedGRPOTrainer):
        """The trainer, which runs each prompt for each of its completions."""

    class SharingGRPOTrainer(MaskedImageMixin, SharedPrefixTrainer, WatchedGRPOTrainer):
        """The same trainer, which runs each prompt once for all its completions."""

    return SharingGRPOTrainer if shares else StockGRPOTrainer


def grpo_config(settings: TrainingSettings, loaded: LoadedModel) -> GRPOConfig:
    """TRL's configuration for these settings, whose method is GRPO."""
    from trl import GRPOConfig

    config = trainer_config(settings, loaded)
    assert isinstance(config, GRPOConfig)
    # TRL renders a prompt and then encodes the text, where the tokenizer of a Gemma 3 writes the
    # start token a second time: the token types would stand one place too far. Without it in the
    # template, each text has the one of the tokenizer.
    if start_is_written_twice(loaded):
        arguments = config.chat_template_kwargs or {}
        assert isinstance(arguments, dict), "convert_values has read it"
        config.chat_template_kwargs = {**arguments, "bos_token": ""}
    return config


def _reference_arguments(
    loaded: LoadedModel, settings: TrainingSettings
) -> dict[str, object] | None:
    """The arguments with which TRL loads its reference model; None if the run has none.

    They make it equal to the policy. Without them, TRL would use the attention and the generation
    settings of the checkpoint's files.
    """
    if not settings.trainer.get("beta") or settings.model.get("use_peft"):
        return None
    model = loaded.model
    if model.config.architectures != [type(model).__name__]:  # TRL chooses the class by this name
        raise InputError(
            f"{loaded.path}/config.json: architectures is {str(model.config.architectures)[:60]}, "
            f"expected [{type(model).__name__}] in a run with a beta. Correct the file."
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
    """The samples to train on, after a check that all of them can be used.

    Args:
        loaded: The model; an outline is enough, so the check can run before the weights are read.
        questions: The questions to train on.
        settings: The settings of the run.

    Raises:
        InputError: An item has no ground truth, only some items have images, a reward pays for the
            use of images and there are none, TRL cannot train this model on them, or a prompt is
            longer than `max_prompt_length` or leaves no room for `max_completion_length` tokens.
    """
    samples = prepare_samples(loaded, questions, settings)
    without_image = next((sample for sample in samples if not sample.images), None)
    if without_image is not None and any(sample.images for sample in samples):
        raise InputError(
            f"item {without_image.id} has no image and others have one, which TRL's GRPO does not "
            "accept. Train on each kind of item separately."
        )
    if image_reward := reward_with_column(settings.rewards, COLUMN):
        require_images(samples, image_reward)
    if settings.papo:
        from medr1.train.masked_image import require_maskable

        require_maskable(loaded, samples)
    config = grpo_config(settings, loaded)
    room = max_tokens(loaded) - (config.max_completion_length or 0)
    if settings.rollout_url:
        require_rollout_settings(
            config,
            is_quantized=quantization_config(settings) is not None,
            dynamic_sampling=settings.dynamic_sampling,
        )
        config.use_vllm = True  # it scores completions before updates, as with TRL's own servers
    if settings.dynamic_sampling:
        require_complete_groups(config)
    require_passed_fields(loaded, samples, config)
    room = min(room, settings.max_prompt_length or room)
    require_room(loaded, samples, questions.image_root, settings.prompt, room)
    return samples


def training_set(
    loaded: LoadedModel, samples: Sequence[Sample], image_root: ImageRoot, prompt: str, style: str
) -> Dataset:
    """The samples as a dataset with the columns that TRL and the rewards read.

    Images are opened when rows are read, each image once for all rows that are read together.

    Args:
        loaded: The model, for its processor and family.
        samples: The samples, one for each row.
        image_root: Where relative image paths start.
        prompt: The prompt template, as in `prompts.template`.
        style: The style of answers that the prompt asks for, "letter" or "text".
    """
    from datasets import Dataset

    # The data set pickles everything that `rows` refers to: that must not be the model.
    processor, family = loaded.processor, loaded.family

    def rows(batch: dict[str, list[int]]) -> dict[str, list[object]]:
        chosen = [samples[index] for index in batch["index"]]
        images = open_images(chosen, image_root, processor, family)
        # TRL puts the images before the text of the first user turn, as `chat_messages` does
        return {
            "prompt": [[asdict(turn) for turn in chat_turns(s, prompt, style)] for s in chosen],
            "images": [[images[name] for name in s.images] for s in chosen],
            "index": list(batch["index"]),
            "id": [s.id for s in chosen],
            "solution": [s.ground_truth for s in chosen],
            "options": [dict(s.options) for s in chosen],
            "answer_type": [s.answer_type for s in chosen],
            "question": [s.question for s in chosen],
            "conversation": [s.conversation for s in chosen],
            "modality": [s.modality for s in chosen],
            "metadata": [dict(s.metadata) for s in chosen],
        }

    return Dataset.from_dict({"index": list(range(len(samples)))}).with_transform(rows)
