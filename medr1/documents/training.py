"""training.json, which `medr1 train` writes into a run's folder before the first step."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType


class TokenRange(Struct, frozen=True, kw_only=True):
    """The numbers of tokens of all items."""

    min: int
    mean: float
    """Rounded to one decimal."""
    max: int


class LongestPrompt(Struct, frozen=True, kw_only=True):
    """The item with the longest prompt."""

    id: str
    images: list[str]
    tokens: int
    """All tokens, with SFT those of the target included."""
    image: int
    """Image tokens."""


class PromptPlan(Struct, frozen=True, kw_only=True):
    """The prompts of a run."""

    min_pixels: int | UnsetType = UNSET
    """The least pixels of a resized image; only if the processor has such a limit."""
    max_pixels: int | UnsetType = UNSET
    """The most pixels of a resized image; only if the processor has such a limit."""
    image_tokens: TokenRange
    prompt_tokens: TokenRange
    target_tokens: TokenRange | UnsetType = UNSET
    """Only with SFT."""
    longest: LongestPrompt
    first: str
    """The first prompt, as text."""
    first_target: str | UnsetType = UNSET
    """The target of the first prompt, as text; only with SFT."""


class BatchParts(Struct, frozen=True, kw_only=True):
    """How --fit-memory splits the batches of a run, in each process."""

    parts: int
    """Number of parts of a batch; 1: it is not split."""
    batch_size: int
    """Completions of a part, with SFT items: those of one pass."""
    gradient_accumulation_steps: int
    """Number of passes of an update."""
    needed_bytes: int
    """The planned memory, without that of libraries."""
    device_bytes: int
    """The memory of the device; of several processes, the smallest."""


class TrainingPlan(Struct, frozen=True, kw_only=True):
    """The plan of a run: the data, the number of steps, the memory, and every setting.

    `medr1 train --dry-run --json` prints it.
    """

    model: str
    """The folder of the checkpoint that training starts from."""
    device: str
    dtype: str
    """The dtype that passes are computed in."""
    weights_dtype: str
    method: str
    prompt: str
    """The name of the prompt template."""
    rewards: list[str] | UnsetType = UNSET
    """Only with GRPO."""
    freeze_vision: bool
    shared_prefix: bool
    """Whether each prompt is run once for all its completions."""
    not_shared: str | UnsetType = UNSET
    """Why the prompts of this model cannot be shared, as a phrase; only with GRPO."""
    dropout: str | UnsetType = UNSET
    """What dropout means for shared prompts, as a phrase; unset if nothing is dropped."""
    question_order: str | UnsetType = UNSET
    """The order in which questions are drawn, as a phrase; unset if they are shuffled."""
    papo: tuple[float, float] | UnsetType = UNSET
    """The coefficients of PAPO and of its double entropy loss; unset if it is not used."""
    samples: int
    steps: int
    completions_per_step: int | UnsetType = UNSET
    """Only with GRPO."""
    prompts_per_step: int
    batch_parts: BatchParts | UnsetType = UNSET
    """Only with --fit-memory."""
    parameters: int
    trained_parameters: int
    sharding: str
    """none | replicated | fsdp | zero1 | zero2 | zero3"""
    processes: int
    bytes_per_process: dict[str, int]
    """Kind of memory, such as "weights" -> bytes."""
    prompts: PromptPlan
    trainer_fields: dict[str, object]
    """Fields of the method's configuration that were set: name -> value."""
    model_fields: dict[str, object]
    """Fields of TRL's ModelConfig and ScriptArguments that were set: name -> value."""
    data_sha256: str
    versions: dict[str, str]
    """Library -> version."""


class TrainingRecord(TrainingPlan, frozen=True, kw_only=True):
    """training.json: the plan, and the configuration by which a run is recognized."""

    configuration: dict[str, object]
    """Hashes of the model and the data, and every setting that changes what is learned."""


class TrainingField(Struct, frozen=True, kw_only=True):
    """A field of one of TRL's configurations, which `medr1 train` takes as an option."""

    name: str
    """The name in a YAML file."""
    option: str
    """The name on the command line."""
    config: str
    """The configuration of TRL that has it, such as GRPOConfig."""
    type: str
    """Its type, such as "float | null"."""
    choices: list[str]
    """The texts that it may have, if TRL names them; otherwise empty."""
    required: bool
    """Whether TRL has no default for it."""
    default: object
    """Its value if it is not set."""
    refused: str | None
    """Why it cannot be set, as a phrase; None if it can."""


class TrainingFields(Struct, frozen=True, kw_only=True):
    """What `medr1 train --fields --json` prints."""

    method: str
    fields: list[TrainingField]
