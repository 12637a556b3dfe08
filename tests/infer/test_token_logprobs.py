"""Log-probabilities of a completion's tokens, against a full forward pass of transformers."""

import json
from dataclasses import replace

import pytest
import torch
from architectures import random_model
from chat_server import ChatServer, logprob
from in_process import medr1
from PIL import Image
from tiny_families import FAMILIES, OTHERS

from medr1.chat.settings import Server
from medr1.data.images import load_image
from medr1.data.perturbations import GREY
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.infer.engine import InferencePlan, all_predictions, require_capable
from medr1.infer.local.generic import GenericEngine
from medr1.infer.server.engine import ServerEngine
from medr1.models.loading import load_model
from medr1.prompts import problem_text, user_text
from medr1.records import Decoding, prediction_from_dict, prediction_to_dict
from medr1.workflows.engines import local_engine

GREEDY = Decoding("generate", max_new_tokens=8, token_logprobs=True)
RANDOM = ("qwen2_vl", "qwen3_vl")
BUILDERS = {"gemma3": FAMILIES["gemma3"], "smolvlm": FAMILIES["smolvlm"], **OTHERS}


@pytest.fixture(scope="module", params=["embedded", *RANDOM, *BUILDERS])
def engine(request, tmp_path_factory, tiny_model):
    """A Qwen2-VL and others with batches; LLaVA is asked one prompt at a time."""
    if request.param == "embedded":
        return local_engine(tiny_model, GREEDY)
    if request.param in RANDOM:
        return local_engine(random_model(request.param, tiny_model), GREEDY)
    folder = tmp_path_factory.mktemp("models") / request.param
    BUILDERS[request.param](folder)
    engine = local_engine(load_model(folder, device="cpu", allow_template=True), GREEDY)
    assert isinstance(engine, GenericEngine) == (request.param == "llava")
    return engine


@pytest.fixture(scope="module")
def samples(validation):
    """Three questions with options, one without, one without an image and one with two."""
    several = [sample for sample in validation.samples if sample.options][:3]
    opened = next(sample for sample in validation.samples if not sample.options)
    return [
        *several,
        opened,
        replace(several[0], id="none", images=()),
        replace(several[1], id="two", images=(*several[1].images, *several[2].images)),
    ]


def predictions_of(engine, samples, root, batches, decoding=GREEDY, **more):
    plan = InferencePlan(batches, root, decoding=decoding, prompt="nothink", **more)
    return all_predictions(engine, samples, plan)


def prompt_of(loaded, sample, images):
    """transformers' own inputs for one prompt."""
    style = loaded.info.answer_style
    content = [{"type": "image"} for _ in images]
    content.append({"type": "text", "text": user_text(sample, "nothink", style)})
    text = loaded.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return loaded.processor(
        text=[text],
        images=[images] if images else None,
        return_tensors="pt",
        add_special_tokens=False,
    )


def plain_logprobs(loaded, sample, images, completion):
    """The log-softmax of a full forward pass over prompt and completion, without any cache."""
    inputs = dict(prompt_of(loaded, sample, images))
    added = torch.tensor([completion])
    for name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"):
        if name in inputs:
            behind = {"input_ids": added, "attention_mask": torch.ones_like(added)}
            tail = behind.get(name, torch.zeros_like(added))
            inputs[name] = torch.cat([inputs[name], tail], dim=1)
    with torch.inference_mode():
        logps = loaded.model(**inputs).logits[0].double().log_softmax(-1)
    first = inputs["input_ids"].shape[1] - len(completion) - 1
    return [float(logps[first + place, token]) for place, token in enumerate(completion)]


def greedy(loaded, sample, images):
    """The tokens of transformers' own greedy completion, without the end token."""
    inputs = prompt_of(loaded, sample, images)
    with torch.inference_mode():
        output = loaded.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    tokens = output[0, inputs["input_ids"].shape[1] :].tolist()
    end = loaded.model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    return tokens[: next((i for i, token in enumerate(tokens) if token in ends), None)]


def test_they_are_those_of_a_full_forward_pass(engine, samples, validation):
    loaded, root = engine.loaded, validation.image_root
    together = predictions_of(engine, samples, root, [range(len(samples))])
    differing = 0
    for sample, prediction in zip(samples, together, strict=True):
        assert prediction.error is None
        images = [load_image(resolve_image(name, root)).image for name in sample.images]
        completion = greedy(loaded, sample, images)
        expected = plain_logprobs(loaded, sample, images, completion)
        assert len(completion) == prediction.num_tokens > 0
        assert prediction.token_logprobs == pytest.approx(expected, abs=1e-4)
        if not images:
            assert prediction.token_logprobs_without_image is None
            continue
        grey = [Image.new("RGB", image.size, GREY) for image in images]
        expected = plain_logprobs(loaded, sample, grey, completion)
        assert prediction.token_logprobs_without_image == pytest.approx(expected, abs=1e-4)
        differing += prediction.token_logprobs != prediction.token_logprobs_without_image
    assert differing


def test_the_batch_size_does_not_matter(engine, samples, validation):
    root = validation.image_root
    together = predictions_of(engine, samples, root, [range(len(samples))])
    alone = predictions_of(engine, samples, root, [[i] for i in range(len(samples))])
    for a, b in zip(together, alone, strict=True):
        assert a.model_output == b.model_output
        assert a.token_logprobs == pytest.approx(b.token_logprobs, abs=2e-4)
        if a.sample.images:
            without = b.token_logprobs_without_image
            assert a.token_logprobs_without_image == pytest.approx(without, abs=2e-4)


def test_a_blank_image_is_what_ablation_shows(engine, samples, validation):
    """The prompt with the grey image is that of --ablate-image blank."""
    root, some = validation.image_root, samples[:1]
    (shown,) = predictions_of(engine, some, root, [[0]])
    blank_decoding = replace(GREEDY, ablate_image="blank")
    (blank,) = predictions_of(engine, some, root, [[0]], blank_decoding)
    assert blank.token_logprobs == pytest.approx(blank.token_logprobs_without_image, abs=2e-4)
    if blank.model_output == shown.model_output:
        expected = shown.token_logprobs_without_image
        assert blank.token_logprobs == pytest.approx(expected, abs=2e-4)


def test_without_the_flag_there_are_none(engine, samples, validation):
    decoding = replace(GREEDY, token_logprobs=False)
    (prediction,) = predictions_of(engine, samples[:1], validation.image_root, [[0]], decoding)
    assert prediction.token_logprobs is None
    assert "token_logprobs" not in prediction_to_dict(prediction)


def test_the_command_writes_them_and_resumes(tmp_path):
    """With options and probabilities too; the flag is in the manifest only where it is set."""
    output = tmp_path / "r.json"
    command = ("infer", "--model-path", "tiny-vl", "--max-new-tokens", "8", "--limit", "6")
    command += ("--batch-file", tiny_vqa_folder() / "validation.json", "--output-file", output)
    done = medr1(*command, "--token-logprobs")
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["meta"]["decoding"]["token_logprobs"] is True
    for entry in document["results"]:
        assert len(entry["token_logprobs"]) == entry["num_tokens"]
        assert len(entry["token_logprobs_without_image"]) == entry["num_tokens"]
        assert max(entry["token_logprobs"]) <= 0
        assert entry["token_logprobs"] == [round(x, 4) for x in entry["token_logprobs"]]
        assert prediction_to_dict(prediction_from_dict(entry)) == {
            name: tuple(value) if isinstance(value, list) and name != "error" else value
            for name, value in entry.items()
        }
    again = medr1(*command, "--token-logprobs")
    assert again.returncode == 0 and "nothing to do" in again.stderr
    other = medr1(*command)
    assert other.returncode == 2 and "different: " in other.stderr
    plain = medr1(*command, "--overwrite")
    assert plain.returncode == 0
    assert "token_logprobs" not in json.loads(output.read_text())["meta"]["decoding"]


def test_what_has_no_greedy_completion_is_refused(tmp_path):
    common = ("infer", "--model-path", "tiny-vl", "--batch-file", tiny_vqa_folder() / "test.json")
    common += ("--output-file", tmp_path / "r.json", "--token-logprobs")
    for options in (("--mode", "options"), ("--do-sample",)):
        refused = medr1(*common, *options)
        assert refused.returncode == 2 and "is about the greedy completion" in refused.stderr


# --- a server -----------------------------------------------------------------------------------


def of_server(server, questions, decoding=GREEDY):
    engine = ServerEngine.connect(Server(base_url=server.url, max_retries=1), "test-model")
    require_capable(engine, decoding)
    batches = [[index] for index in range(len(questions))]
    return engine, batches


def text_of(server, sample):
    texts = {request["messages"][0]["content"][-1]["text"] for request in server.requests}
    (text,) = [text for text in texts if text.startswith(problem_text(sample))]
    return text


@pytest.fixture(scope="module")
def questions(validation):
    by_text = {problem_text(sample): sample for sample in validation.samples if sample.options}
    return list(by_text.values())[:4]


@pytest.mark.parametrize("mode", ["generate", "both"])
def test_a_server_that_returns_those_of_the_prompt(questions, validation, mode):
    decoding = replace(GREEDY, mode=mode)
    with ChatServer() as server:
        engine, batches = of_server(server, questions, decoding)
        predictions = predictions_of(engine, questions, validation.image_root, batches, decoding)
        for prediction in predictions:
            text = text_of(server, prediction.sample)
            words = ["<answer>", f" {prediction.extracted_answer}", " </answer>"]
            expected = [round(logprob(text, word.strip()), 4) for word in words]
            assert list(prediction.token_logprobs) == expected
            expected = [round(logprob(text, word), 4) for word in words]
            assert list(prediction.token_logprobs_without_image) == expected
    scored = [r for r in server.requests if r.get("prompt_logprobs") == 0]
    urls = {r["messages"][0]["content"][0]["image_url"]["url"] for r in server.requests}
    options = sum(len(sample.options) for sample in questions)
    assert len(scored) == len(questions) + (options if mode == "both" else 0)
    assert len(urls) > len({name for sample in questions for name in sample.images})


def test_a_server_without_those_of_the_prompt(questions, validation, caplog):
    with ChatServer(prompt_logprobs=False) as server:
        engine, batches = of_server(server, questions)
        predictions = predictions_of(engine, questions, validation.image_root, batches)
    assert "token_logprobs_without_image is left out" in caplog.text
    assert all(len(prediction.token_logprobs) == 3 for prediction in predictions)
    assert {prediction.token_logprobs_without_image for prediction in predictions} == {None}


def test_a_server_without_any_is_refused(questions):
    with (
        ChatServer(prompt_logprobs=False, top_tokens=0) as server,
        pytest.raises(InputError, match="--token-logprobs needs a server"),
    ):
        of_server(server, questions)
