"""Models of other families, each against plain transformers."""

import json
from dataclasses import replace

import pytest
import torch
from in_process import medr1
from tiny_families import FAMILIES, OTHERS
from tiny_qwens import QWENS

from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.infer.engine import InferencePlan, all_predictions
from medr1.infer.local.engine import LocalEngine
from medr1.infer.local.generic import GenericEngine
from medr1.infer.options import answer_strings
from medr1.models.families import choice
from medr1.models.families.batched import BatchedFamily
from medr1.models.loading import load_model
from medr1.prompts import user_text
from medr1.records import Decoding, Turn
from medr1.workflows.engines import local_engine

GREEDY = Decoding(max_new_tokens=8)
EARLIER = Turn("user", "Is the image sharp?"), Turn("assistant", "Yes, it is sharp.")


BUILDERS = {**FAMILIES, **OTHERS, **QWENS}


@pytest.fixture(scope="module", params=BUILDERS)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("families") / request.param
    BUILDERS[request.param](path)
    return path


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    """A checkpoint of a type that medr1 has no file for."""
    path = tmp_path_factory.mktemp("other") / "llava"
    OTHERS["llava"](path)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, device="cpu", allow_template=True)


@pytest.fixture(scope="module", params=["its own engine", "the generic engine"])
def engine(request, loaded):
    """Each type with the engine that `medr1 infer` chooses, and with the generic one."""
    own = local_engine(loaded, GREEDY)
    if request.param == "its own engine":
        return own
    if isinstance(own, GenericEngine):
        pytest.skip("it is the same engine")
    return GenericEngine(loaded)


@pytest.fixture
def samples(validation):
    """Three questions with options, one without, one without an image, one with two, and one with
    earlier turns."""
    several = [sample for sample in validation.samples if sample.options][:3]
    opened = next(sample for sample in validation.samples if not sample.options)
    return [
        *several,
        opened,
        replace(several[0], id="none", images=()),
        replace(several[1], id="two", images=(*several[1].images, *several[2].images)),
        replace(opened, id="earlier", history=EARLIER),
    ]


def predictions_of(engine, samples, root, decoding=GREEDY, **more):
    """The predictions of all samples in one batch."""
    plan = InferencePlan([range(len(samples))], root, decoding=decoding, **more)
    return all_predictions(engine, samples, plan)


def plain_inputs(loaded, sample, root, answer=""):
    """The processor's inputs for the text of the prompt with an answer behind it."""
    images = [load_image(resolve_image(name, root)).image for name in sample.images]
    prompt = "nothink" if sample.options else "bare"
    turns = [(turn.role, turn.content) for turn in sample.history]
    turns.append(("user", user_text(sample, prompt)))
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    messages[0]["content"][:0] = [{"type": "image"} for _ in images]
    text = loaded.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    )
    return loaded.processor(
        text=[text + answer],
        images=[images] if images else None,  # one list for each prompt
        return_tensors="pt",
        add_special_tokens=False,
    )


def test_completions_are_those_of_generate(engine, samples, validation):
    loaded = engine.loaded
    root = validation.image_root
    for sample, prediction in zip(samples, predictions_of(engine, samples, root), strict=True):
        inputs = plain_inputs(loaded, sample, root)
        with torch.inference_mode():
            output = loaded.model.generate(**inputs, max_new_tokens=8, do_sample=False)
        tokens = output[0, inputs["input_ids"].shape[1] :]
        expected = loaded.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        assert prediction.error is None
        assert prediction.model_output == expected.strip()


def test_option_probabilities_are_those_of_plain_passes(engine, samples, validation):
    loaded = engine.loaded
    root = validation.image_root
    for sample, prediction in zip(samples, predictions_of(engine, samples, root), strict=True):
        if not sample.options:
            assert prediction.option_probs is None
            continue
        logps = []
        prompt_length = plain_inputs(loaded, sample, root)["input_ids"].shape[1]
        for string in answer_strings(sample, "nothink", "letter").values():
            inputs = plain_inputs(loaded, sample, root, string)
            with torch.inference_mode():
                all_logps = loaded.model(**inputs).logits[0].double().log_softmax(-1)
            ids = inputs["input_ids"][0]
            places = range(prompt_length, len(ids))
            logps.append(sum(all_logps[place - 1, ids[place]] for place in places))
        expected = torch.stack(logps).softmax(0).tolist()
        assert list(prediction.option_probs.values()) == pytest.approx(expected, abs=2e-5)


def test_samples_depend_on_the_seed_only(engine, samples, validation):
    root, some = validation.image_root, samples[:2]
    hot = replace(GREEDY, num_samples=2, temperature=2.0)
    first = predictions_of(engine, some, root, hot)
    assert predictions_of(engine, some[1:], root, hot)[0] == first[1]
    assert predictions_of(engine, some, root, hot, seed=1)[0].samples != first[0].samples


def test_rotations_and_removed_images(engine, samples, validation):
    root, some = validation.image_root, samples[:1]
    (rotated,) = predictions_of(engine, some, root, Decoding("options", permute=2))
    assert len(rotated.circular_answers) == 2
    assert sum(rotated.option_probs.values()) == pytest.approx(1, abs=1e-5)
    (blank,) = predictions_of(engine, some, root, replace(GREEDY, ablate_image="blank"))
    (shown,) = predictions_of(engine, some, root)
    assert blank.option_probs != shown.option_probs and blank.image_notes == ("ablated: blank",)


def test_a_batch_is_answered_and_evaluated(folder, tmp_path):
    questions = tiny_vqa_folder() / "validation.json"
    options = ("--batch-file", questions, "--limit", "4", "--max-new-tokens", "8")
    output = tmp_path / "r.json"
    common = ("infer", "--model-path", folder, "--output-file", output, *options)
    refused = medr1(*common)
    assert refused.returncode == 2 and "--allow-template" in refused.stderr
    done = medr1(*common, "--allow-template")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(output.read_text())["results"]) == 4
    assert medr1("eval", output, "--data", questions).returncode == 0


def test_a_type_without_a_file_is_asked_one_prompt_at_a_time(other_folder):
    common = ("infer", "--model-path", other_folder, "--allow-template", "--max-new-tokens", "4")
    image = sorted((tiny_vqa_folder() / "images").iterdir())[0]
    question = ("--image-path", image, "--question", "Which? A)CT, B)MRI")
    done = medr1(*common, *question)
    assert done.returncode == 0, done.stderr
    assert "llava is asked one prompt at a time" in done.stderr
    passes = medr1(*common, *question, "--dropout-samples", "2")
    assert passes.returncode == 2 and "--engine local with a model of qwen2_vl" in passes.stderr


def test_a_family_is_added(other_folder, samples, validation, monkeypatch):
    """As CONTRIBUTING.md has it: a class, and its model type in FAMILIES."""

    class LlavaFamily(BatchedFamily):
        name = "LLaVA"
        processors = ("LlavaProcessor",)

    loaded = load_model(other_folder, device="cpu", allow_template=True)
    before = predictions_of(GenericEngine(loaded), samples, validation.image_root)
    monkeypatch.setattr(choice, "FAMILIES", {**choice.FAMILIES, "llava": LlavaFamily()})
    loaded = load_model(other_folder, device="cpu", allow_template=True)
    engine = local_engine(loaded, GREEDY)
    assert isinstance(engine, LocalEngine)
    for new, old in zip(
        predictions_of(engine, samples, validation.image_root), before, strict=True
    ):
        assert new.model_output == old.model_output
        if old.option_probs:
            assert new.option_probs == pytest.approx(old.option_probs, abs=2e-5)


def test_an_unknown_architecture_is_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config.update(model_type="my_vl", auto_map={"AutoModel": "modeling.My"})
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"'my_vl' is not one that medr1 loads\. It has code"):
        load_model(copy, device="cpu")
    config.update(model_type="t5gemma2")
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError):
        load_model(copy, device="cpu")
