"""Option probabilities against the plain way: each option by itself, no cache, no packing."""

from dataclasses import replace

import pytest
import torch

from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.infer.local.engine import predict
from medr1.infer.local.packing import pack_strings
from medr1.infer.options import (
    answer_strings,
    normalized_probabilities,
    reasons_first,
)
from medr1.prompts import chat_messages
from medr1.records import Decoding, Sample

CHOICE = Sample("1", ("a.png",), "Which?", {"A": "CT", "B": "MRI"}, answer_type="multiple_choice")


def test_the_answer_string_is_the_checkpoints_and_the_prompts():
    assert answer_strings(CHOICE, "think", "letter") == {
        "A": "<answer> A </answer>",
        "B": "<answer> B </answer>",
    }
    assert answer_strings(CHOICE, "nothink", "text")["B"] == "<answer> MRI </answer>"
    assert answer_strings(CHOICE, "bare", "text") == {"A": "CT", "B": "MRI"}
    assert answer_strings(replace(CHOICE, options={}), "bare", "text") == {}
    asked = replace(CHOICE, options={}, answer_type="yes_no")
    assert answer_strings(asked, "nothink", "letter")["yes"] == "<answer> Yes </answer>"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("think", True), ("authors-think", True), ("think-after", False), ("nothink", False)],
)
def test_where_the_answer_stands(prompt, expected):
    assert reasons_first(prompt) is expected


def test_a_packed_string_sees_the_shared_tokens_and_itself():
    packed = pack_strings([[1, 2], [3]], [[[4, 5, 6], [7]], [[8, 9]]], pad=0)
    assert packed.ids_BQ.tolist() == [[1, 2, 4, 5], [0, 0, 3, 8]]
    assert packed.offsets_BQ.tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert packed.visible_BQQ[0].int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
    ]
    assert packed.visible_BQQ[1].int().tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 1],
    ]
    assert (packed.rows, packed.queries) == ([0, 0, 0, 0, 1, 1], [1, 2, 3, 1, 2, 3])
    assert (packed.targets, packed.strings) == ([4, 5, 6, 7, 8, 9], [0, 0, 0, 1, 2, 2])
    two = pack_strings([[1]], [[[4, 5], [6, 7]]], pad=0)
    assert two.visible_BQQ[0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 1]]


def test_shares_sum_to_one_and_are_none_for_what_is_no_number():
    assert normalized_probabilities({"A": -1000.0, "B": -1000.0}) == {"A": 0.5, "B": 0.5}
    assert normalized_probabilities({"A": float("nan"), "B": 0.0}) is None


def plain_inputs(loaded, questions, sample, prompt, behind=""):
    """One question as the library's own processor makes it, with a text behind it."""
    text = loaded.processor.apply_chat_template(
        chat_messages(sample, prompt, loaded.info.answer_style),
        add_generation_prompt=True,
        tokenize=False,
    )
    images = [load_image(resolve_image(name, questions.image_root)).image for name in sample.images]
    return loaded.processor(text=[text + behind], images=[images], return_tensors="pt")


@torch.inference_mode()
def plain_probabilities(loaded, questions, sample, prompt, said=""):
    """Each answer string behind the prompt in a forward pass of its own."""
    scores = []
    for string in answer_strings(sample, prompt, loaded.info.answer_style).values():
        start = plain_inputs(loaded, questions, sample, prompt, said)["input_ids"].shape[1]
        inputs = plain_inputs(loaded, questions, sample, prompt, said + string)
        logps = loaded.model(**inputs).logits.log_softmax(-1)[0]
        ids = inputs["input_ids"][0]
        scores.append(sum(float(logps[i - 1, ids[i]]) for i in range(start, len(ids))))
    return torch.tensor(scores, dtype=torch.double).softmax(0).tolist()


@pytest.mark.parametrize("kind", ["embedded", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"])
def test_packed_scores_and_completions_are_those_of_the_plain_way(
    kind, tiny_model, random_model, validation
):
    loaded = tiny_model if kind == "embedded" else random_model(kind)
    samples = [s for s in validation.samples if s.options][:5]
    samples.append(replace(samples[0], id="again", question="What is shown?"))  # the same picture
    found = predict(
        loaded,
        samples,
        image_root=validation.image_root,
        decoding=Decoding(max_new_tokens=8),
        batch_size=4,
        prompt="nothink",
    )
    for sample, prediction in zip(samples, found, strict=True):
        expected = plain_probabilities(loaded, validation, sample, "nothink")
        assert list(prediction.option_probs.values()) == pytest.approx(expected, abs=2e-5)
        inputs = plain_inputs(loaded, validation, sample, "nothink")
        with torch.inference_mode():
            output = loaded.model.generate(**inputs, max_new_tokens=8, do_sample=False)
        new = output[0, inputs["input_ids"].shape[1] :]
        text = loaded.processor.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert prediction.model_output == text


def test_behind_reasoning_the_answers_stand_behind_what_was_generated(letters_model, validation):
    samples = [s for s in validation.samples if s.options][:24]
    found = predict(
        letters_model,
        samples,
        image_root=validation.image_root,
        decoding=Decoding(max_new_tokens=40, do_sample=True, temperature=1.0),
        batch_size=8,
        prompt="think",
    )
    scored = [p for p in found if p.option_probs]
    assert scored
    for prediction in scored:
        said = prediction.model_output[: prediction.model_output.rindex("<answer>")]
        expected = plain_probabilities(letters_model, validation, prediction.sample, "think", said)
        assert list(prediction.option_probs.values()) == pytest.approx(expected, abs=2e-5)
    without = [p for p in found if "<answer>" not in p.model_output]
    assert all(p.option_probs is None and p.confidence is None for p in without)


def test_every_rotation_of_the_options_is_averaged(tiny_model, validation):
    sample = next(s for s in validation.samples if len(s.options) == 3)
    arguments = {"image_root": validation.image_root}
    (found,) = predict(tiny_model, [sample], decoding=Decoding("options", permute=5), **arguments)
    letters, texts = list(sample.options), list(sample.options.values())
    total, tops = dict.fromkeys(texts, 0.0), []
    for turn in range(3):
        turned = dict(zip(letters, texts[turn:] + texts[:turn], strict=True))
        (one,) = predict(
            tiny_model,
            [replace(sample, options=turned)],
            decoding=Decoding("options"),
            **arguments,
        )
        for letter, share in one.option_probs.items():
            total[turned[letter]] += share / 3
        top = turned[max(one.option_probs, key=one.option_probs.get)]
        tops.append(letters[texts.index(top)])
    expected = [total[text] for text in texts]
    assert list(found.option_probs.values()) == pytest.approx(expected, abs=2e-6)
    assert found.circular_answers == tuple(tops)
    assert found.extracted_answer == max(found.option_probs, key=found.option_probs.get)


def test_yes_and_no_have_probabilities_too(tiny_model, validation):
    asked = replace(
        validation.samples[0], question="Is this a CT?", options={}, answer_type="yes_no"
    )
    both, picked = (
        predict(tiny_model, [asked], image_root=validation.image_root, decoding=Decoding(mode, 8))[
            0
        ]
        for mode in ("both", "options")
    )
    assert set(both.option_probs) == {"yes", "no"} and sum(both.option_probs.values()) == 1
    assert picked.extracted_answer == max(picked.option_probs, key=picked.option_probs.get)
    assert picked.confidence == max(picked.option_probs.values())


def test_options_mode_needs_options(tiny_model, validation):
    asked = replace(validation.samples[0], options={}, answer_type="open")
    (found,) = predict(
        tiny_model, [asked], image_root=validation.image_root, decoding=Decoding("options")
    )
    assert found.error.code == "no_options"
