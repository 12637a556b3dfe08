"""Train a checkpoint with GRPO or SFT, or print the plan of such a run."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from medr1.data.scans.options import OWN_VIEW, ScanOptions
from medr1.errors import InputError, did_you_mean
from medr1.processes import is_first_process, require_forks
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_choice,
    require_writable,
)

if TYPE_CHECKING:
    from medr1.data.readers import Questions
    from medr1.documents.training import TrainingPlan
    from medr1.models.loading import LoadedModel
    from medr1.train.monitoring.best_checkpoint import Validation
    from medr1.train.settings import TrainingSettings
    from medr1.workflows.without_image import GreyImageAnswers

logger = logging.getLogger("medr1")

Method = Literal["grpo", "sft"]
"""The training method: reinforcement learning, or supervised fine-tuning."""


_OWN = (
    *("method", "prompt", "rewards", "min_pixels", "max_pixels", "completions_steps"),
    *("max_prompt_length", "freeze_vision", "shared_prefix", "rollout_url", "dynamic_sampling"),
    *("papo", "papo_entropy", "curriculum", "group_by_image", "group_by_length"),
)
"""The arguments of `run_training` that are settings of medr1 itself, and no fields of TRL."""


@dataclass(frozen=True)
class TrainingResult:
    """What `run_training` planned and wrote."""

    output_dir: Path
    """The folder of the checkpoint; with `dry_run` nothing is written to it."""
    plan: TrainingPlan
    """Steps, prompts, tokens, memory and every setting: the content of training.json, apart from
    the configuration."""


@dataclass(frozen=True)
class _PreparedRun:
    """A training run that is ready to start: everything is checked, the weights are not loaded."""

    settings: TrainingSettings
    questions: Questions
    """The training questions."""
    outline: LoadedModel
    """The model without its weights."""
    plan: TrainingPlan
    allow_template: bool
    """Whether a chat template that medr1 does not know is accepted."""


def run_training(
    *,
    model_path: str | Path,
    data: str | Path,
    output_dir: str | Path,
    method: Method = "grpo",
    answer_types: Sequence[str] = (),
    prompt: str = "nothink",
    rewards: Sequence[str] | None = None,
    eval_data: str | Path | None = None,
    eval_steps: int | None = None,
    completions_steps: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    max_prompt_length: int | None = None,
    fit_memory: bool = False,
    freeze_vision: bool = False,
    shared_prefix: bool = True,
    rollout_url: str | None = None,
    dynamic_sampling: int | None = None,
    curriculum: str | Path | None = None,
    group_by_image: bool = False,
    group_by_length: bool = False,
    papo: float | None = None,
    papo_entropy: float | None = None,
    image_root: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    allow_template: bool = False,
    offline: bool = False,
    scans: ScanOptions = OWN_VIEW,
    overwrite: bool = False,
    dry_run: bool = False,
    **fields: object,
) -> TrainingResult | None:
    """Train a checkpoint. An interrupted run resumes exactly, from its newest checkpoint.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id.
        data: File with the training questions, or folder with train.json.
        output_dir: Folder to write: the checkpoint, logs, plan and training.html.
        method: grpo: reinforcement learning; sft: supervised fine-tuning on the right answers.
        answer_types: Answer types to train on, of records.ANSWER_TYPES; (): all.
        prompt: Prompt template: a name or a text file that contains {problem}.
        rewards: Rewards of grpo: names of rewards.REWARDS or rewards.MODEL_REWARDS, or
            package.module:function; None: accuracy and format.
        eval_data: File with validation questions, or folder with validation.json. The best
            checkpoint is kept in the folder best.
        eval_steps: Number of steps between two validations; None: a tenth of the run.
        completions_steps: Number of steps between two logs of completions; 0: no such log; None:
            10.
        min_pixels: Smallest image, in pixels; None: the checkpoint's.
        max_pixels: Largest image, in pixels; None: the checkpoint's.
        max_prompt_length: Maximum length of a prompt with its images, in tokens; None: that of the
            model.
        fit_memory: Whether batches are split into smaller passes until the plan fits into memory.
        freeze_vision: Whether the vision tower is not trained.
        shared_prefix: Whether each prompt is processed once for all its completions.
        rollout_url: Address of a server that samples the completions of grpo; None: this process
            samples them.
        dynamic_sampling: The most further draws that replace questions whose completions all have
            the same reward; None or 0: none are replaced.
        curriculum: File of pass rates, from `filter_data`: questions are drawn from easy to hard in
            the first pass over the data; None: they are shuffled.
        group_by_image: Whether the questions of one image are drawn together.
        group_by_length: Whether the batches of an update are arranged by length.
        papo: Coefficient of PAPO's divergence of the policy with the image from that with a masked
            image, which is raised; None or 0: it is not used.
        papo_entropy: Coefficient of PAPO's double entropy loss; None: 0.
        image_root: Folder with the images; None: the folder of the questions.
        device: auto, cuda, mps or cpu.
        dtype: Data type to compute in: auto, bfloat16, float16 or float32.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        scans: How DICOM, NIfTI and slides are shown.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.
        dry_run: Whether only the plan is made.
        **fields: Fields of TRL's GRPOConfig (or SFTConfig), ModelConfig and ScriptArguments:
            learning_rate=1e-6, max_steps=100, use_peft=True.

    Returns:
        The folder and the plan; None under torchrun in all processes but the first.

    Raises:
        InputError: An argument, the data or the checkpoint cannot be used, or the output belongs
            to another run.
        LockedError: Another process is writing to the folder.
        StateError: A file of the interrupted run is damaged.
        OutputError: The disk is full, or the folder cannot be written.
        NonFiniteError: A reward, a loss or a gradient is not a finite number.
        StoppedBySignal: After SIGTERM or SIGUSR1; the run was saved.
        ModuleNotFoundError: A field needs a package that is not installed.
    """
    arguments: dict[str, Any] = {
        **locals(),  # here, where there are no other names yet
        "curriculum": curriculum and str(curriculum),
        "group_by_image": group_by_image or None,
        "group_by_length": group_by_length or None,
    }
    require_forks("medr1 train")
    own_settings = {name: arguments[name] for name in _OWN if arguments[name] is not None}
    _require_fields(method, prompt, [*own_settings, *fields], fields)
    data_files = _data_files(data, eval_data, image_root, answer_types, scans)
    run = _prepare(
        {**fields, **own_settings},
        data_files,
        Path(output_dir),
        model_path=model_path,
        device=device,
        dtype=dtype,
        allow_template=allow_template,
        offline=offline,
        overwrite=overwrite,
        fit_memory=fit_memory,
    )
    if not dry_run:
        _train_or_resume(run, data_files, eval_steps, offline=offline, overwrite=overwrite)
    return TrainingResult(Path(output_dir), run.plan) if is_first_process() else None


def known_fields(method: Method | None = None) -> set[str]:
    """The names of TRL's fields that may be set with a method; None: with any method."""
    from medr1.train.fields import CONFIGS, model_fields, trainer_fields

    methods = CONFIGS if method is None else (method,)
    return {*model_fields(), *(name for owner in methods for name in trainer_fields(owner))}


def _require_fields(
    method: Method, prompt: str, names: Sequence[str], fields: Mapping[str, object]
) -> None:
    """InputError for an unknown method, field or prompt, or a field or setting of the other method.

    It is called before data and model are read.
    """
    from medr1.prompts import training_template
    from medr1.train.fields import require_method_fields

    require_choice("method", method, get_args(Method))
    for name in sorted(fields.keys() - known_fields()):
        hint = did_you_mean(name, known_fields(method), "See TRL's configuration of the method.")
        raise InputError(f"unknown field {name!r}. {hint}")
    require_method_fields(method, names)
    training_template(prompt)


@dataclass(frozen=True)
class _DataFiles:
    """Where the questions of a run are."""

    data: Path
    """File or folder with the training questions."""
    eval_data: Path | None
    """File or folder with the validation questions, if there are any."""
    image_root: Path | None
    answer_types: tuple[str, ...]
    """The answer types to use; () for all."""
    scans: ScanOptions
    """How scans are shown."""

    def training(self, split: str) -> Questions:
        """The training questions; `split` is read if the data is a folder."""
        from medr1.data.readers import read_questions, split_file

        questions = read_questions(
            split_file(self.data, split), image_root=self.image_root, scans=self.scans
        )
        return questions.only(self.answer_types) if self.answer_types else questions

    def validation(self, run: _PreparedRun) -> Questions | None:
        """The validation questions, which must not be those of training; None if there are none."""
        if not self.eval_data:
            return None
        from medr1.workflows.held_out import validation_questions

        split = str(run.settings.model.get("dataset_test_split", "validation"))
        questions = validation_questions(self.eval_data, split, run.questions, scans=self.scans)
        return questions.only(self.answer_types) if self.answer_types else questions


def _data_files(
    data: str | Path,
    eval_data: str | Path | None,
    image_root: str | Path | None,
    answer_types: Sequence[str],
    scans: ScanOptions,
) -> _DataFiles:
    """The arguments of `run_training` that say where the questions are."""
    folder, eval_path = optional_path(image_root), optional_path(eval_data)
    return _DataFiles(Path(data), eval_path, folder, tuple(answer_types), scans)


def _prepare(
    values: dict[str, object],
    data_files: _DataFiles,
    output: Path,
    *,
    model_path: str | Path,
    device: str,
    dtype: str,
    allow_template: bool,
    offline: bool,
    overwrite: bool,
    fit_memory: bool,
) -> _PreparedRun:
    """Read the questions, check the settings and make the plan, before the weights are loaded.

    `values` are medr1's own settings and TRL's fields by name.
    """
    from medr1.checkpoints.adapters import find_base
    from medr1.checkpoints.finding import is_adapter
    from medr1.models.loading import choose_device, choose_dtype, find_checkpoint, load_outline
    from medr1.train.recovery.signals import end_with_launcher

    end_with_launcher()
    dtype, device = _dtype_of(values, dtype), _device_of(values, device)
    if offline:
        os.environ["WANDB_MODE"] = "offline"
    require_writable(output / "training.json")
    questions = data_files.training(str(values.get("dataset_train_split", "train")))
    checkpoint = find_checkpoint(str(model_path), offline=offline)
    base = find_base(checkpoint, offline=offline) if is_adapter(checkpoint) else None
    inputs = [data_files.data, data_files.eval_data, data_files.image_root]
    inputs += [Path(str(values[name])) for name in ("prompt", "curriculum") if name in values]
    keep_apart(output, [*inputs, checkpoint, base], overwrite)

    # Imported after the checks above, because these modules also load torch and the trainers.
    from medr1.train.dry_run.vllm_checks import require_vllm
    from medr1.train.run import resolve_plan
    from medr1.train.settings import settings_from

    compute_dtype = str(choose_dtype(dtype, choose_device(device))).removeprefix("torch.")
    settings = settings_from({**values, "dtype": compute_dtype}, output)
    if settings.trainer.get("use_vllm"):
        require_vllm(choose_device(device))
    weights_dtype = compute_dtype if settings.model.get("use_peft") else "float32"
    outline = load_outline(
        checkpoint,
        device=device,
        dtype=weights_dtype,
        offline=offline,
        allow_template=allow_template,
    )
    plan = resolve_plan(outline, questions, settings)
    if fit_memory:
        settings, plan = _fitted(settings, plan, outline, overwrite=overwrite)
    return _PreparedRun(settings, questions, outline, plan, allow_template)


def _fitted(
    settings: TrainingSettings, plan: TrainingPlan, outline: LoadedModel, *, overwrite: bool
) -> tuple[TrainingSettings, TrainingPlan]:
    """The settings and the plan with batches that are split until the plan fits into memory."""
    from medr1.models.device_memory import device_memory
    from medr1.train.dry_run.memory_fit import fit_memory
    from medr1.train.recovery.run_state import recorded_run

    may_resume = is_first_process() and not overwrite
    recorded = recorded_run(settings.output_dir) if may_resume else None
    return fit_memory(settings, plan, outline, device_memory(outline.device), recorded)


def _is_true(value: object) -> bool:
    """Whether the value of a field, which may be a text, means true."""
    return str(value).lower() in ("true", "1", "yes")


def _dtype_of(values: dict[str, object], dtype: str) -> str:
    """The data type to compute in: `dtype`, or the one that TRL's bf16 or fp16 asks for.

    These two are removed from `values`, since `trainer_config` sets them. InputError if they and
    `dtype` differ.
    """
    for name, kind in (("bf16", "bfloat16"), ("fp16", "float16")):
        if not _is_true(values.pop(name, False)):
            continue
        if dtype not in ("auto", kind):
            raise InputError(
                f"--{name} and --dtype {dtype} contradict each other. Give one of them."
            )
        dtype = kind
    return dtype


def _device_of(values: dict[str, object], device: str) -> str:
    """The device, or "cpu" with TRL's use_cpu, which is removed from `values`.

    InputError if the two differ.
    """
    if not _is_true(values.pop("use_cpu", False)):
        return device
    if device not in ("auto", "cpu"):
        raise InputError(
            f"--use-cpu and --device {device} contradict each other. Give one of them."
        )
    return "cpu"


def _train_or_resume(
    run: _PreparedRun,
    data_files: _DataFiles,
    eval_steps: int | None,
    *,
    offline: bool,
    overwrite: bool,
) -> None:
    """Train in the output folder, from the newest checkpoint there; nothing if it is finished."""
    from medr1.files import clear_temporaries
    from medr1.models.loading import load_model
    from medr1.report.pages.training import write_training_page
    from medr1.train.recovery.run_state import configuration, inspect_run_folder, locked_run_folder
    from medr1.train.run import train
    from medr1.train.settings import quantization_config

    settings, questions, outline = run.settings, run.questions, run.outline
    output, is_first = settings.output_dir, is_first_process()
    held_back = data_files.validation(run)
    run_configuration = (
        configuration(settings, outline.path, questions, held_back) if is_first else {}
    )
    run_state = inspect_run_folder(output, run_configuration, overwrite=overwrite, first=is_first)
    if run_state.is_finished:
        if is_first:
            clear_temporaries(output)
        logger.info("%s is finished already. To train again, give --overwrite.", output)
        return
    loaded = load_model(
        outline.path,
        device=outline.device.type,
        dtype=str(outline.dtype).removeprefix("torch."),
        attention=settings.model.get("attn_implementation"),
        allow_template=run.allow_template,
        offline=offline,
        quantization=quantization_config(settings),
    )
    validation = _validation_on(held_back, eval_steps, loaded, settings) if held_back else None
    with locked_run_folder(output, run_state, overwrite=overwrite, first=is_first):
        try:
            train(
                loaded,
                questions,
                settings,
                validation=validation,
                run_state=run_state,
                plan=run.plan,
                answers_without_image=_answers_without_image(loaded, questions, settings),
            )
        finally:
            if is_first:
                write_training_page(output, stopped_by=sys.exc_info()[1], questions=questions)


def _answers_without_image(
    loaded: LoadedModel, questions: Questions, settings: TrainingSettings
) -> GreyImageAnswers | None:
    """What answers the questions with grey images during a run of GRPO."""
    from medr1.train.settings import trainer_config
    from medr1.workflows.without_image import GreyImageAnswers

    length = getattr(trainer_config(settings, loaded), "max_completion_length", None)
    if settings.method != "grpo" or length is None:
        return None
    return GreyImageAnswers(loaded, questions.image_root, settings.prompt, length)


def _validation_on(
    held_back: Questions, every: int | None, loaded: LoadedModel, settings: TrainingSettings
) -> Validation:
    """The validation of a run: greedy accuracy on the validation questions, every N steps."""
    from medr1.records import Decoding
    from medr1.train.dry_run.plan import current_sharding
    from medr1.train.monitoring.best_checkpoint import Validation
    from medr1.train.settings import trainer_config
    from medr1.workflows.held_out import HeldOutEvaluator

    config = trainer_config(settings, loaded)
    evaluator = HeldOutEvaluator(
        loaded,
        held_back,
        settings.prompt,
        max_new_tokens=getattr(config, "max_completion_length", None) or Decoding.max_new_tokens,
        batch_size=config.per_device_eval_batch_size,
    )
    # With weights split over processes, each forward pass needs all processes: then every process
    # answers all questions. Otherwise each process answers its share.
    divided = current_sharding().weights == 1
    return Validation(lambda: evaluator.accuracy(divided=divided), every)
