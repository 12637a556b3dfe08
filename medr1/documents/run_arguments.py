"""The arguments of a run of `medr1 infer`, and of an evaluation, as records and cards hold them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from medr1.records import Edit


class InferenceArguments(Struct, frozen=True, kw_only=True):
    """What `medr1 infer` was asked to do: the arguments of `run_inference` that decide answers.

    Not among them are the output, --overwrite and --offline, and --allow-template, which whoever
    runs the model has to decide.
    """

    model_path: str
    """As it was given: a folder, a short name, a hub id, or the name of the model on a server."""
    batch_file: str
    """As it was given, relative to the folder in which the command ran."""
    image_root: str | None = None
    limit: int | None = None
    batch_size: int = 1
    prompt: str | None = None
    """The name or file that was given; None for the checkpoint's own prompt."""
    mode: Literal["generate", "options", "both"] = "both"
    permute: int = 1
    num_samples: int = 0
    dropout_samples: int = 0
    max_new_tokens: int = 512
    do_sample: bool = False
    temperature: float = 0.7
    ablate_image: Literal["none", "blank", "noise", "shuffle"] = "none"
    token_logprobs: bool = False
    reasoning_from: str | None = None
    edit: Edit | None = None
    seed: int = 0
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    server: dict[str, object] | None = None
    """The fields of `medr1.chat.settings.Server`; None for a model in the process."""
    scans: dict[str, object] = {}
    """The fields of `medr1.data.scans.options.ScanOptions`."""


class EvaluationArguments(Struct, frozen=True, kw_only=True):
    """What `medr1 eval` was asked to do, as far as it decides accuracy and baselines."""

    protocol: str = "default"
    """As it was given: "all" and "authors" stand for other protocols."""
    data: str | None = None
    train_data: str | None = None
    columns: dict[str, str] = {}
    metrics: list[str] | None = None
    group_by: list[str] = []
    cluster_by: str = "image"
    seed: int = 0
