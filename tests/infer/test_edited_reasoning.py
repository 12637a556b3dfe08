"""Answers from edited reasoning: the edits, the embedded model, and a server."""

import json
import random
from dataclasses import replace

import pytest
from chat_server import ChatServer
from in_process import medr1
from tiny_families import OTHERS

from medr1.chat.settings import Server
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.infer.edited_reasoning import edit_reasoning, edited_text, reasoning_in
from medr1.infer.engine import InferencePlan, Prefill, all_predictions
from medr1.infer.local.generic import GenericEngine
from medr1.infer.server.engine import ServerEngine
from medr1.models.loading import load_model
from medr1.records import Decoding, Prediction, Sample

TEXT = "It is dark. The ribs are white. No mass is seen. So it is a chest X-ray."
LETTERS = tiny_vl_folder().with_name("tiny-vl-letters")
QUESTIONS = tiny_vqa_folder() / "validation.json"


# --- the edits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "parts"),
    [
        ("<think> a b </think> <answer>C</answer>", ("<think> ", "a b", " </think>")),
        ("<think>\na\n</think>\n\nB", ("<think>\n", "a", "\n</think>")),
        ("a b</think> B", ("", "a b", "</think>")),  # the template wrote the opening tag
        ("Well. <THINK>a</THINK> B", ("Well. <THINK>", "a", "</THINK>")),
        ("<think> a </think> <think> b </think> B", ("<think> ", "a", " </think>")),
    ],
)
def test_the_reasoning_of_a_completion(completion, parts):
    reasoning = reasoning_in(completion)
    assert (reasoning.before, reasoning.text, reasoning.after) == parts
    assert completion.startswith("".join(parts))


@pytest.mark.parametrize("completion", ["B", "<think> a", "<think> </think> B", "</think> B"])
def test_no_reasoning(completion):
    assert reasoning_in(completion) is None


def edited(text, edit, seed=0):
    return edited_text(text, edit, random.Random(seed))


def test_edits_of_a_text():
    assert edited(TEXT, "none") == TEXT
    assert edited(TEXT, "empty") == ""
    assert edited(TEXT, "cut") == "It is dark. The ribs are white."
    assert edited("One. Two. Three.", "cut") == "One."
    assert edited("A size of 3.5 cm. Two.", "cut") == "A size of 3.5 cm."
    assert edited("one sentence", "cut") == ""
    assert edited("one sentence", "shuffle") == "one sentence"
    for seed in range(50):
        shuffled = edited(TEXT, "shuffle", seed)
        assert shuffled != TEXT and sorted(shuffled.split(".")[0:1]) != []
        assert sorted(shuffled.split()) == sorted(TEXT.split())
        assert edited("One. Two.", "shuffle", seed) == "Two. One."


def question(number, options, reasoning):
    letters = dict(zip("ABCD", options, strict=False))
    sample = Sample(f"q{number}", (), f"Which {number}?", letters, "A", "multiple_choice")
    output = None if reasoning is None else f"<think> {reasoning} </think> <answer> A </answer>"
    return Prediction(sample, output)


def test_swap_takes_the_reasoning_of_a_question_with_other_options():
    earlier = [
        question(0, ["CT", "MRI"], "grey"),
        question(1, ["MRI", "CT"], "bright"),  # the same options in another order
        question(2, ["Lung", "Heart"], "round"),
        question(3, ["Lung", "Heart"], "oval"),
        question(4, ["Knee", "Hip"], None),
    ]
    samples = [prediction.sample for prediction in earlier]
    texts = {f"q{i}": text for i, text in enumerate(["grey", "bright", "round", "oval"])}
    for seed in range(20):
        result = edit_reasoning(samples, earlier, "swap", seed)
        assert result.failures.keys() == {4} and result.failures[4].code == "no_reasoning"
        for position, prefill in result.prefills.items():
            source = prefill.source_id
            assert source in (("q2", "q3") if position < 2 else ("q0", "q1"))
            assert prefill.text == f"<think> {texts[source]} </think>"
    chosen = {edit_reasoning(samples, earlier, "swap", s).prefills[0].source_id for s in range(20)}
    assert chosen == {"q2", "q3"}
    alone = edit_reasoning(samples[:2], earlier[:2], "swap", 0)
    assert not alone.prefills and alone.failures[0].code == "no_other_reasoning"


def test_a_question_gets_the_same_edit_in_a_part_of_the_file():
    earlier = [question(i, [f"a{i}", f"b{i}"], TEXT + str(i)) for i in range(30)]
    samples = [prediction.sample for prediction in earlier]
    for edit in ("swap", "shuffle"):
        whole = edit_reasoning(samples, earlier, edit, 1).prefills
        assert edit_reasoning(samples[:5], earlier, edit, 1).prefills == {
            position: whole[position] for position in range(5)
        }
    assert edit_reasoning(samples, earlier, "empty", 0).prefills[0].text == "<think></think>"


# --- the embedded model -------------------------------------------------------------------------


def infer(output, *more):
    return medr1(
        *("infer", "--model-path", LETTERS, "--batch-file", QUESTIONS, "--limit", "24"),
        *("--batch-size", "8", "--max-new-tokens", "16", "--output-file", output, *more),
    )


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    path = tmp_path_factory.mktemp("earlier") / "think.json"
    assert infer(path, "--prompt", "think").returncode == 0
    return path


def entries_of(path):
    return json.loads(path.read_text())["results"]


def rerun(earlier, output, edit, *more):
    given = ("--prompt", "think", "--reasoning-from", earlier, "--edit", edit)
    done = infer(output, *given, *more)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


def test_unchanged_reasoning_gives_the_same_completions(earlier, tmp_path):
    document = rerun(earlier, tmp_path / "none.json", "none")
    source = document["meta"]["edited_reasoning"]
    assert (source["edit"], source["results"]) == ("none", "think.json")
    assert len(source["results_sha256"]) == 64
    for entry, before in zip(document["results"], entries_of(earlier), strict=True):
        assert before["reasoning"]
        for key in ("model_output", "extracted_answer", "reasoning", "finish_reason"):
            assert entry[key] == before[key]
        assert entry["num_tokens"] < before["num_tokens"]
        assert "reasoning_from" not in entry


def test_swapped_reasoning_is_recorded_and_changes_answers(earlier, tmp_path):
    """This checkpoint writes the name and the letter of an option as its reasoning."""
    before = {entry["id"]: entry for entry in entries_of(earlier)}
    entries = rerun(earlier, tmp_path / "swap.json", "swap")["results"]
    followed = 0
    for entry in entries:
        source = before[entry["reasoning_from"]]
        assert source["id"] != entry["id"]
        assert set(source["options"].values()) != set(entry["options"].values())
        assert entry["reasoning"] == source["reasoning"] != before[entry["id"]]["reasoning"]
        followed += entry["extracted_answer"] == source["extracted_answer"]
    assert followed > len(entries) / 2


def test_the_other_edits_and_resuming(earlier, tmp_path):
    for edit in ("empty", "cut"):  # each reasoning here is one sentence
        output = tmp_path / f"{edit}.json"
        for entry in rerun(earlier, output, edit, "--token-logprobs")["results"]:
            assert entry["model_output"].startswith("<think></think>")
            assert entry["reasoning"] is None
            assert len(entry["token_logprobs"]) == entry["num_tokens"]
    again = infer(output, "--prompt", "think", "--reasoning-from", earlier, "--edit", "empty")
    assert again.returncode == 2 and "edited reasoning" in again.stderr


def test_what_does_not_fit_is_refused(earlier, tmp_path):
    output = tmp_path / "r.json"
    given = ("--reasoning-from", earlier, "--edit", "cut")
    for options, message in (
        (("--prompt", "think", "--edit", "cut"), "need each other"),
        (("--prompt", "think", "--reasoning-from", earlier), "need each other"),
        (("--prompt", "think", *given, "--mode", "options"), "is about a generated answer"),
        (("--prompt", "think", *given, "--permute", "2"), "is about a generated answer"),
        (("--prompt", "nothink", *given), "asks for reasoning before the answer"),
        (("--prompt", "authors-think", *given), "was made with another prompt (think)"),
    ):
        refused = infer(output, *options)
        assert refused.returncode == 2 and message in " ".join(refused.stderr.split()), message
    changed = json.loads(earlier.read_text())
    for entry in changed["results"]:
        entry["model_output"] = "B"
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(changed))
    refused = infer(output, "--prompt", "think", "--reasoning-from", plain, "--edit", "cut")
    assert refused.returncode == 2 and "has no reasoning in <think> tags" in refused.stderr
    system = [{"role": "system", "content": "Answer briefly."}]
    for key, value in (("question", "Another?"), ("history", system)):
        changed = json.loads(earlier.read_text())
        changed["results"][0][key] = value
        other = tmp_path / "other.json"
        other.write_text(json.dumps(changed))
        refused = infer(output, "--prompt", "think", "--reasoning-from", other, "--edit", "cut")
        assert refused.returncode == 2 and "has another question" in refused.stderr
    assert not output.exists()


def test_a_question_without_earlier_reasoning_is_an_error_of_its_own(earlier, tmp_path):
    changed = json.loads(earlier.read_text())
    changed["results"][1]["model_output"] = "B"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(changed))
    given = ("--prompt", "think", "--reasoning-from", other, "--edit", "none")
    done = infer(tmp_path / "r.json", *given, "--max-errors", "1")
    assert done.returncode == 0, done.stderr
    codes = [entry["error"] and entry["error"]["code"] for entry in entries_of(tmp_path / "r.json")]
    assert codes == [None, "no_reasoning", *[None] * 22]


# --- other engines ------------------------------------------------------------------------------


def test_the_generic_engine_continues_too(letters_model, validation, tmp_path):
    samples = [sample for sample in validation.samples if sample.options][:4]
    prefills = {0: Prefill("<think> Sagittal C </think>"), 2: Prefill("<think> MRI A </think>")}
    decoding = Decoding("generate", max_new_tokens=8, num_samples=1)
    plan = InferencePlan(
        [range(4)], validation.image_root, prompt="think", decoding=decoding, prefills=prefills
    )
    engines = (GenericEngine(letters_model), load_engine(letters_model))
    generic, batched = (all_predictions(engine, samples, plan) for engine in engines)
    assert [p.model_output for p in generic] == [p.model_output for p in batched]
    assert [p.samples for p in generic] == [p.samples for p in batched]
    assert generic[0].reasoning == "Sagittal C" and generic[0].extracted_answer == "C"
    assert generic[2].samples[0].startswith("<think> MRI A </think>")


def load_engine(loaded):
    from medr1.workflows.engines import local_engine

    return local_engine(loaded, Decoding())


def test_a_model_of_another_family_continues(validation, tmp_path):
    """Random weights: the completion is that of transformers behind prompt and beginning."""
    OTHERS["llava"](tmp_path / "llava")
    loaded = load_model(tmp_path / "llava", device="cpu", allow_template=True)
    prefill = Prefill("<think> dark </think>")
    plan = InferencePlan(
        [[0]],
        validation.image_root,
        prompt="think",
        decoding=Decoding("generate", max_new_tokens=4),
        prefills={0: prefill},
    )
    (prediction,) = all_predictions(GenericEngine(loaded), validation.samples[:1], plan)
    assert prediction.model_output.startswith(prefill.text) and prediction.num_tokens <= 4
    (plain,) = all_predictions(
        GenericEngine(loaded), validation.samples[:1], replace(plan, prefills={})
    )
    assert not plain.model_output.startswith(prefill.text)


def test_a_server_continues_the_beginning(validation):
    samples = [sample for sample in validation.samples if sample.options][:3]
    beginning = "<think> dark. <|im_end|> </think>"
    plan = InferencePlan(
        [[0], [1], [2]],
        validation.image_root,
        prompt="think",
        decoding=Decoding(max_new_tokens=8, token_logprobs=True),
        prefills=dict.fromkeys(range(3), Prefill(beginning, "q9")),
    )
    with ChatServer(completion=" <answer> {} </answer>") as server:
        engine = ServerEngine.connect(Server(base_url=server.url), "test-model")
        assert engine.capabilities.continues
        predictions = all_predictions(engine, samples, plan)
    cleaned = beginning.replace("<|im_end|>", "< |im_end|>")
    for prediction in predictions:
        assert prediction.model_output.startswith(f"{cleaned} <answer> ")
        assert prediction.reasoning_from == "q9" and prediction.extracted_answer
        assert len(prediction.token_logprobs) == 3
    for request in server.requests:
        last = request["messages"][-1]
        assert last["role"] == "assistant" and last["content"].startswith(cleaned)
        assert request["continue_final_message"] and not request["add_generation_prompt"]


def test_a_server_that_may_not_continue_is_refused(earlier, tmp_path):
    with ChatServer(prompt_logprobs=False) as server:
        refused = medr1(
            *("infer", "--engine", "openai", "--base-url", server.url, "--model-path"),
            *("test-model", "--batch-file", QUESTIONS, "--output-file", tmp_path / "r.json"),
            *("--prompt", "think", "--limit", "24", "--reasoning-from", earlier, "--edit", "cut"),
        )
    assert refused.returncode == 2 and "needs a server that continues" in refused.stderr


def test_letters_that_grow_in_lower_case_do_not_move_the_tags():
    parts = reasoning_in("<THINK>\u0130\u0130\u0130 the hedgehog.</Think> <answer>B")
    assert parts.text == "\u0130\u0130\u0130 the hedgehog."
    assert (parts.before, parts.after) == ("<THINK>", "</Think>")
