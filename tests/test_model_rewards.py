"""The rewards that ask another model: a reward model's checkpoint, and a judge at a server."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import medr1
from judge_server import JudgeServer

from medr1.chat.settings import Server
from medr1.data.readers import Questions, read_questions
from medr1.data.tiny import tiny_config
from medr1.errors import InputError, Medr1Error
from medr1.judge.asking import Judge, ask
from medr1.judge.prompt import JudgeTexts
from medr1.models.loading import load_model
from medr1.rewards import reward_functions
from medr1.rewards.with_models import _Answer, split_text_parameters

pytest.importorskip("trl")

import trl
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
)

from medr1.train.run import train
from medr1.train.settings import settings_from

TINY = "checkpoints/tiny-vl"
COMPLETIONS = ["<answer>B</answer>", "I do not know, it may be a liver.", "", "A"]
RUN = {"max_steps": 1, "logging_steps": 1, "completions_steps": 1, "batch_size": 32, "seed": 1}


def tiny_model(kind: Any, **more: object) -> Any:
    """A text model of random weights with the vocabulary of the embedded checkpoint."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return kind(Qwen2Config(vocab_size=len(tokenizer), **sizes, **heads, **tokens, **more)).eval()


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of random weights."""
    folder = tmp_path_factory.mktemp("reward:model")  # a path may have a colon
    tiny_model(Qwen2ForSequenceClassification, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return folder


def test_a_reward_model_scores_as_trl_does(reward_folder: Path, tmp_path: Path) -> None:
    model = Qwen2ForSequenceClassification.from_pretrained(reward_folder)
    tokenizer = AutoTokenizer.from_pretrained(reward_folder)
    prompts = [[{"role": "user", "content": f"Question {n}: which organ?"}] for n in range(4)]
    completions = [[{"role": "assistant", "content": text}] for text in COMPLETIONS]
    trainer = trl.GRPOTrainer(
        model=tiny_model(Qwen2ForCausalLM),
        reward_funcs=[model],
        reward_processing_classes=[tokenizer],
        processing_class=AutoTokenizer.from_pretrained(TINY),
        args=trl.GRPOConfig(output_dir=str(tmp_path), use_cpu=True, report_to=[], bf16=False),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
    )
    inputs = [{"prompt": prompt} for prompt in prompts]
    expected = trainer._calculate_rewards(inputs, prompts, completions, [[1]] * 4)[:, 0]
    (reward,) = reward_functions([f"model:path={reward_folder}"], "bare")
    assert reward.__name__ == "model"
    scores = reward(completions=completions, prompts=prompts)
    assert len(set(scores)) == 4
    assert scores == pytest.approx(expected.tolist(), abs=1e-6)
    # images are left out, and texts are the same as messages with one part
    texts = [prompt[0]["content"] for prompt in prompts]
    parts = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
        for text in texts
    ]
    assert reward(completions=completions, prompts=parts) == scores
    assert reward(completions=COMPLETIONS, problem=texts) == scores


def test_a_folder_that_is_no_reward_model_is_refused(reward_folder: Path, tmp_path: Path) -> None:
    def refusal(folder: object, *, load: bool = False) -> str:
        with pytest.raises(InputError) as caught:
            reward_functions([f"model:path={folder}"], "bare", load=load)
        return str(caught.value)

    assert "no config.json" in refusal(tmp_path / "nowhere")
    assert "expected one for sequence classification" in refusal(TINY)
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    several = tmp_path / "several"
    tiny_model(Qwen2ForSequenceClassification, num_labels=3).save_pretrained(several)
    tokenizer.save_pretrained(several)
    assert "with 3 outputs" in refusal(several)
    # the body of a reward model without its output layer, which transformers would fill at random
    part = tmp_path / "part"
    tiny_model(Qwen2ForCausalLM).save_pretrained(part)
    tokenizer.save_pretrained(part)
    (part / "config.json").write_text((reward_folder / "config.json").read_text())
    assert "score.weight" in refusal(part, load=True)
    tokenizer.chat_template = None
    bare = tmp_path / "bare"
    tiny_model(Qwen2ForSequenceClassification, num_labels=1).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    assert "no chat template" in refusal(bare)
    (reward,) = reward_functions([f"model:path={reward_folder}"], "bare")
    with pytest.raises(InputError, match="needs problem"):
        reward(completions=["A"], solution=["A"], problem=[None])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("url=http://127.0.0.1:8000/v1:model=a", {"url": "http://127.0.0.1:8000/v1", "model": "a"}),
        ("model=qwen2:7b:url=https://h/v1", {"url": "https://h/v1", "model": "qwen2:7b"}),
        ("url=http://h/v1?k=1:model=x/y=z", {"url": "http://h/v1?k=1", "model": "x/y=z"}),
    ],
)  # fmt: skip
def test_addresses_and_names_may_have_colons(text: str, values: dict[str, str]) -> None:
    assert split_text_parameters("judge", text) == values


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("judge", "needs url. Write judge:url=URL:model=NAME."),
        ("judge:url=http://h/v1", "needs model. Write judge:url=URL:model=NAME."),
        ("judge:http://h:8000/v1", "is not written as parameter=value. Write judge:url=URL"),
        ("judge:url=http://h/v1:modell=x", "no parameter 'modell'. Did you mean model"),
        ("judge:url=:model=x", "'url=' is not written as parameter=value"),
        ("judge:url=h:model=x", "the reward 'judge' has url h: not an address"),
        ("judge:url=http://h/v1:model=x:model=y", "model is given twice"),
        ("model", "needs path. Write model:path=FOLDER."),
        ("modell", "unknown reward 'modell'. Did you mean model"),
    ],
)
def test_wrong_parameters_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        reward_functions([name], "bare", load=False)
    assert message in str(caught.value)


def judge_columns() -> dict[str, list[Any]]:
    answers = ["zeta sign", "alpha sign", "another sign", "what?", ""]
    return {
        "completions": [f"<think>x</think><answer>{answer}</answer>" for answer in answers],
        "solution": ["zeta sign"] * 5,
        "question": ["Which sign?"] * 5,
        "answer_type": ["open"] * 5,
        "id": [f"q{n}" for n in range(5)],
    }


def test_a_judge_is_asked_about_open_answers_that_are_not_right(tmp_path: Path) -> None:
    cache = tmp_path / "judge.jsonl"
    with JudgeServer() as server:
        name = f"judge:url={server.url}:model=judge"
        (reward,) = reward_functions([name], "bare", judge_cache=cache)
        logged: dict[str, float] = {}
        columns = {**judge_columns(), "log_metric": logged.__setitem__}
        # right by the rules; by the judge; wrong; unclear; no answer
        assert reward(**columns) == [1.0, 1.0, 0.0, 0.0, 0.0]
        assert sorted(answer for _, _, answer in server.asked) == sorted(
            ["alpha sign", "another sign", "what?"]
        )
        assert logged == {"rewards/judge/asked": 0.6, "rewards/judge/unclear": 0.2}
        options = {**judge_columns(), "options": [{"A": "zeta sign", "B": "alpha sign"}] * 5}
        reward(**{**options, "answer_type": ["multiple_choice"] * 5, "solution": ["A"] * 5})
        (again,) = reward_functions([name], "bare", judge_cache=cache)
        assert again(**judge_columns()) == [1.0, 1.0, 0.0, 0.0, 0.0]
        assert (
            len(server.asked) == 3
        )  # replies are in the file; questions with options are not sent
        with pytest.raises(InputError, match="other"):
            reward_functions([f"judge:url={server.url}:model=other"], "bare")


def test_a_judge_that_fails_ends_the_run_and_gives_no_zero() -> None:
    with JudgeServer(fault=lambda n: 400 if n == 2 else None) as server:
        (reward,) = reward_functions([f"judge:url={server.url}:model=judge"], "bare")
        with pytest.raises(Medr1Error, match=r"did not judge the answer to item q\d: "):
            reward(**judge_columns())
    with JudgeServer(fault=lambda n: 500) as server:
        judge = Judge(server=Server(base_url=server.url, max_retries=0), model="judge")
        answer = _Answer("q7", JudgeTexts("Which?", "a", "b"))
        with pytest.raises(Medr1Error, match="did not judge the answer to item q7: "):
            ask(judge, [answer], require_all=True)


def open_questions() -> Questions:
    """Embedded questions, as if they were open."""
    config = tiny_config()
    questions = read_questions(config["data"] / "train.json").only(config["answer_types"])
    samples = [
        replace(sample, options={}, answer_type="open", ground_truth="zeta sign")
        for sample in questions.samples[:8]
    ]
    return replace(questions, samples=samples)


def train_once(output: Path, rewards: list[str]) -> list[dict[str, Any]]:
    """The lines of completions.jsonl of a run of one step."""
    config = {**tiny_config(), **RUN, "rewards": rewards}
    config.pop("reward_weights", None)
    settings = settings_from(config, output)
    train(load_model(Path(TINY), device="cpu"), open_questions(), settings)
    return [json.loads(line) for line in (output / "completions.jsonl").read_text().splitlines()]


def test_training_is_rewarded_by_both(reward_folder: Path, tmp_path: Path) -> None:
    def reply(question: str, reference: str, answer: str) -> str:
        return f"<verdict>{'correct' if len(answer) % 2 else 'incorrect'}</verdict>"

    with JudgeServer(reply=reply) as server:
        rewards = [f"model:path={reward_folder}", f"judge:url={server.url}:model=judge"]
        lines = train_once(tmp_path / "run", rewards)
        num_asked = len(server.asked)
        assert num_asked
        replies = (tmp_path / "run/judge.jsonl").read_text().splitlines()
        assert len(replies) == num_asked
        cached = f"{rewards[1]}:cache={tmp_path / 'run/judge.jsonl'}"
        again = train_once(tmp_path / "again", [rewards[0], cached])
        assert [line["rewards"] for line in again] == [line["rewards"] for line in lines]
        assert len(server.asked) == num_asked
    assert all(set(line["rewards"]) == {"model", "judge"} for line in lines)
    assert len({line["rewards"]["model"] for line in lines}) > 1
    metrics = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[0])
    assert {"rewards/model/mean", "rewards/judge/mean", "rewards/judge/asked"} <= set(metrics)
    with pytest.raises(Medr1Error, match="cannot use the judge"):
        train_once(tmp_path / "gone", [rewards[1]])
    assert not (tmp_path / "gone/metrics.jsonl").exists()


def test_the_command_has_them_too(reward_folder: Path, tmp_path: Path) -> None:
    lines = [
        {"content": f"<answer>{answer}</answer>", "solution": "zeta sign", "problem": "Which sign?"}
        for answer in ("alpha sign", "another sign")
    ]
    file = tmp_path / "completions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with JudgeServer() as server:
        rewards = [f"judge:url={server.url}:model=judge", f"model:path={reward_folder}"]
        done = medr1("rewards", file, "--rewards", ",".join(rewards))
        config = tmp_path / "rewards.yaml"
        config.write_text(f"rewards: [accuracy, {rewards[0]}]\n")
        from_yaml = medr1("rewards", file, "--config", config)
    assert done.returncode == 0, done.stderr
    scores = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["judge"] for line in scores] == [1.0, 0.0]
    (reward,) = reward_functions(rewards[1:], "bare")
    expected = reward(completions=[line["content"] for line in lines], problem=["Which sign?"] * 2)
    assert [line["model"] for line in scores] == pytest.approx(expected, abs=1e-6)
    assert [json.loads(line) for line in from_yaml.stdout.splitlines()] == [
        {"accuracy": 0.0, "judge": 1.0},
        {"accuracy": 0.0, "judge": 0.0},
    ]


def test_the_command_asks_about_many_completions_at_once(
    reward_folder: Path, tmp_path: Path
) -> None:
    answers = ["alpha sign", "another sign", "zeta sign"] * 6
    lines = [
        {"content": f"{answer} {place}", "solution": "zeta sign", "problem": "Which sign?"}
        for place, answer in enumerate(answers)
    ]
    file = tmp_path / "completions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with JudgeServer() as server:
        judge = f"judge:url={server.url}:model=judge"
        done = medr1("rewards", file, "--rewards", f"token-f1,{judge},edit-similarity")
        assert server.lists == 2  # once at the start, once for all completions
        assert len(server.asked) >= 12
    scores = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(scores) == len(lines)
    assert all(list(line) == ["token-f1", "judge", "edit-similarity"] for line in scores)
    del lines[4]["problem"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    refused = medr1("rewards", file, "--rewards", f"model:path={reward_folder}")
    assert refused.returncode == 2 and "line 5: the reward 'model' needs problem" in refused.stderr
    assert len(refused.stdout.splitlines()) == 4
