"""Feed one part of medr1 with made-up input until the time is over; only its own errors may come.

    python scripts/fuzz.py answers --seconds 300

Targets: answers, readers, images, checkpoints, models (which loads a checkpoint and answers with
it). Any exception but a Medr1Error (and click's, for a configuration file) ends the run with a
traceback and the smallest input that hypothesis has for it.
With --engine atheris (pip install atheris) the coverage of medr1's code decides what is tried next,
else chance does.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
TINY = ROOT / "checkpoints" / "tiny-vl"
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

LIKELY = st.one_of(
    st.integers(0, 9),
    st.sampled_from([14, 16, 28, 56, 64, 128, 671, 672, 677, 683, 0.1, 1.5, 1e-9, [0.5] * 3]),
    st.sampled_from([{}, [], "", "auto", "eager", "gelu", "silu", "float16", "float64", "int8"]),
    st.sampled_from(["linear", "yarn", "dynamic", "longrope", "default", "mrope", "left"]),
    st.sampled_from(["sliding_attention", "full_attention", "qwen2_vl", "qwen3_vl", "float32"]),
    st.sampled_from(["Qwen2TokenizerFast", "LlamaTokenizer", "CLIPImageProcessor", "Qwen2VLModel"]),
    st.sampled_from(["<|image_pad|>", "<|video_pad|>", "<|im_end|>", "x" * 3000]),
)
"""Values that are right somewhere in a checkpoint, and then often wrong elsewhere."""


@st.composite
def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """The bytes with some of them replaced, cut out or put in."""
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        end = place + draw(st.integers(0, 8))
        content = content[:place] + draw(st.binary(max_size=8)) + content[end:]
    return content


# --- targets ----------------------------------------------------------------------------------


def answers(folder: Path) -> Callable[..., None]:
    from medr1 import answers as read
    from medr1.errors import Medr1Error
    from medr1.records import ANSWER_TYPES
    from medr1.rewards import score_completion

    options = st.sampled_from([{}, {"A": "CT", "B": "MRI"}]) | st.lists(
        TEXT, min_size=2, max_size=8
    ).map(lambda texts: dict(zip("ABCDEFGH", texts, strict=False)))

    golds = TEXT.map(lambda text: text[:300])  # of the data, not of the model

    @given(TEXT, golds, TEXT, options, st.sampled_from(ANSWER_TYPES))
    def run(output: str, gold: str, question: str, offered: dict[str, str], kind: str) -> None:
        asked = {"options": offered, "answer_type": kind}
        for protocol in read.PROTOCOLS:
            with suppress(Medr1Error):
                read.extract(output, **asked, protocol=protocol)
                read.judge(output, ground_truth=gold, **asked, protocol=protocol)
        for form in ("think", "nothink", "think-after"):
            read.has_format(output, form)
        for function in (read.parse_problem, read.parse_solution, read.parse_number, read.claims):
            function(output)
        read.authors_reward(output, gold)
        read.claim_differences(output, gold)
        score_completion(output, gold, question, "nothink")

    return run


def readers(folder: Path) -> Callable[..., None]:
    import click
    import pyarrow
    import pyarrow.parquet

    from medr1.cli.configuration import read_config
    from medr1.data.readers import read_questions
    from medr1.data.spellings import FIELD_NAME_SETS, sample_to_item
    from medr1.errors import Medr1Error
    from medr1.evaluate.judging import judge_all
    from medr1.evaluate.metrics import summarize
    from medr1.evaluate.reading.entries import FIELD_ALIASES
    from medr1.evaluate.results import read_results
    from medr1.files import to_json
    from medr1.records import Prediction, Sample
    from medr1.report.tables import summary_table

    ours = (f.name for kind in (Sample, Prediction) for f in fields(kind))
    keys = [*ours, *sum(FIELD_ALIASES.values(), ()), "option_A", "option_B", "answer", "success"]
    keys += ["doc", "target", "resps", "filtered_resps", "patient"]
    right = {
        "id": "1", "images": ["a.png"], "question": "q", "options": {"A": "x", "B": "y"},
        "ground_truth": "A", "answer_type": "multiple_choice", "model_output": "A",
    }  # fmt: skip
    items = st.builds(
        lambda base, more, less: {k: v for k, v in {**base, **more}.items() if k not in less},
        st.sampled_from([right, {}]),
        st.dictionaries(st.sampled_from(keys) | TEXT, VALUES, max_size=5),
        st.sets(st.sampled_from(keys), max_size=2),
    )

    def tabled(rows: list[Any]) -> bytes:
        sink = io.BytesIO()
        rows = [row for row in rows if isinstance(row, dict)]
        with suppress(pyarrow.ArrowException, ValueError, OverflowError, TypeError):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
        return sink.getvalue()

    def as_csv(rows: list[Any]) -> bytes:
        lines = [",".join(keys)] + [
            ",".join(json.dumps(row.get(key, "")) for key in keys) for row in rows
        ]
        return "\n".join(lines).encode("utf-8", "surrogatepass")

    forms: dict[str, Callable[[list[Any]], bytes]] = {
        ".json": lambda rows: json.dumps(rows).encode(),
        ".jsonl": lambda rows: "\n".join(map(json.dumps, rows)).encode(),
        ".csv": as_csv,
        ".tsv": lambda rows: as_csv(rows).replace(b",", b"\t"),
        ".parquet": tabled,
        ".yaml": lambda rows: (json.dumps(rows[0]) if rows else "").encode(),
    }

    @given(st.data(), st.sampled_from(sorted(forms)), st.lists(items | VALUES, max_size=3))
    def run(data: st.DataObject, ending: str, rows: list[Any]) -> None:
        if ending in (".csv", ".tsv"):
            rows = [row for row in rows if isinstance(row, dict)]
        content = forms[ending](rows)
        if data.draw(st.booleans()):
            content = data.draw(damaged(content))
        path = folder / f"x{ending}"
        path.write_bytes(content)
        if ending == ".yaml":
            with suppress(click.ClickException):
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
            summary_table({**summary, "results": "x"})

    return run


def images(folder: Path) -> Callable[..., None]:
    from PIL import Image

    from medr1.data.images import decode_image, image_size
    from medr1.errors import Medr1Error

    gradient = Image.radial_gradient("L").resize((40, 30))
    modes = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"]
    made = set()
    for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"):
        for mode in modes:
            for options in ({}, {"progressive": True}, {"compression": "tiff_lzw"}):
                sink = io.BytesIO()
                with suppress(OSError, ValueError):  # no such mode in that format
                    picture = gradient.convert(mode.partition(";")[0]).convert(mode)
                    picture.save(sink, kind, **options)
                    made.add(sink.getvalue())

    @given(st.data(), st.sampled_from(sorted(made)))
    def run(data: st.DataObject, content: bytes) -> None:
        content = data.draw(damaged(content))
        (folder / "x.png").write_bytes(content)
        with suppress(Medr1Error):
            image_size(folder / "x.png")
        with suppress(Medr1Error):
            assert decode_image(content, "x.png").image.mode == "RGB"

    return run


def checkpoints(folder: Path) -> Callable[..., None]:
    from medr1.checkpoints.adapters import find_base, read_adapter
    from medr1.checkpoints.integrity import checksum_faults
    from medr1.checkpoints.structure import require_sound, tensor_shapes
    from medr1.errors import Medr1Error
    from medr1.models import load_processor, read_checkpoint_info

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

    @given(changed(documents, {}))
    def run(file: tuple[str, bytes]) -> None:
        name, content = file
        with put(folder / name, content):
            for look in (
                read_checkpoint_info, require_sound, checksum_faults,
                lambda path: load_processor(path, path),
                *((read_adapter, find_base) if name == "adapter_config.json" else ()),
            ):  # fmt: skip
                with suppress(Medr1Error):
                    look(folder)
        header = len(content).to_bytes(8, "little") + content
        with put(folder / "x.safetensors", header), suppress(Medr1Error):
            tensor_shapes(folder / "x.safetensors")

    return run


def models(folder: Path) -> Callable[..., None]:
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2VLImageProcessor

    from medr1.cli.verify import _checks
    from medr1.data.readers import read_questions
    from medr1.errors import Medr1Error
    from medr1.infer.engine import Decoding, predict
    from medr1.models import load_model

    shutil.copytree(TINY, folder, dirs_exist_ok=True)
    documents = {path.name: json.loads(path.read_text()) for path in sorted(TINY.glob("*.json"))}
    whole = documents["processor_config.json"]
    documents["preprocessor_config.json"] = whole["image_processor"]
    documents["video_preprocessor_config.json"] = whole["video_processor"]
    template = (TINY / "chat_template.jinja").read_text()
    documents["chat_template.json"] = {"chat_template": template}
    config = Qwen2_5_VLConfig()
    pictures = list(vars(Qwen2VLImageProcessor()))
    keys = {
        "config.json": [*vars(config), *vars(config.text_config), *vars(config.vision_config)],
        "generation_config.json": list(vars(GenerationConfig())),
        "preprocessor_config.json": pictures,
        "processor_config.json": [*pictures, "image_token", "chat_template", "processor_class"],
        "tokenizer_config.json": [
            "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens",
            "chat_template", "image_token", "padding_side", "truncation_side", "model_max_length",
            "add_bos_token", "add_eos_token", "split_special_tokens", "model_input_names",
            "tokenizer_file", "vocab_file", "add_prefix_space", "clean_up_tokenization_spaces",
        ],
    }  # fmt: skip
    questions = read_questions(ROOT / "data" / "tiny_vqa_ds" / "test.json", limit=2)
    files = changed(documents, keys) | st.tuples(
        st.just("chat_template.jinja"), damaged(template.encode())
    )

    @given(files, st.sampled_from(["generate", "both", "options"]), st.booleans())
    def run(file: tuple[str, bytes], mode: str, samples: bool) -> None:
        decoding = Decoding(mode, max_new_tokens=3, do_sample=samples, permute=1 + samples)
        with put(folder / file[0], file[1]):
            for _, check in _checks(folder, True):
                with suppress(Medr1Error):
                    check()
            with suppress(Medr1Error):
                loaded = load_model(folder, device="cpu", offline=True)
                root = questions.image_root
                predict(loaded, questions.samples, batch_size=2, image_root=root, decoding=decoding)

    return run


@st.composite
def changed(
    draw: Callable[..., Any], documents: dict[str, Any], more_keys: dict[str, list[str]]
) -> tuple[str, bytes]:
    """(name, content) of one of these documents with a few of its values replaced."""
    name = draw(st.sampled_from(sorted(documents)))
    document = json.loads(json.dumps(documents[name]))
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from(_places(documents[name])[1:]))
        owner = document
        with suppress(LookupError, TypeError):  # an earlier round replaced what it lay in
            for part in above:
                owner = owner[part]
            if isinstance(owner, dict) and name in more_keys and draw(st.booleans()):
                key = draw(st.sampled_from(more_keys[name]))
            if isinstance(owner, dict) and key in owner and draw(st.integers(0, 9)) == 0:
                del owner[key]
            else:
                owner[key] = draw(VALUES | LIKELY)
    content = json.dumps(document).encode()
    return name, draw(damaged(content)) if draw(st.integers(0, 3)) == 0 else content


def _places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to each value of a document; of long lists and objects to the first ones."""
    inside = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    first = list(inside)[:50]
    return [before, *(way for key, inner in first for way in _places(inner, (*before, key)))]


@contextmanager
def put(path: Path, content: bytes) -> Iterator[None]:
    """Write the file for the time of the block; what was there comes back after it."""
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
    """How many inputs were tried."""
    tried = 0
    with tempfile.TemporaryDirectory() as name:
        run = target(Path(name))
        plain = run.hypothesis.inner_test  # type: ignore[attr-defined]

        def counted(*given_values: Any, **by_name: Any) -> None:
            nonlocal tried
            tried += 1
            plain(*given_values, **by_name)

        run.hypothesis.inner_test = counted  # type: ignore[attr-defined]
        quiet = settings(
            deadline=None, database=None, max_examples=100, suppress_health_check=list(HealthCheck)
        )
        run = quiet(run)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            run()
    return tried


def fuzz_with_atheris(target: Callable[[Path], Callable[..., None]], seconds: float) -> None:
    import atheris

    with atheris.instrument_imports(include=["medr1"]), tempfile.TemporaryDirectory() as name:
        run = target(Path(name))
        one = run.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
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
            one,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    targets = {f.__name__: f for f in (answers, readers, images, checkpoints, models)}
    parser.add_argument("target", choices=targets)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    if asked.engine == "atheris":
        fuzz_with_atheris(targets[asked.target], asked.seconds)
    else:
        number = fuzz(targets[asked.target], asked.seconds)
        print(f"{asked.target}: {number:,} inputs in {asked.seconds:.0f} s, no foreign exception")
