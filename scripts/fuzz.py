"""Test one part of medr1 with random input for a given time (fuzzing).

    python scripts/fuzz.py answers --seconds 300

The targets are `answers`, `readers`, `images`, `checkpoints` and `models`. The last one loads a
changed checkpoint and answers a question with it. medr1 may refuse an input with a `Medr1Error`.
Any other exception is a bug: it ends the run with a traceback and the smallest input that
hypothesis could find for it.

With `--engine hypothesis` the inputs are random. With `--engine atheris` (pip install atheris) the
next input is chosen by which lines of medr1 the earlier inputs have reached.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
TINY = ROOT / "checkpoints" / "tiny-vl"
# Pieces of completions, and characters that text processing often gets wrong.
WORDS = [
    "<answer>", "</answer>", "<think>", "</think>", "<answer>C</answer>", "\uff1canswer\uff1e",
    "A)", "B:", "(C)", "the answer is", "not", "no", "yes", "left", "right", "lung", "neither",
    "both", "all of the above", "3", "-0.5", "1,000", "1e9", "1/3", "3x10^5", "½", "%", "cm",
    "\\boxed{", "$\\frac{1}{3}$", "}", "{", "[", '"', "\\", ",", ".", ";", ":", "?", "|", "\n",
    "\t", "null", "NaN", "ﷺ", "İ", "ß", "肺", "\u0300", "\u202e", "\x1b[31m", "\x00", "\ud800",
]  # fmt: skip
TEXT = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=20).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=20).map("".join),
    # one piece repeated up to 3000 times: a very long text
    st.builds(lambda part, times: part * times, st.sampled_from(WORDS), st.integers(0, 3000)),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([-1, 0, 2**31, 2**63, 2**64, 10**30, 10**400, -0.0, 1e308, 0.5]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)

VALID_SOMEWHERE = st.one_of(
    st.integers(0, 9),
    st.sampled_from([14, 16, 28, 56, 64, 128, 671, 672, 677, 683, 0.1, 1.5, 1e-9, [0.5] * 3]),
    st.sampled_from([{}, [], "", "auto", "eager", "gelu", "silu", "float16", "float64", "int8"]),
    st.sampled_from(["linear", "yarn", "dynamic", "longrope", "default", "mrope", "left"]),
    st.sampled_from(["sliding_attention", "full_attention", "qwen2_vl", "qwen3_vl", "float32"]),
    st.sampled_from(["Qwen2TokenizerFast", "LlamaTokenizer", "CLIPImageProcessor", "Qwen2VLModel"]),
    st.sampled_from(["<|image_pad|>", "<|video_pad|>", "<|im_end|>", "x" * 3000]),
)
"""Values that are valid for some key of a checkpoint's files, and often invalid for another."""


@st.composite
def damaged_bytes(draw: Callable[..., Any], content: bytes) -> bytes:
    """The content with up to four short changes: bytes replaced, removed or inserted."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        end = start + draw(st.integers(0, 8))
        content = content[:start] + draw(st.binary(max_size=8)) + content[end:]
    return content


# --- targets: each returns a test function that hypothesis or atheris calls with random input ---


def answers(folder: Path) -> Callable[..., None]:
    """The test of the answer rules and the accuracy reward; it needs no folder."""
    from medr1 import answers as rules
    from medr1.errors import Medr1Error
    from medr1.records import ANSWER_TYPES
    from medr1.rewards import DEFAULT_REWARDS, reward_functions, score_completion

    rewards = reward_functions(DEFAULT_REWARDS, "nothink")
    options = st.sampled_from([{}, {"A": "CT", "B": "MRI"}]) | st.lists(
        TEXT, min_size=2, max_size=8
    ).map(lambda texts: dict(zip("ABCDEFGH", texts, strict=False)))

    # ground truths come from a data set, not from a model, so they are not very long
    ground_truths = TEXT.map(lambda text: text[:300])

    @given(TEXT, ground_truths, TEXT, options, st.sampled_from(ANSWER_TYPES))
    def run(
        completion: str,
        ground_truth: str,
        question: str,
        item_options: dict[str, str],
        answer_type: str,
    ) -> None:
        item = {"options": item_options, "answer_type": answer_type}
        for protocol in rules.PROTOCOLS:
            with suppress(Medr1Error):
                rules.extract(completion, **item, protocol=protocol)
                rules.judge(completion, ground_truth=ground_truth, **item, protocol=protocol)
        for prompt in ("think", "nothink", "think-after"):
            rules.has_format(completion, prompt)
        for function in (
            rules.parse_problem, rules.parse_solution, rules.parse_number, rules.claims,
        ):  # fmt: skip
            function(completion)
        rules.authors_reward(completion, ground_truth)
        rules.claim_differences(completion, ground_truth)
        score_completion(rewards, completion, ground_truth, question)

    return run


def readers(folder: Path) -> Callable[..., None]:
    """The test of reading questions, results and configurations; it writes files to the folder."""
    import openpyxl
    import openpyxl.utils.exceptions
    import pyarrow
    import pyarrow.parquet
    from msgspec import structs

    from medr1.data.readers import read_questions
    from medr1.data.spellings import FIELD_NAME_SETS, sample_to_item
    from medr1.errors import Medr1Error
    from medr1.evaluate.judging import judge_all
    from medr1.evaluate.metrics.summary import summarize
    from medr1.evaluate.reading.entries import FIELD_ALIASES
    from medr1.evaluate.reading.results import read_results
    from medr1.files import to_json
    from medr1.records import Prediction, Sample
    from medr1.report.terminal.tables import summary_table
    from medr1.workflows.configuration import read_config

    own_keys = (f.name for kind in (Sample, Prediction) for f in fields(kind))
    keys = [
        *own_keys,
        *sum(FIELD_ALIASES.values(), ()),
        "option_A",
        "option_B",
        "answer",
        "success",
    ]
    keys += ["doc", "target", "resps", "filtered_resps", "patient"]
    keys += ["Question", "Ground truth", "Model answer", "pred", "index", "A", "B", "Unnamed: 0"]
    valid_item = {
        "id": "1", "images": ["a.png"], "question": "q", "options": {"A": "x", "B": "y"},
        "ground_truth": "A", "answer_type": "multiple_choice", "model_output": "A",
    }  # fmt: skip
    items = st.builds(
        lambda item, added, removed: {
            key: value for key, value in {**item, **added}.items() if key not in removed
        },
        st.sampled_from([valid_item, {}]),
        st.dictionaries(st.sampled_from(keys) | TEXT, VALUES, max_size=5),
        st.sets(st.sampled_from(keys), max_size=2),
    )

    def as_parquet(rows: list[Any]) -> bytes:
        """The rows as a Parquet file; empty if pyarrow cannot write such rows."""
        buffer = io.BytesIO()
        rows = [row for row in rows if isinstance(row, dict)]
        with suppress(pyarrow.ArrowException, ValueError, OverflowError, TypeError):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
        return buffer.getvalue()

    def as_csv(rows: list[Any]) -> bytes:
        lines = [",".join(keys)] + [
            ",".join(json.dumps(row.get(key, "")) for key in keys) for row in rows
        ]
        return "\n".join(lines).encode("utf-8", "surrogatepass")

    def as_sheet(rows: list[Any]) -> bytes:
        """The rows as an .xlsx file; empty if it cannot hold them."""
        book, buffer = openpyxl.Workbook(), io.BytesIO()
        with suppress(ValueError, openpyxl.utils.exceptions.IllegalCharacterError):
            book.active.append(keys)
            for row in (row for row in rows if isinstance(row, dict)):
                book.active.append([json.dumps(row[k]) if k in row else None for k in keys])
            book.save(buffer)
            return without_times(buffer)
        return b""

    def without_times(buffer: io.BytesIO) -> bytes:
        """The archive without times: hypothesis needs the same bytes for the same rows."""
        out = io.BytesIO()
        with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(out, "w") as copy:
            for name in archive.namelist():
                if not name.startswith("docProps"):
                    copy.writestr(zipfile.ZipInfo(name), archive.read(name))
        return out.getvalue()

    def as_object(rows: list[Any], layout: int) -> bytes:
        """The rows in one of the layouts of JSON that are no list."""
        objects = [row for row in rows if isinstance(row, dict)]
        names = list(dict.fromkeys(key for row in objects for key in row))
        documents: list[Any] = [
            {str(number): row for number, row in enumerate(rows)},
            {key: {str(n): row.get(key) for n, row in enumerate(objects)} for key in names},
            {"columns": names, "index": [1], "data": [[r.get(k) for k in names] for r in objects]},
            {"schema": {"primaryKey": ["index"]}, "data": rows},
        ]
        return json.dumps(documents[layout]).encode()

    writers: dict[str, Callable[[list[Any]], bytes]] = {
        ".json": lambda rows: json.dumps(rows).encode(),
        ".jsonl": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
        ".csv": as_csv,
        ".tsv": lambda rows: as_csv(rows).replace(b",", b"\t"),
        ".parquet": as_parquet,
        ".xlsx": as_sheet,
        ".yaml": lambda rows: (json.dumps(rows[0]) if rows else "").encode(),
    }

    @given(st.data(), st.sampled_from(sorted(writers)), st.lists(items | VALUES, max_size=3))
    def run(data: st.DataObject, extension: str, rows: list[Any]) -> None:
        if extension in (".csv", ".tsv"):
            rows = [row for row in rows if isinstance(row, dict)]
        content = writers[extension](rows)
        if extension == ".json" and data.draw(st.booleans()):
            content = as_object(rows, data.draw(st.integers(0, 3)))
        if extension in (".csv", ".json", ".jsonl") and data.draw(st.booleans()):
            content = content.decode("utf-8", "replace").encode("utf-16")
        if data.draw(st.booleans()):
            content = data.draw(damaged_bytes(content))
        path = folder / f"x{extension}"
        path.write_bytes(content)
        if extension == ".yaml":
            with suppress(Medr1Error):
                read_config(path)
            return
        with suppress(Medr1Error):
            for sample in read_questions(path).samples:
                for field_names in FIELD_NAME_SETS:
                    with suppress(Medr1Error):
                        to_json(sample_to_item(sample, field_names))
        with suppress(Medr1Error):
            predictions = read_results(path).predictions
            judge_all(predictions)
            summary = summarize(predictions, num_resamples=20)
            to_json(summary)
            summary_table(structs.replace(summary, results="x"))

    return run


def images(folder: Path) -> Callable[..., None]:
    """The test of reading images; it writes one file to the folder."""
    from PIL import Image

    from medr1.data.images import decode_image, image_size
    from medr1.errors import Medr1Error

    gradient = Image.radial_gradient("L").resize((40, 30))
    modes = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"]
    files = set()
    for file_format in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"):
        for mode in modes:
            for options in ({}, {"progressive": True}, {"compression": "tiff_lzw"}):
                buffer = io.BytesIO()
                with suppress(OSError, ValueError):  # the format does not have this mode
                    image = gradient.convert(mode.partition(";")[0]).convert(mode)
                    image.save(buffer, file_format, **options)
                    files.add(buffer.getvalue())

    @given(st.data(), st.sampled_from(sorted(files)))
    def run(data: st.DataObject, content: bytes) -> None:
        content = data.draw(damaged_bytes(content))
        (folder / "x.png").write_bytes(content)
        with suppress(Medr1Error):
            image_size(folder / "x.png")
        with suppress(Medr1Error):
            assert decode_image(content, "x.png").image.mode == "RGB"

    return run


def checkpoints(folder: Path) -> Callable[..., None]:
    """The test of reading a checkpoint's JSON files, in a copy of the embedded model."""
    from medr1.checkpoints.adapters import find_base, read_adapter
    from medr1.checkpoints.integrity import checksum_faults
    from medr1.checkpoints.structure import require_sound, tensor_shapes
    from medr1.errors import Medr1Error
    from medr1.models.loading import load_processor, read_checkpoint_info

    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    documents = {
        path.name: json.loads(path.read_text())
        for path in sorted(TINY.glob("*.json"))
        if path.name != "tokenizer.json"
    }
    documents["adapter_config.json"] = {
        "peft_type": "LORA", "base_model_name_or_path": str(TINY), "r": 4, "lora_alpha": 8,
        "target_modules": ["q_proj"], "task_type": "CAUSAL_LM",
    }  # fmt: skip
    documents["model.safetensors.index.json"] = {"weight_map": {"a": "model.safetensors"}}

    @given(changed_document(documents, {}))
    def run(file: tuple[str, bytes]) -> None:
        name, content = file
        with temporary_content(folder / name, content):
            for read in (
                read_checkpoint_info, require_sound, checksum_faults,
                lambda path: load_processor(path, path),
                *((read_adapter, find_base) if name == "adapter_config.json" else ()),
            ):  # fmt: skip
                with suppress(Medr1Error):
                    read(folder)
        weights = folder / "x.safetensors"
        header = len(content).to_bytes(8, "little") + content
        with temporary_content(weights, header), suppress(Medr1Error):
            tensor_shapes(weights)

    return run


def models(folder: Path) -> Callable[..., None]:
    """The test of loading a changed copy of the embedded model and answering with it."""
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2VLImageProcessor

    from medr1.data.readers import read_questions
    from medr1.errors import Medr1Error
    from medr1.infer.local.engine import predict
    from medr1.models.loading import load_model
    from medr1.records import Decoding
    from medr1.workflows.verify import checks_of

    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    documents = {path.name: json.loads(path.read_text()) for path in sorted(TINY.glob("*.json"))}
    # older checkpoints have these three files instead
    processor_config = documents["processor_config.json"]
    documents["preprocessor_config.json"] = processor_config["image_processor"]
    documents["video_preprocessor_config.json"] = processor_config["video_processor"]
    template = (TINY / "chat_template.jinja").read_text()
    documents["chat_template.json"] = {"chat_template": template}
    config = Qwen2_5_VLConfig()
    image_keys = list(vars(Qwen2VLImageProcessor()))
    keys = {
        "config.json": [*vars(config), *vars(config.text_config), *vars(config.vision_config)],
        "generation_config.json": list(vars(GenerationConfig())),
        "preprocessor_config.json": image_keys,
        "processor_config.json": [*image_keys, "image_token", "chat_template", "processor_class"],
        "tokenizer_config.json": [
            "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens",
            "chat_template", "image_token", "padding_side", "truncation_side", "model_max_length",
            "add_bos_token", "add_eos_token", "split_special_tokens", "model_input_names",
            "tokenizer_file", "vocab_file", "add_prefix_space", "clean_up_tokenization_spaces",
        ],
    }  # fmt: skip
    questions = read_questions(ROOT / "data" / "tiny_vqa_ds" / "test.json", limit=2)
    files = changed_document(documents, keys) | st.tuples(
        st.just("chat_template.jinja"), damaged_bytes(template.encode())
    )

    @given(files, st.sampled_from(["generate", "both", "options"]), st.booleans())
    def run(file: tuple[str, bytes], mode: str, do_sample: bool) -> None:
        decoding = Decoding(mode, max_new_tokens=3, do_sample=do_sample, permute=1 + do_sample)
        with temporary_content(folder / file[0], file[1]):
            for _, check in checks_of(folder, True):
                with suppress(Medr1Error):
                    check()
            with suppress(Medr1Error):
                loaded = load_model(folder, device="cpu", offline=True)
                root = questions.image_root
                predict(loaded, questions.samples, batch_size=2, image_root=root, decoding=decoding)

    return run


@st.composite
def changed_document(
    draw: Callable[..., Any], documents: dict[str, Any], more_keys: dict[str, list[str]]
) -> tuple[str, bytes]:
    """The name and content of one document with one to three of its values replaced or removed.

    Args:
        draw: hypothesis' function that chooses values.
        documents: File name -> its JSON document.
        more_keys: File name -> further keys that such a file may have.
    """
    name = draw(st.sampled_from(sorted(documents)))
    document = json.loads(json.dumps(documents[name]))
    for _ in range(draw(st.integers(1, 3))):
        *parents, key = draw(st.sampled_from(_key_paths(documents[name])[1:]))
        container = document
        with suppress(LookupError, TypeError):  # an earlier round replaced one of the parents
            for parent in parents:
                container = container[parent]
            if isinstance(container, dict) and name in more_keys and draw(st.booleans()):
                key = draw(st.sampled_from(more_keys[name]))
            if isinstance(container, dict) and key in container and draw(st.integers(0, 9)) == 0:
                del container[key]
            else:
                container[key] = draw(VALUES | VALID_SOMEWHERE)
    content = json.dumps(document).encode()
    return name, draw(damaged_bytes(content)) if draw(st.integers(0, 3)) == 0 else content


def _key_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to each value of a document: of a list or object, to its first 50."""
    entries = value.items() if isinstance(value, dict) else ()
    entries = enumerate(value) if isinstance(value, list) else entries
    first = list(entries)[:50]
    return [path, *(inner for key, part in first for inner in _key_paths(part, (*path, key)))]


@contextmanager
def temporary_content(path: Path, content: bytes) -> Iterator[None]:
    """Give the file this content inside the block; afterwards it is as before, or absent."""
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


# --- running ----------------------------------------------------------------------------------


def fuzz(target: Callable[[Path], Callable[..., None]], seconds: float) -> int:
    """Run the target's test with random input for a time; the number of inputs."""
    num_inputs = 0
    with tempfile.TemporaryDirectory() as name:
        run = target(Path(name))
        test = run.hypothesis.inner_test  # type: ignore[attr-defined]

        def counting_test(*arguments: Any, **named_arguments: Any) -> None:
            nonlocal num_inputs
            num_inputs += 1
            test(*arguments, **named_arguments)

        run.hypothesis.inner_test = counting_test  # type: ignore[attr-defined]
        without_limits = settings(
            deadline=None, database=None, max_examples=100, suppress_health_check=list(HealthCheck)
        )
        run = without_limits(run)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            run()
    return num_inputs


def fuzz_with_atheris(target: Callable[[Path], Callable[..., None]], seconds: float) -> None:
    """Run the target's test with input that atheris chooses by code coverage; it ends the process.

    A failing input is saved in the system's folder for temporary files.
    """
    import atheris

    with atheris.instrument_imports(include=["medr1"]), tempfile.TemporaryDirectory() as name:
        run = target(Path(name))
        test_one_input = run.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={seconds:.0f}",
                f"-artifact_prefix={tempfile.gettempdir()}/",
                "-max_len=8192",
                "-len_control=0",
                "-rss_limit_mb=6000",
                "-timeout=60",
                "-verbosity=1",
            ],
            test_one_input,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    targets = {f.__name__: f for f in (answers, readers, images, checkpoints, models)}
    parser.add_argument("target", choices=targets, help="part of medr1 to test")
    parser.add_argument("--seconds", type=float, default=300, help="how long [default: 300]")
    parser.add_argument(
        "--engine",
        choices=["hypothesis", "atheris"],
        default="hypothesis",
        help="how inputs are chosen: at random, or by code coverage [default: hypothesis]",
    )
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    target, seconds = targets[arguments.target], arguments.seconds
    if arguments.engine == "atheris":
        fuzz_with_atheris(target, seconds)
    else:
        num_inputs = fuzz(target, seconds)
        print(f"{arguments.target}: {num_inputs:,} inputs in {seconds:.0f} s, no unexpected error")
