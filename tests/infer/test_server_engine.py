"""Inference through an OpenAI-compatible server that fails in every way it can."""

import base64
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import pytest
from chat_server import ChatServer, logprob
from in_process import medr1
from PIL import Image

from medr1.chat.responses import read_chat
from medr1.chat.settings import Server
from medr1.data.images import load_image
from medr1.data.roots import resolve_image
from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError, Medr1Error
from medr1.infer.batch import manifest, run_batch
from medr1.infer.engine import InferencePlan, all_predictions, require_capable
from medr1.infer.server.engine import ServerEngine
from medr1.infer.server.scores import probabilities_of_letters
from medr1.prompts import problem_text
from medr1.records import Decoding, Turn

BOTH = Decoding(max_new_tokens=16)
FAST = {"timeout": 1.0, "max_retries": 1}
"""A stalled request is given up soon, and each failed one is sent twice."""


@pytest.fixture
def questions(validation):
    """24 questions with options, each with another text."""
    by_text = {problem_text(sample): sample for sample in validation.samples if sample.options}
    return replace(validation, samples=list(by_text.values())[:24], failures={})


def engine_for(server, **settings):
    return ServerEngine.connect(Server(base_url=server.url, **{**FAST, **settings}), "test-model")


def predictions_of(server, questions, decoding=BOTH, **settings):
    plan = InferencePlan(
        [[index] for index in range(len(questions.samples))],
        questions.image_root,
        decoding=decoding,
    )
    return all_predictions(engine_for(server, **settings), questions.samples, plan)


def batch(server, questions, output, decoding=BOTH, **settings):
    engine = engine_for(server, **settings)
    meta = manifest(
        engine.identity(), questions, data="q.json", prompt=None, decoding=decoding, seed=0
    )
    return run_batch(engine, questions, output, meta, decoding=decoding)


def text_of(request):
    return request["messages"][0]["content"][-1]["text"]


# --- answers and probabilities ------------------------------------------------------------------


def test_answers_and_exact_probabilities(questions):
    with ChatServer() as server:
        predictions = predictions_of(server, questions)
    prompts = {problem_text(s): s for s in questions.samples}
    texts = {text_of(request) for request in server.requests}
    assert len(texts) == len(prompts)
    for prediction in predictions:
        sample = prediction.sample
        (text,) = [text for text in texts if text.startswith(problem_text(sample))]
        assert prediction.extracted_answer == server.answer(text)
        assert (prediction.finish_reason, prediction.num_tokens) == ("stop", 4)
        weights = {letter: math.exp(logprob(text, f" {letter}")) for letter in sample.options}
        total = sum(weights.values())
        assert prediction.option_probs.keys() == sample.options.keys()
        for letter, weight in weights.items():
            assert prediction.option_probs[letter] == pytest.approx(weight / total, abs=1e-6)
        assert prediction.confidence == prediction.option_probs[prediction.extracted_answer]
        assert prediction.option_bounds is None


def test_probabilities_from_the_letter_and_its_bounds(questions):
    with ChatServer(prompt_logprobs=False, hidden_letters="B") as server:
        engine = engine_for(server)
        predictions = predictions_of(server, questions)
    assert engine.method == "letter"
    for prediction in predictions:
        (text,) = {
            text_of(request)
            for request in server.requests
            if text_of(request).startswith(problem_text(prediction.sample))
        }
        letters = list(prediction.sample.options)
        known = {letter: math.exp(logprob(text, letter)) for letter in letters if letter != "B"}
        if prediction.extracted_answer == "B":  # the generated token itself is always known
            known["B"] = math.exp(logprob(text, "B"))
            assert prediction.option_bounds is None
            expected = known["B"] / sum(known.values())
            assert prediction.option_probs["B"] == pytest.approx(expected, abs=1e-6)
            continue
        assert prediction.option_probs is None
        bounds = prediction.option_bounds
        assert bounds["B"][0] == 0 < bounds["B"][1]
        for letter, weight in known.items():
            low, high = bounds[letter]
            assert high == pytest.approx(weight / sum(known.values()), abs=1e-6)
            assert 0 < low < high
        assert prediction.confidence == bounds[prediction.extracted_answer][0]
        # Whatever the probability of B is, that of the others is inside the bounds.
        for share in (0.0, 0.5, 1.0):
            b = share * bounds["B"][1] / (1 - bounds["B"][1]) * sum(known.values())
            for letter, weight in known.items():
                value = weight / (sum(known.values()) + b)
                assert bounds[letter][0] - 1e-6 <= value <= bounds[letter][1] + 1e-6


def test_no_probabilities_from_a_place_without_tokens():
    """What mlx-vlm 0.7.10 returns for some requests of a batch: log-probability 0 and no tokens."""
    token = {"token": "A", "logprob": 0.0, "top_logprobs": []}
    choice = {"message": {"content": "A"}, "logprobs": {"content": [token]}}
    response = read_chat(json.dumps({"choices": [choice]}).encode())
    assert probabilities_of_letters(response, ["A", "B"]) == (None, None)


def test_a_server_that_mixes_requests_gets_one_at_a_time(questions, caplog):
    with ChatServer(software="mlx_vlm/0.7.10", seconds=0.01) as server:
        predictions_of(server, questions, replace(BOTH, mode="generate"))
    assert server.most_at_once == 1 and "One request is sent at a time" in caplog.text


def test_no_probabilities_without_logprobs(questions):
    with ChatServer(prompt_logprobs=False, top_tokens=0) as server:
        predictions = predictions_of(server, questions)
        engine = engine_for(server)
    assert {prediction.option_probs for prediction in predictions} == {None}
    assert all(prediction.extracted_answer for prediction in predictions)
    with pytest.raises(InputError, match="--mode options needs the log-probabilities of the"):
        require_capable(engine, Decoding("options"))
    with pytest.raises(InputError, match="--permute needs"):
        require_capable(engine, Decoding(permute=2))
    with pytest.raises(InputError, match="--dropout-samples needs --engine local"):
        require_capable(engine, Decoding(dropout_samples=2))
    refused = pytest.raises(InputError, match="Possible here: letter")
    with ChatServer(prompt_logprobs=False) as server, refused:
        engine_for(server, option_probabilities="exact")


def test_options_alone_samples_and_rotations(questions):
    few = replace(questions, samples=questions.samples[:4])
    with ChatServer() as server:
        for prediction in predictions_of(server, few, Decoding("options", permute=2)):
            probs = prediction.option_probs
            assert prediction.extracted_answer == max(probs, key=probs.get)
            assert len(prediction.circular_answers) == 2
        assert all(request["max_tokens"] == 1 for request in server.requests)
        server.requests.clear()
        for prediction in predictions_of(server, few, replace(BOTH, num_samples=3)):
            assert len(prediction.samples) == 3
    seeds = [request["seed"] for request in server.requests if "seed" in request]
    assert len(set(seeds)) == 12 and all(0 <= seed < 2**31 for seed in seeds)
    greedy = [r for r in server.requests if "seed" not in r and len(r["messages"]) == 1]
    assert {request["temperature"] for request in greedy} == {0}


def test_reasoning_comes_before_the_answer_string(questions):
    few = replace(questions, samples=questions.samples[:4])
    with ChatServer(completion="<think> dark </think> <answer> {} </answer>") as server:
        plan = InferencePlan([[0, 1, 2, 3]], few.image_root, prompt="think", decoding=BOTH)
        predictions = all_predictions(engine_for(server), few.samples, plan)
    assert {prediction.reasoning for prediction in predictions} == {"dark"}
    scored = [r["messages"][1]["content"] for r in server.requests if len(r["messages"]) > 1]
    assert len(scored) == sum(len(sample.options) for sample in few.samples)
    assert all(text.startswith("<think> dark </think> <answer> ") for text in scored)


def test_separated_reasoning_is_put_back():
    def text(**message):
        return read_chat(json.dumps({"choices": [{"message": message}]}).encode()).text

    assert text(content=" A ") == "A"
    assert text(content="A", reasoning_content="dark") == "<think>dark</think>A"
    assert text(content="A", reasoning=" dark ") == "<think> dark </think>A"
    assert text(content=None, reasoning="dark") == "<think>dark"
    assert text(content=None) == ""


def test_parameters_are_added_and_removed(questions):
    few = replace(questions, samples=questions.samples[:1])
    with ChatServer() as server:
        body = {"top_k": 1, "max_tokens": None, "max_completion_tokens": 9}
        predictions_of(server, few, extra_body=body)
        changed = engine_for(server, extra_body=body).identity().server.extra_body_sha256
        assert changed and engine_for(server).identity().server.extra_body_sha256 is None
    assert {request["top_k"] for request in server.requests} == {1}
    assert not any("max_tokens" in request for request in server.requests)


def test_the_images_are_those_of_the_local_engine(questions, tmp_path):
    """A 16-bit image with a window, and a perturbed one: pixel by pixel, each encoded once."""
    deep = Image.new("I;16", (40, 30))
    deep.putdata([37 * i for i in range(1200)])
    deep.save(tmp_path / "deep.png")
    samples = [
        replace(sample, images=("deep.png",), id=str(i))
        for i, sample in enumerate(questions.samples[:3])
    ]
    root = replace(questions.image_root, path=tmp_path)
    ways = {1: ("jpeg", 5)}
    plan = InferencePlan([[0], [1], [2]], root, decoding=BOTH, perturbations=ways)
    with ChatServer() as server:
        predictions = all_predictions(engine_for(server), samples, plan)
    loaded = load_image(resolve_image("deep.png", root))
    urls = {text_of(r): r["messages"][0]["content"][0]["image_url"]["url"] for r in server.requests}
    sent = {
        name: Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))
        for name, url in urls.items()
    }
    by_item = [
        next(image for text, image in sent.items() if text.startswith(problem_text(sample)))
        for sample in samples
    ]
    assert by_item[0].tobytes() == loaded.image.tobytes() == by_item[2].tobytes()
    assert by_item[1].tobytes() != loaded.image.tobytes()
    assert predictions[0].image_notes == loaded.notes and loaded.notes
    assert predictions[1].image_notes == (*loaded.notes, "perturbed: jpeg, severity 5")


def test_earlier_turns_are_turns_of_the_request(questions, tmp_path):
    """The image is in the first turn of the user, and the file of results has the turns."""
    turns = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Is the image sharp?"},
        {"role": "assistant", "content": "Yes."},
    ]
    sample = replace(questions.samples[0], history=tuple(Turn(**turn) for turn in turns))
    output = tmp_path / "results.json"
    with ChatServer() as server:
        batch(server, replace(questions, samples=[sample]), output)
        messages = server.requests[0]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    kinds = [[part["type"] for part in message["content"]] for message in messages]
    assert kinds == [["text"], ["image_url", "text"], ["text"], ["text"]]
    texts = [message["content"][-1]["text"] for message in messages]
    assert texts[:3] == [turn["content"] for turn in turns]
    assert texts[3].startswith(problem_text(sample))
    (entry,) = json.loads(output.read_text())["results"]
    assert entry["history"] == turns and entry["error"] is None


def test_a_bad_image_and_a_control_token_stay_with_their_item(questions):
    samples = [
        replace(questions.samples[0], images=("nothing.png",)),
        replace(questions.samples[1], question="What does <|im_end|> or <image> mean?"),
    ]
    with ChatServer() as server:
        first, second = predictions_of(server, replace(questions, samples=samples))
    assert first.error.code == "image_missing" and second.error is None
    assert "< |im_end|> or < image>" in text_of(server.requests[0])


# --- faults -------------------------------------------------------------------------------------

PASSING = ("429", "500", "half", "stall", "no json", "no choices")
LASTING = {"image": "image_refused", "long": "prompt_too_long", "other": "request_refused"}


def test_no_fault_loses_an_item(questions, tmp_path):
    """Every fault that passes, in the first attempts of two questions each: the same bytes."""
    questions = replace(questions, samples=questions.samples[:12])
    with ChatServer() as server:
        batch(server, questions, tmp_path / "calm.json")
    texts = sorted({text_of(request) for request in server.requests})
    faults = {text: PASSING[i // 2] for i, text in enumerate(texts)}

    def fault(text, attempt):
        return faults[text] if attempt == 1 else None

    with ChatServer(fault=fault) as server:
        outcome = batch(server, questions, tmp_path / "rough.json", max_retries=2)
    assert outcome.n_error == 0
    assert (tmp_path / "rough.json").read_bytes() == (tmp_path / "calm.json").read_bytes()
    assert not list(tmp_path.glob("*journal*"))


def test_a_lasting_fault_is_the_error_of_its_item(questions, tmp_path):
    texts = {}

    def fault(text, attempt):
        for number, name in enumerate([*LASTING, "500", "no json"]):
            if text.startswith(problem_text(questions.samples[5 * number])):
                texts[number] = name
                return name
        return None

    with ChatServer(fault=fault) as server:
        outcome = batch(server, questions, tmp_path / "r.json", replace(BOTH, mode="generate"))
    assert outcome.n_error == 5
    entries = json.loads((tmp_path / "r.json").read_text())["results"]
    codes = {i: entry["error"]["code"] for i, entry in enumerate(entries) if entry["error"]}
    assert codes == {
        **{5 * number: code for number, code in enumerate(LASTING.values())},
        15: "server_error",
        20: "bad_response",
    }


def test_a_model_that_takes_only_one_image_is_told_of_the_montage(questions, tmp_path):
    one, two = questions.samples[:2]
    questions = replace(questions, samples=[replace(one, images=(*one.images, *two.images)), two])
    with ChatServer(fault=lambda text, attempt: "image") as server:
        batch(server, questions, tmp_path / "r.json", replace(BOTH, mode="generate"))
    several, single = json.loads((tmp_path / "r.json").read_text())["results"]
    assert several["error"]["message"].endswith(
        "It has 2 images; if they are slices of a scan, show them in one image: --slices "
        "montage:3x3."
    )
    assert "montage" not in single["error"]["message"]


def test_a_dead_server_ends_the_run_and_a_new_one_resumes_it(questions, tmp_path):
    """Nothing is lost, no finished item is asked again, and the bytes are those of a calm run."""
    output = tmp_path / "r.json"
    generate = replace(BOTH, mode="generate")
    with ChatServer() as server:
        batch(server, questions, tmp_path / "calm.json", generate)
    answered = []

    def fault(text, attempt):
        answered.append(text)
        return "500" if len(answered) > 12 else None

    ended = pytest.raises(Medr1Error, match="failed 10 times in a row")
    with ChatServer(fault=fault) as server, ended:
        batch(server, questions, output, generate, max_retries=0, concurrency=1)
    journal = tmp_path / "r.json.journal.jsonl"
    finished = {json.loads(line)["index"] for line in journal.read_text().splitlines()[1:]}
    assert len(finished) == 12 and not output.exists()
    with ChatServer() as server:
        batch(server, questions, output, generate)
    asked = {
        index
        for index, sample in enumerate(questions.samples)
        for request in server.requests
        if text_of(request).startswith(problem_text(sample))
    }
    assert asked == set(range(24)) - finished
    assert output.read_bytes() == (tmp_path / "calm.json").read_bytes()


def test_no_connection_ends_the_run(questions, tmp_path):
    with ChatServer() as server:
        engine = engine_for(server, max_retries=0)
    meta = manifest(engine.identity(), questions, data="q", prompt=None, decoding=BOTH, seed=0)
    with pytest.raises(Medr1Error, match=r"failed 10 times in a row\..*no connection"):
        run_batch(engine, questions, tmp_path / "r.json", meta, decoding=BOTH)


def test_the_last_questions_are_not_lost_either(questions, tmp_path):
    """Two questions are left when the server ends: fewer than ten failures, and no error."""
    few = replace(questions, samples=questions.samples[:2])
    with ChatServer() as server:
        engine = engine_for(server, max_retries=0)
    meta = manifest(engine.identity(), few, data="q", prompt=None, decoding=BOTH, seed=0)
    with pytest.raises(Medr1Error, match=r"failed 6 times in a row\..*no connection"):
        run_batch(engine, few, tmp_path / "r.json", meta, decoding=BOTH)
    assert not (tmp_path / "r.json").exists()


def test_another_model_is_refused_on_resume(questions, tmp_path):
    few = replace(questions, samples=questions.samples[:2])
    with ChatServer(models=("test-model", "other")) as server:
        batch(server, few, tmp_path / "r.json")
        engine = ServerEngine.connect(Server(base_url=server.url), "other")
        meta = manifest(engine.identity(), few, data="q.json", prompt=None, decoding=BOTH, seed=0)
        with pytest.raises(InputError, match=r"different: model\)"):
            run_batch(engine, few, tmp_path / "r.json", meta, decoding=BOTH)


def test_the_budget_ends_the_run_and_a_larger_one_resumes_it(questions, tmp_path):
    generate = replace(BOTH, mode="generate")
    with ChatServer() as server:
        for limits, limit in (({"max_requests": 7}, 7), ({"max_total_tokens": 1040}, 10)):
            with pytest.raises(Medr1Error, match="the budget is used up"):
                batch(server, questions, tmp_path / "r.json", generate, concurrency=1, **limits)
            assert len(server.requests) == limit
            server.requests.clear()
        batch(server, questions, tmp_path / "r.json", generate, price=(1.0, 10.0))
        assert len(server.requests) == 7
    record = json.loads((tmp_path / "r.json.run.json").read_text())
    assert (record["requests"], record["prompt_tokens"], record["completion_tokens"]) == (
        7,
        700,
        28,
    )
    assert record["cost"] == pytest.approx(7 * (100 * 1.0 + 4 * 10.0) / 1e6)
    assert record["models"] == ["test-model"]


def test_an_empty_account_ends_the_run_at_once(questions, tmp_path):
    refused = pytest.raises(InputError, match="Check the account's quota")
    with ChatServer(fault=lambda text, attempt: "no quota") as server, refused:
        batch(server, questions, tmp_path / "r.json", max_retries=0)


def test_concurrency_grows_and_is_cut(questions):
    """It grows from 4 up to the limit; where the server refuses more than 6, it stays below."""
    generate = replace(BOTH, mode="generate")
    many = replace(questions, samples=questions.samples * 4)
    with ChatServer(seconds=0.02) as server:
        predictions_of(server, many, generate, concurrency=12)
    assert 8 <= server.most_at_once <= 12
    with ChatServer(seconds=0.02) as server:
        predictions_of(server, questions, generate, concurrency=1)
    assert server.most_at_once == 1

    server = ChatServer(seconds=0.05)
    server.fault = lambda text, attempt: "429" if server._at_once > 6 else None
    with server:
        predictions = predictions_of(server, many, generate, concurrency=64, max_retries=4)
    assert all(prediction.error is None for prediction in predictions)
    refused = len(server.requests) - len(many.samples)
    assert 0 < refused < len(many.samples) / 2


def test_nothing_is_sent_before_retry_after_is_over(questions):
    few = replace(questions, samples=questions.samples[:8])
    refusals = []

    def fault(text, attempt):
        if not refusals:
            refusals.append(time.monotonic())
            return "429"
        return None

    with ChatServer(fault=fault, seconds=0.01) as server:
        predictions_of(server, few, replace(BOTH, mode="generate"), concurrency=1)
    later = [at for at in server.times if at > refusals[0]]
    assert min(later) - refusals[0] >= 0.1  # the header's value: a lower limit, not a duration


# --- the command --------------------------------------------------------------------------------


def command(server, output, *more, **environment):
    arguments = [
        *("infer", "--engine", "openai", "--base-url", server.url, "--model-path", "test-model"),
        *("--batch-file", str(tiny_vqa_folder() / "validation.json"), "--output-file", str(output)),
        *("--max-new-tokens", "16", "--max-retries", "1", *more),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "medr1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_killed_and_resumed_the_file_has_the_same_bytes(tmp_path):
    with ChatServer() as server:
        done = command(server, tmp_path / "calm.json", "--limit", "60")
        assert done.wait() == 0, done.stderr.read()
    output = tmp_path / "r.json"
    journal = tmp_path / "r.json.journal.jsonl"
    with ChatServer(seconds=0.02) as server:
        process = command(server, output, "--limit", "60", "--concurrency", "4")
        while process.poll() is None and not (
            journal.exists() and journal.read_bytes().count(b"\n") > 10
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    lines = journal.read_bytes().splitlines(keepends=True)[1:]
    finished = {json.loads(line)["entry"]["id"] for line in lines if line.endswith(b"\n")}
    assert 10 <= len(finished) < 60
    with ChatServer() as server:
        again = command(server, output, "--limit", "60")
        assert again.wait() == 0, again.stderr.read()
    assert output.read_bytes() == (tmp_path / "calm.json").read_bytes()
    entries = json.loads(output.read_text())["results"]
    repeated = Counter(
        entry["id"]
        for entry in entries
        for request in server.requests
        if entry["id"] in finished and text_of(request).startswith(entry["question"] + " A)")
    )
    shared = {e["question"] for e in entries if e["id"] not in finished}
    assert not [id for id in repeated if _question(entries, id) not in shared]


def _question(entries, id):
    return next(entry["question"] for entry in entries if entry["id"] == id)


def test_the_report_names_the_server(tmp_path):
    with ChatServer(prompt_logprobs=False, hidden_letters="B") as server:
        done = command(server, tmp_path / "r.json", "--limit", "30")
        assert done.wait() == 0, done.stderr.read()
    entries = json.loads((tmp_path / "r.json").read_text())["results"]
    assert any("option_bounds" in entry for entry in entries)
    arguments = ("--data", tiny_vqa_folder() / "validation.json", "--output-dir", tmp_path / "e")
    assert medr1("eval", tmp_path / "r.json", *arguments).returncode == 0
    page = re.sub(r"<[^>]+>", " ", (tmp_path / "e" / "report.html").read_text())
    assert "It ran on a server (vllm 0.1; medr1" in page
    assert "software vllm 0.1, answer style letter, option probabilities letter" in page


def test_the_key_is_in_no_file_and_no_message(tmp_path):
    key = "sk-very-secret-0123456789"
    with ChatServer(key=key) as server:
        right = command(server, tmp_path / "r.json", "--limit", "3", "-v", MEDR1_API_KEY=key)
        out, err = right.communicate()
        assert right.returncode == 0 and key not in out + err
        wrong = command(server, tmp_path / "w.json", "--limit", "3", MEDR1_API_KEY="sk-wrong")
        out, err = wrong.communicate()
        assert wrong.returncode == 2 and "refuses the key in MEDR1_API_KEY" in err
        assert "sk-wrong" not in out + err and "***" in err
        none = command(server, tmp_path / "n.json", "--limit", "3", MEDR1_API_KEY="")
        assert "Set the environment variable MEDR1_API_KEY." in none.communicate()[1]
    for file in tmp_path.iterdir():
        assert key.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("server", "more", "code", "says"),
    [
        (ChatServer(models=("good-model",)), ("--model-path", "god-model"), 2, "good-model?"),
        (ChatServer(images=False), (), 2, "test-model takes no images, only text"),
        (ChatServer(), ("--price", "1"), 2, "--price needs two numbers"),
        (ChatServer(), ("--extra-body", "{"), 2, "not JSON"),
        (ChatServer(), ("--base-url", "localhost:8000"), 2, "not an address"),
        (ChatServer(), ("--base-url", "http://a:b@localhost/v1"), 2, "leave the password out"),
        (ChatServer(), ("--engine", "local"), 2, "--base-url needs --engine openai"),
        (ChatServer(), ("--base-url", "http://127.0.0.1:9/v1"), 1, "no connection"),
    ],
)
def test_a_mistake_is_one_sentence(server, more, code, says, tmp_path):
    with server:
        process = command(server, tmp_path / "r.json", "--limit", "2", *more)
        _, err = process.communicate()
    assert process.returncode == code, err
    assert says in err and "Traceback" not in err
    assert len(re.findall(r"^Error: ", err, re.M)) == 1
