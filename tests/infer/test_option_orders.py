"""Contamination: the probability of a question's text with its options in several orders."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binom

from medr1.data.option_orders import has_natural_order, other_orders
from medr1.data.readers import read_questions
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.infer.local.order_scores import order_log_probabilities
from medr1.models.loading import load_model
from medr1.prompts import chat_messages, problem_text
from medr1.records import Sample
from medr1.stats.exchangeability import RESAMPLES, exchangeability_p_value, preference

ROOT = Path(__file__).parent.parent.parent
N_ITEMS = 40


def medr1(*arguments, cwd, code=0):
    command = [sys.executable, "-m", "medr1", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


# --- the statistics ---------------------------------------------------------------------------


def test_preference_counts_equal_orders_half():
    assert preference([-1.0, -2.0, -1.0, -0.5]) == pytest.approx((1 + 0.5 + 0) / 3)


def test_p_value_is_that_of_the_binomial_distribution_for_two_orders():
    """With two orders each, the preference is 0 or 1 with equal probability."""
    items = [[-1.0, -2.0]] * 14 + [[-2.0, -1.0]] * 6
    exact = binom.sf(13, 20, 0.5)
    error = 4 * np.sqrt(exact * (1 - exact) / RESAMPLES)
    assert exchangeability_p_value(items, 0) == pytest.approx(exact, abs=error)


def test_p_values_of_random_orders_are_uniform():
    rng = np.random.default_rng(5)
    p_values = [exchangeability_p_value(rng.normal(size=(30, 6)).tolist(), n) for n in range(200)]
    for alpha in (0.05, 0.2, 0.5):
        low, high = binom.interval(0.999, 200, alpha)
        assert low <= sum(p <= alpha for p in p_values) <= high


# --- orders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "natural"),
    [
        (["1", "2", "3"], True),
        (["10 mm", "5 mm", "2 mm"], True),
        (["2 cm", "10 cm", "5 cm"], False),
        (["CT", "MRI", "PET"], True),
        (["MRI", "CT", "X-ray"], False),
        (["MRI", "CT", "None of the above"], True),
        (["Both lungs", "A and B", "Heart"], True),
        (["Yes", "No"], True),
    ],
)
def test_natural_orders(texts, natural):
    assert has_natural_order(texts) is natural


def test_other_orders_are_different_and_depend_on_seed_and_id():
    sample = Sample("q", (), "Which?", {"A": "MRI", "B": "CT", "C": "X-ray", "D": "PET"})
    orders = other_orders(sample, 7, 0)
    texts = [tuple(order.options.values()) for order in orders]
    assert len({*texts, tuple(sample.options.values())}) == 8
    assert not any(map(has_natural_order, texts))
    assert orders == other_orders(sample, 7, 0) != other_orders(sample, 7, 1)
    assert orders != other_orders(replace(sample, id="r"), 7, 0)
    assert len(other_orders(sample, 100, 0)) == 21  # 24 without its own and the two sorted ones


def test_many_options_have_drawn_orders():
    options = dict(zip("ABCDEFGH", "hbgacfed", strict=True))
    assert (
        len({tuple(o.options.values()) for o in other_orders(Sample("q", (), "Q?", options), 9, 0)})
        == 9
    )


# --- a model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def questions():
    """Questions of the embedded test split whose options are in an order drawn by this test."""
    file = read_questions(tiny_vqa_folder() / "test.json")
    rows = [s for s in file.samples if s.options and not has_natural_order([*s.options.values()])]
    drawn = [other_orders(sample, 1, 77)[0] for sample in rows[:N_ITEMS]]
    return drawn, file.image_root


@pytest.fixture
def model():
    return load_model(tiny_vl_folder(), device="cpu")


def inputs_of(loaded, sample, root):
    """What stock transformers makes of a question, and how many of the last tokens are its text."""
    chat = loaded.processor.apply_chat_template(
        chat_messages(sample, "bare"), add_generation_prompt=True, tokenize=False
    )
    images = [Image.open(root.path / name).convert("RGB") for name in sample.images]
    inputs = loaded.processor(text=[chat], images=images, return_tensors="pt")
    text = chat[chat.rfind(problem_text(sample)) :]
    return inputs, len(loaded.processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def log_probability(loaded, sample, root):
    inputs, size = inputs_of(loaded, sample, root)
    with torch.inference_mode():
        logps = loaded.model(**inputs).logits[0, :-1].float().log_softmax(-1)
    targets = inputs["input_ids"][0, 1:]
    return float(logps.gather(-1, targets[:, None])[-size:].sum())


def scores_of(loaded, questions, count=7):
    samples, root = questions
    orders = {i: other_orders(sample, count, 0) for i, sample in enumerate(samples)}
    scores, failures = order_log_probabilities(loaded, samples, orders, root, 8)
    assert not failures
    return [scores[i] for i in range(len(samples))], orders


def test_log_probabilities_are_those_of_transformers(model, questions):
    samples, root = questions
    scores, orders = scores_of(model, (samples[:6], root), count=3)
    for i, row in enumerate(scores):
        expected = [log_probability(model, s, root) for s in [samples[i], *orders[i]]]
        assert row == pytest.approx(expected, abs=1e-3)


def test_a_model_that_learned_the_questions_prefers_their_order(model, questions):
    samples, root = questions
    before, _ = scores_of(model, questions)
    assert exchangeability_p_value(before, 0) > 0.01
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=5e-4)
    for _ in range(6):
        for sample in samples:
            inputs, size = inputs_of(model, sample, root)
            labels = torch.full_like(inputs["input_ids"], -100)
            labels[:, -size:] = inputs["input_ids"][:, -size:]
            model.model(**inputs, labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    after, _ = scores_of(model, questions)
    assert exchangeability_p_value(after, 0) < 0.001
    assert np.mean([preference(row) for row in after]) > 0.8


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def files(questions, tmp_path):
    """The questions as a file, with answers of the model to them."""
    samples, root = questions
    items = [
        {"id": s.id, "image": str(root.path / s.images[0]), "question": s.question,
         "options": dict(s.options), "ground_truth": s.ground_truth}
        for s in samples[:12]
    ]  # fmt: skip
    items.append(
        {"id": "open", "image": items[0]["image"], "question": "Which?", "ground_truth": "x"}
    )
    (tmp_path / "test.json").write_text(json.dumps(items))
    medr1(
        "infer", "--model-path", tiny_vl_folder(), "--batch-file", "test.json", "--output-file",
        "results.json", "--max-new-tokens", "8", "--quiet", cwd=tmp_path,
    )  # fmt: skip
    return tmp_path


def test_from_the_test_to_the_card(files):
    command = ("contamination", "test.json", "--model-path", tiny_vl_folder())
    text = medr1(*command, "--output-file", "c.json", "--orders", "4", cwd=files).stdout
    assert "12 questions, up to 4 orders" in text
    assert "left out: 1 without options" in text
    document = json.loads((files / "c.json").read_text())
    assert 0 <= document["p_value"] <= 1
    assert f"p-value  {document['p_value']:.4f}" in text
    medr1("eval", "results.json", "--card", "card.json", "--contamination", "c.json", cwd=files)
    card = json.loads((files / "card.json").read_text())["contamination"]
    assert (card["n"], card["p_value"]) == (12, document["p_value"])
    assert "Preference for the published order of options" in (files / "card.md").read_text()
    error = medr1(*command, "--output-file", "c.json", cwd=files, code=2).stderr
    assert "exists" in error


def test_a_test_of_other_questions_is_refused(files):
    items = json.loads((files / "test.json").read_text())
    (files / "other.json").write_text(json.dumps(items[:8]))
    medr1(
        "contamination", "other.json", "--model-path", tiny_vl_folder(), "--output-file", "c.json",
        cwd=files,
    )  # fmt: skip
    command = ("eval", "results.json", "--card", "card.json", "--contamination", "c.json")
    assert "about other questions than the results" in medr1(*command, cwd=files, code=2).stderr


def test_questions_in_natural_order_only(tmp_path):
    item = {"image": "a.png", "question": "How many?", "options": ["1", "2", "3"], "solution": "1"}
    (tmp_path / "test.json").write_text(json.dumps([item]))
    command = ("contamination", "test.json", "--model-path", tiny_vl_folder())
    error = medr1(*command, cwd=tmp_path, code=2).stderr
    assert "no questions whose options are in a random order" in error
