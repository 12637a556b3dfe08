"""Answer one question about an image, or all questions of a batch file."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, get_args

from medr1.data.scans.options import OWN_VIEW, ScanOptions
from medr1.errors import InputError, ItemError
from medr1.files import similar_file
from medr1.records import Edit
from medr1.workflows.arguments import (
    keep_apart,
    optional_path,
    require_at_least,
    require_choice,
    require_writable,
)
from medr1.workflows.edited_reasoning import EditedRun, edited_run
from medr1.workflows.embedded_model import warn_of_embedded_model
from medr1.workflows.engines import chosen_bits, open_engine

if TYPE_CHECKING:
    from medr1.chat.settings import Server
    from medr1.data.readers import Questions
    from medr1.data.roots import ImageRoot
    from medr1.infer.batch import BatchOutcome
    from medr1.infer.engine import Engine
    from medr1.records import Decoding, Prediction, Sample

logger = logging.getLogger("medr1")

Mode = Literal["generate", "options", "both"]
"""How an item is answered: by a completion, by the options' probabilities, or by both."""
Ablation = Literal["none", "blank", "noise", "shuffle"]
"""What replaces the image, to measure how much it matters."""
QuestionType = Literal["open", "multiple_choice", "yes_no"]
"""The type of an answer."""
OnText = Callable[["Sample", str, bool], None]
"""Receives the question, a piece of its completion, and whether that piece is the last."""


def answer_question(
    *,
    model_path: str | Path,
    image_path: str | Path,
    question: str,
    options: Sequence[str] = (),
    question_type: QuestionType | None = None,
    prompt: str | None = None,
    mode: Mode = "both",
    permute: int = 1,
    num_samples: int = 0,
    dropout_samples: int = 0,
    max_new_tokens: int = 512,
    do_sample: bool = False,
    temperature: float = 0.7,
    ablate_image: Ablation = "none",
    token_logprobs: bool = False,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    load_in_4bit: bool = False,
    load_in_8bit: bool = False,
    allow_template: bool = False,
    offline: bool = False,
    server: Server | None = None,
    scans: ScanOptions = OWN_VIEW,
    on_text: OnText | None = None,
) -> Prediction:
    """Answer one question about an image.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id; with
            `server`, the name of the model there.
        image_path: File with the image, or folder with a DICOM series.
        question: The question; it may contain the options: "... A)CT, B)MRI".
        options: The answer options, if they are not in the question.
        question_type: Type of the answer; None: detected from the question.
        prompt: Prompt template: a name or a text file; None: the checkpoint's, else nothink, or
            bare for questions without options.
        mode: What is computed: a completion, the probability of each option, or both.
        permute: Number of rotations of the options over which probabilities are averaged.
        num_samples: Number of additional completions sampled.
        dropout_samples: Number of additional passes with dropout on.
        max_new_tokens: Maximum length of a completion, in tokens.
        do_sample: Whether the completion is sampled; otherwise it is decoded greedily.
        temperature: Sampling temperature, for do_sample and num_samples.
        ablate_image: Replacement of the image: none, blank or noise.
        token_logprobs: Whether the log-probability of each token of the completion is computed,
            with the image and without it.
        seed: Seed of all sampling.
        device: auto, cuda, mps or cpu.
        dtype: auto, bfloat16, float16 or float32.
        load_in_4bit: Whether the language model is loaded with 4 bits for each weight; not with
            server.
        load_in_8bit: Whether it is loaded with 8 bits for each weight; not with server.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        server: The OpenAI-compatible server that answers; None: the model runs in this process.
            It replaces device, dtype, allow_template and offline.
        scans: How DICOM, NIfTI and slides are shown.
        on_text: Receives the completion piece by piece while it is generated; not from a server.

    Raises:
        InputError: An argument, the question or the checkpoint cannot be used.
        ItemError: The image cannot be used, or the model's numbers are not finite.
        ModuleNotFoundError: load_in_4bit or load_in_8bit needs bitsandbytes.
    """
    from medr1.infer.engine import InferencePlan, all_predictions

    bits = chosen_bits(load_in_4bit, load_in_8bit, server)
    require_choice("question_type", question_type, get_args(QuestionType))
    if ablate_image == "shuffle":
        raise InputError("--ablate-image shuffle needs the images of a --batch-file.")
    decoding = _decoding(
        prompt,
        mode=mode,
        permute=permute,
        num_samples=num_samples,
        dropout_samples=dropout_samples,
        max_new_tokens=max_new_tokens,
        do_sample=do_sample,
        temperature=temperature,
        ablate_image=ablate_image,
        token_logprobs=token_logprobs,
    )
    sample, root = _sample_of(image_path, question, question_type, options, scans)
    if dropout_samples and sample.answer_type in ("open", "count"):
        raise InputError("--dropout-samples needs a question with options, or a yes/no question.")
    engine = open_engine(
        *(model_path, decoding, server, device, dtype, allow_template, offline, bits),
        on_text=partial(on_text, sample) if on_text else None,
    )
    warn_of_embedded_model(model_path, [sample], root, server, offline)
    plan = InferencePlan([[0]], root, prompt=prompt, decoding=decoding, seed=seed)
    (prediction,) = all_predictions(engine, [sample], plan)
    if prediction.error is not None:
        raise ItemError(prediction.error.code, prediction.error.message)
    return prediction


def _sample_of(
    image_path: str | Path,
    question: str,
    question_type: QuestionType | None,
    options: Sequence[str],
    scans: ScanOptions,
) -> tuple[Sample, ImageRoot]:
    """The sample of a question about one image, and the folder of the image."""
    from medr1.data.readers import sample_from_question

    image, root = _place_of(image_path)
    sample = sample_from_question(question, (image,), question_type, tuple(options))
    return _with_scan(sample, root, scans), root


def _place_of(image_path: str | Path) -> tuple[str, ImageRoot]:
    """The absolute path of an image, which may have a view, and its folder.

    It is absolute, because a relative path has to lie below the image root. That rule is for paths
    in files; this one was given by the user.

    Raises:
        InputError: There is no such file.
    """
    from medr1.data.roots import ImageRoot
    from medr1.data.scans.private_names import is_alias
    from medr1.data.scans.view import split_view

    image = str(Path(image_path).expanduser().absolute())
    path = Path(split_view(image)[0])
    if not os.path.exists(path) and not is_alias(path.name):
        raise InputError(f"image file not found: {image_path}. {similar_file(path)}")
    return image, ImageRoot(path.parent)


def _with_scan(sample: Sample, root: ImageRoot, scans: ScanOptions) -> Sample:
    """The sample with the parts of its scan; nothing is written beside the image.

    ItemError if the image cannot be used, before a model is loaded for it.
    """
    from medr1.data.images import image_size
    from medr1.data.roots import resolve_image
    from medr1.data.scans.items import show_scans

    (with_scan,), failures = show_scans([sample], root, scans, is_temporary=True)
    for failure in failures.values():
        raise ItemError(failure.code, failure.message)
    for name in with_scan.images:
        image_size(resolve_image(name, root))
    return with_scan


def run_inference(
    *,
    model_path: str | Path,
    batch_file: str | Path,
    output_file: str | Path,
    image_root: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 1,
    prompt: str | None = None,
    mode: Mode = "both",
    permute: int = 1,
    num_samples: int = 0,
    dropout_samples: int = 0,
    max_new_tokens: int = 512,
    do_sample: bool = False,
    temperature: float = 0.7,
    ablate_image: Ablation = "none",
    token_logprobs: bool = False,
    reasoning_from: str | Path | None = None,
    edit: Edit | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    load_in_4bit: bool = False,
    load_in_8bit: bool = False,
    allow_template: bool = False,
    offline: bool = False,
    server: Server | None = None,
    scans: ScanOptions = OWN_VIEW,
    overwrite: bool = False,
) -> BatchOutcome | None:
    """Answer all questions of a batch file into a results file. An interrupted run resumes.

    Args:
        model_path: Folder of a checkpoint or LoRA adapter, its short name, or its hub id; with
            `server`, the name of the model there.
        batch_file: File with questions: JSON, JSONL, CSV, TSV, .xlsx or Parquet.
        output_file: File to write: the results as JSON.
        image_root: Folder with the images; None: the folder of the batch file.
        limit: Number of questions to answer, from the start of the file; None: all.
        batch_size: Number of questions per batch.
        prompt: Prompt template: a name or a text file; None: the checkpoint's, else nothink, or
            bare for questions without options.
        mode: What is computed: a completion, the probability of each option, or both.
        permute: Number of rotations of the options over which probabilities are averaged.
        num_samples: Number of additional completions sampled for each question.
        dropout_samples: Number of additional passes with dropout on.
        max_new_tokens: Maximum length of a completion, in tokens.
        do_sample: Whether the completion is sampled; otherwise it is decoded greedily.
        temperature: Sampling temperature, for do_sample and num_samples.
        ablate_image: Replacement of the image: none, blank, noise, or shuffle: the image of
            another question.
        token_logprobs: Whether the log-probability of each token of the completion is computed,
            with the image and without it.
        reasoning_from: File with earlier results of the same questions, whose reasoning is edited
            and given to the model; None: the model writes its own.
        edit: What is done to that reasoning: cut, shuffle, empty, swap or none.
        seed: Seed of all sampling.
        device: auto, cuda, mps or cpu.
        dtype: auto, bfloat16, float16 or float32.
        load_in_4bit: Whether the language model is loaded with 4 bits for each weight; not with
            server.
        load_in_8bit: Whether it is loaded with 8 bits for each weight; not with server.
        allow_template: Whether a chat template that medr1 does not know is accepted.
        offline: Whether the network may not be used.
        server: The OpenAI-compatible server that answers; None: the model runs in this process.
            It replaces batch_size, device, dtype, allow_template and offline.
        scans: How DICOM, NIfTI and slides are shown.
        overwrite: Whether an existing output is replaced, and kept as NAME.bak.

    Returns:
        The counts, with the number of items that failed; None under torchrun in all processes but
        the first.

    Raises:
        InputError: An argument, the batch file or the checkpoint cannot be used, or the output
            belongs to another run.
        LockedError: Another process is writing this output.
        StateError: A file with the state of the interrupted run is damaged.
        OutputError: The output cannot be written.
        Medr1Error: The server fails, or the budget of requests or tokens is used up.
        ModuleNotFoundError: load_in_4bit or load_in_8bit needs bitsandbytes.
    """
    arguments = dict(locals())  # here, where there are no other names yet
    from medr1.data.readers import read_questions

    bits = chosen_bits(load_in_4bit, load_in_8bit, server)
    require_at_least(1, batch_size=batch_size, limit=limit)
    output = Path(output_file)
    _require_output(output, [batch_file, reasoning_from], overwrite)
    questions = read_questions(batch_file, optional_path(image_root), limit=limit, scans=scans)
    decoding = _decoding(
        prompt,
        mode=mode,
        permute=permute,
        num_samples=num_samples,
        dropout_samples=dropout_samples,
        max_new_tokens=max_new_tokens,
        do_sample=do_sample,
        temperature=temperature,
        ablate_image=ablate_image,
        token_logprobs=token_logprobs,
    )
    questions, edited = edited_run(questions, reasoning_from, edit, decoding, seed)
    engine = open_engine(model_path, decoding, server, device, dtype, allow_template, offline, bits)
    warn_of_embedded_model(model_path, questions.samples, questions.image_root, server, offline)
    return _run(
        *(engine, questions, output, decoding, edited, arguments),
        # A server gets each question when there is room for it.
        batch_size=1 if server else batch_size,
        overwrite=overwrite,
    )


def _run(
    engine: Engine,
    questions: Questions,
    output: Path,
    decoding: Decoding,
    edited: EditedRun | None,
    arguments: Mapping[str, Any],
    *,
    batch_size: int,
    overwrite: bool,
) -> BatchOutcome | None:
    """Answer the questions into the output, with all that decides the answers in its `meta`."""
    from medr1.infer.batch import manifest, run_batch
    from medr1.infer.run_arguments import recorded_run

    prompt: str | None = arguments["prompt"]
    if edited:
        edited.require_fitting(engine, prompt)
    identity = engine.identity()
    meta = manifest(
        *(identity, questions),
        data=Path(arguments["batch_file"]).name,
        prompt=prompt,
        decoding=decoding,
        seed=arguments["seed"],
        edited_reasoning=edited.source if edited else None,
    )
    return run_batch(
        *(engine, questions, output, meta),
        decoding=decoding,
        prompt=prompt,
        batch_size=batch_size,
        prefills=edited.prefills if edited else None,
        record=recorded_run(arguments, prompt or identity.prompt),
        overwrite=overwrite,
    )


def _require_output(output: Path, inputs: Sequence[str | Path | None], overwrite: bool) -> None:
    """Refuse an output that cannot be written, or that is one of the inputs."""
    from medr1.infer.batch import require_free

    require_writable(output)
    keep_apart(output, inputs, overwrite)
    require_free(output)


class _DecodingFields(TypedDict):
    """The fields of `Decoding`."""

    mode: Mode
    permute: int
    num_samples: int
    dropout_samples: int
    max_new_tokens: int
    do_sample: bool
    temperature: float
    ablate_image: Ablation
    token_logprobs: bool


def _decoding(prompt: str | None, **fields: Unpack[_DecodingFields]) -> Decoding:
    """The `Decoding` with these fields; InputError for values that exclude each other.

    An unknown prompt is refused too: this is called before the model is loaded.
    """
    from medr1.prompts import template
    from medr1.records import Decoding

    mode = fields["mode"]
    require_choice("mode", mode, get_args(Mode))
    require_choice("ablate_image", fields["ablate_image"], get_args(Ablation))
    require_at_least(1, permute=fields["permute"], max_new_tokens=fields["max_new_tokens"])
    require_at_least(
        0, num_samples=fields["num_samples"], dropout_samples=fields["dropout_samples"]
    )
    if fields["temperature"] <= 0:
        raise InputError(f"temperature: {fields['temperature']} is not above 0.")
    if mode == "options" and (fields["num_samples"] or fields["do_sample"]):
        raise InputError(
            "--mode options generates no completion, so --num-samples and --do-sample cannot be "
            "used with it."
        )
    if fields["token_logprobs"] and (mode == "options" or fields["do_sample"]):
        raise InputError(
            "--token-logprobs is about the greedy completion, which --mode options and --do-sample "
            "do not have. Remove one of them."
        )
    needs_probabilities = {
        "--dropout-samples": fields["dropout_samples"] > 0,
        "--permute": fields["permute"] > 1,
    }
    for name in (name for name, is_set in needs_probabilities.items() if is_set):
        if mode == "generate":
            raise InputError(
                f"{name} needs the options' probabilities. Use --mode both or --mode options."
            )
    if prompt:
        template(prompt)
    return Decoding(**fields)
