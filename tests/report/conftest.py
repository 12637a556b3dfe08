"""Documents for the page's tests: a summary with every key, and items of every kind of verdict."""

import dataclasses

import msgspec
import pytest
from chromium import chromium

from medr1.documents.items import GalleryItem, ItemRow
from medr1.documents.summary import Summary
from medr1.evaluate.judging import judge_prediction
from medr1.evaluate.metrics.summary import item_row
from medr1.records import Failure, Prediction, Sample


def metric(value, n=120, width=0.06, **more):
    ci95 = [max(0.0, value - width), min(1.0, value + width)]
    return {"value": value, "ci95": ci95, "n": n, "method": "bootstrap over images", **more}


def group(value, n):
    return {"n": n, "n_unparsed": n // 20, "metrics": {"accuracy": metric(value, n, 1.5 / n**0.5)}}


@pytest.fixture
def rich_summary():
    """The summary of an evaluation with plausible numbers."""
    return msgspec.convert(summary_document(), Summary)


def summary_document():
    """The same as a dictionary."""
    letters, texts = "ABCD", ["pneumonia", "no finding", "effusion", "fracture", "nodule"]
    return {
        "schema": "medr1.summary/2",
        "results": "output/results.json",
        "sha256": "0" * 64,
        "meta": {
            "model": "checkpoints/tiny-vl",
            "model_sha256": "fa0e91ea" * 8,
            "data": "test.json",
            "data_sha256": "bc678043" * 8,
            "prompt": "nothink",
            "prompt_sha256": "22327e42" * 8,
            "decoding": {"mode": "both", "max_new_tokens": 512, "do_sample": False},
            "seed": 0,
            "device": "cuda",
            "dtype": "bfloat16",
            "versions": {"medr1": "0.1.0", "torch": "2.15.0", "transformers": "5.23.0"},
            "n": 1200,
        },
        "protocol": "default",
        "n": 1200,
        "n_error": 3,
        "n_unparsed": 61,
        "n_refused": 8,
        "n_undecided": 5,
        "n_truncated": 24,
        "clusters": {"unit": "image", "n": 830},
        "metrics": {
            "accuracy": metric(0.684, 1200, 0.03),
            "exact_match": metric(0.671, 1200, 0.03),
            "counting_accuracy": {
                "value": None,
                "ci95": None,
                "n": 0,
                "reason": "no item has a number as its ground truth",
            },
            "token_f1": metric(0.702, 1200, 0.03, signature="SQuAD normalisation; sets"),
            "bleu4": metric(0.121, 1200, 0.02, signature="nrefs:1|case:mixed|tok:13a|v:2.6.0"),
        },
        "groups": {
            "modality": {
                "CT(Computed Tomography)": group(0.71, 320),
                "MR (Magnetic Resonance Imaging)": group(0.66, 410),
                "Ultrasound": group(0.55, 64),
                "X-Ray": group(0.73, 388),
                "Fundus Photography": group(0.44, 18),
            },
            "question_type": {"Anatomy": group(0.8, 600), "Disease Diagnosis": group(0.57, 600)},
            "option_count": {"2": group(0.79, 310), "4": group(0.65, 890)},
            "age": {"under 40": group(0.7, 300), "40 to 70": group(0.69, 600)},
        },
        "macro": {
            "modality": {"accuracy": metric(0.618, 5), "metrics": {}},
            "question_type": {"accuracy": metric(0.685, 2), "metrics": {}},
            "option_count": {"accuracy": metric(0.72, 2), "metrics": {}},
            "age": {"accuracy": metric(0.695, 2), "metrics": {}},
        },
        "confusion": [
            {"ground_truth": g, "predicted": p, "count": 190 if g == p else 30 if p else 11}
            for g in letters
            for p in (*letters, None)
        ],
        "confusion_text": [
            {"ground_truth": g, "predicted": p, "count": 150 - 9 * i if g == p else 7 + j}
            for i, g in enumerate(texts)
            for j, p in enumerate((*texts, None))
        ],
        "unanswered": {"unparsed": 30, "ambiguous": 12, "refused": 8, "truncated": 10, "empty": 1},
        "undecided": {"reasons": {"synonym": 5}, "coverage": metric(0.995, 1200, 0.004)},
        "contradictions": {"n": 0, "polarity": 0, "side": 0},
        "extraction_methods": {"tag": 1060, "untagged": 76, "unclosed_tag": 0},
        "protocols": {
            "default": metric(0.684, 1200, 0.03),
            "strict": metric(0.602, 1200, 0.03),
            "authors": metric(0.641, 1200, 0.03),
            "authors-nothink": metric(0.655, 1200, 0.03),
        },
        "findings": [
            {
                "finding": "pneumonia",
                "positive": "yes",
                "n": 140,
                "n_positive": 38,
                "prevalence": metric(0.271, 140, 0.07),
                "sensitivity": metric(0.79, 38, 0.12),
                "specificity": metric(0.88, 102, 0.06),
                "ppv": metric(0.71, 42, 0.13),
                "npv": {"value": None, "ci95": None, "n": 0, "reason": "nothing called negative"},
                "n_unanswered": 4,
            }
        ],
        "lengths": {
            "num_tokens": {
                "n": 1200,
                "mean": 88.2,
                "median": 71,
                "p95": 240,
                "max": 512,
                "histogram": [[32 * i, 32 * i + 32, 400 // (i + 1)] for i in range(16)],
            },
            "characters": None,
        },
        "blind": {
            "chance": 0.29,
            "option_prior": metric(0.352, 1200, 0.03),
            "best_predictor": "option_prior",
            "best": metric(0.352, 1200, 0.03),
            "predictors": {"option_prior": metric(0.352, 1200, 0.03)},
            "image_gain": metric(0.332, 1200, 0.04),
            "image_needed": metric(0.571, 778, 0.04),
        },
        "intervals": {"seed": 0, "num_resamples": 2000},
        **{
            part: {"status": "missing", "reason": "the file has no probabilities"}
            for part in ("calibration", "selective", "uncertainty", "dropout")
        },
        "warnings": ["24 of 1200 outputs were cut off at the token limit."],
    }


OUTPUTS = (
    "<think>The lung fields are clear. No opacity.</think> <answer> B </answer>",
    "<answer> A </answer>",
    "I cannot help with that.",
    "It could be A or B.",
    "",
    "<think>Looking at the image, the heart",
    None,
)


def places(sample, verdict):
    """The groups and the cells of the confusion matrices that an item is in."""
    answer = verdict.extraction.answer if verdict else None
    return {
        "groups": {
            "modality": sample.modality,
            "question_type": sample.question_type,
            "dataset": sample.dataset,
            "option_count": str(len(sample.options)),
        },
        "by_letter": (sample.ground_truth, answer),
        "by_text": (
            sample.options.get(sample.ground_truth, ""),
            sample.options.get(answer) if answer else None,
        ),
    }


def item(number, **changes):
    """An item as an evaluation hands it to the page, judged by the real rules.

    `changes` are fields of the sample, the prediction or the gallery item, or `results`.
    """
    output = OUTPUTS[number % len(OUTPUTS)]
    options = {"A": "Pneumonia", "B": "No finding", "C": "Effusion", "D": "Fracture"}
    sample = {
        "id": f"item-{number:04d}",
        "images": (f"images/{number}.png",),
        "question": "What is the most likely finding in this chest radiograph?",
        "options": options,
        "ground_truth": "B",
        "answer_type": "multiple_choice",
        "question_type": ("Disease Diagnosis", "Anatomy")[number % 2],
        "modality": ("X-Ray", "CT", "MR")[number % 3],
        "dataset": "example",
    }
    failure = Failure("image_missing", "image 'x.png': no such file.")
    answer = {
        "model_output": output,
        "option_probs": {"A": 0.21, "B": 0.6, "C": 0.13, "D": 0.06},
        "confidence": round(0.3 + number % 7 / 10, 2),
        "finish_reason": "length" if number % len(OUTPUTS) == 5 else "stop",
        "num_tokens": 10 + number,
        "error": failure if output is None else None,
    }
    about = {"metadata": {"age": str(30 + number % 50)}, "hidden": {}, "burned_in": None}

    def changed(fields):
        return {name: changes.get(name, value) for name, value in fields.items()}

    prediction = Prediction(Sample(**changed(sample)), **changed(answer))
    verdict = judge_prediction(prediction, "default")
    reasoning = verdict.extraction.reasoning if verdict else None
    return GalleryItem(
        prediction=prediction,
        row=item_row(prediction, verdict, changes.get("results", "output/results.json")),
        reasoning=changes.get("reasoning", reasoning),
        **changed({**about, **places(prediction.sample, verdict)}),
    )


@pytest.fixture
def make_item():
    """item(number, **changes) -> an item of the gallery; seven kinds of output in turn."""
    return item


@pytest.fixture
def prediction():
    """What the items are made from, for tests that go through summarize."""
    return lambda n: Prediction(Sample(str(n), (f"{n}.png",), "Which?", {}, "CT"), "CT")


ATTACKS = (
    "<script>window.hurt=1</script>",
    "</script><script>window.hurt=1</script>",
    '"><img src=x onerror="window.hurt=1">',
    "javascript:window.hurt=1",
    "<svg onload=window.hurt=1><a href=javascript:window.hurt=1>x</a></svg>",
    "</style><style>*{display:none}</style>",
    "{{ 7*7 }}{% raw %}",
    "\u202egnp.exe\u2066\x1b[31mred\x1b]0;title\x07\x00\u200b\ud800",
    "'; onclick=window.hurt=1 x='",
)


def hostile(value, text):
    """The document with `text` in every string that is content, and in the names of groups."""
    if isinstance(value, dict):
        return {key: hostile(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner, text) for inner in value]
    return f"{text} {value}" if isinstance(value, str) else value


def hostile_summary(text):
    summary = summary_document()
    found = hostile(summary, text)
    groups = next(iter(summary["groups"].values()))
    metrics = next(iter(summary["metrics"].values()))
    parts = ("schema", "calibration", "selective", "uncertainty", "dropout")
    return msgspec.convert(
        {
            **found,
            **{name: summary[name] for name in parts},
            "groups": {text: {text: next(iter(groups.values()))}},
            "metrics": {**summary["metrics"], text: metrics},
            "macro": {text: {"accuracy": metrics, "metrics": {}}},
            "unanswered": {text: 3},
            "extraction_methods": {text: 3},
            "protocols": {text: metrics},
            "meta": {**found["meta"], "versions": {text: text}, "decoding": {text: text}},
        },
        Summary,
    )


def hostile_item(number, text):
    plain = item(number)
    found = hostile(dataclasses.asdict(plain.prediction), text)
    sample = {
        **found.pop("sample"),
        "images": (f"{text} x.png",),
        "options": {"A": text, text: text},
        "ground_truth": text,
    }
    error = found.pop("error")
    prediction = Prediction(
        Sample(**sample),
        **{**found, "option_probs": {text: 0.5}, "error": error and Failure(**error)},
    )
    row = {
        **hostile(msgspec.to_builtins(plain.row), text),
        "ground_truth": text,
        "extracted_answer": None if number % 2 else text,
    }
    return GalleryItem(
        prediction=prediction,
        row=ItemRow(**row),
        metadata={text: text},
        hidden={},
        burned_in=plain.burned_in,
        groups={text: text},
        by_letter=(text, text),
        by_text=(text, None),
        reasoning=hostile(plain.reasoning, text),
    )


@pytest.fixture(params=ATTACKS)
def attack(request):
    """A text that a careless page would run, fetch, break on or be disguised by."""
    return request.param


@pytest.fixture
def hostile_page():
    """hostile_page(text) -> summaries and items with the text wherever others write."""
    return lambda text: (
        [hostile_summary(text)],
        [hostile_item(number, text) for number in range(7)],
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, which logs what a page asks of others; without it the test is skipped."""
    yield from chromium(tmp_path_factory.mktemp("profile"))
