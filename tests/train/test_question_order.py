"""The order of the questions: from easy to hard, by image, and that each is drawn once a pass."""

import json
from collections import Counter
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl")

import fault_runs
from fault_runs import TINY, few_questions, same_run
from in_process import medr1
from steps import fresh_model, mixed_questions, samples_of, trainer_for
from test_dynamic_sampling import batches
from test_processes import trained
from test_resume import go

from medr1.data.pass_rates import pass_rates_of
from medr1.data.readers import read_questions
from medr1.data.selection import Selection
from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.errors import InputError
from medr1.files import to_json
from medr1.rewards import message_text
from medr1.train.grpo import grpo_config
from medr1.train.question_order import ByImage, EasyToHard, fill, num_drawn, question_order
from medr1.train.run import resolve_plan
from medr1.train.settings import settings_from

BY_LENGTH = {"rewards": ["test_question_order:by_length"], "reward_weights": None}


def by_length(completions, **columns):
    """Rewards of which no two completions of a group have the same."""
    return [len(message_text(text)) + i / 100 for i, text in enumerate(completions)]


def passes(order, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [order.indices(number, generator) for number in range(count)]


def rates_file(folder, questions, rates):
    """A file of pass rates, one for each question; None for a question without."""
    counts = [0 if rate is None else 8 for rate in rates]
    document = pass_rates_of(questions, Selection([], rates, counts, 0, 0, 0), "default")
    path = folder / "rates.json"
    path.write_text(to_json(document))
    return str(path)


def of_four_images(folder):
    """Eight questions about four images, those of one image far apart in the file."""
    questions = mixed_questions(folder)
    samples = [replace(s, images=(f"{i % 4}.png",)) for i, s in enumerate(questions.samples)]
    return replace(questions, samples=samples)


# --- the orders


def test_the_first_pass_goes_from_easy_to_hard_in_windows_and_later_ones_do_not():
    rates = [(i * 7 % 41) / 40 if i % 5 else None for i in range(100)]  # in no order
    first, second, third = passes(EasyToHard("r.json", rates, 4), 3)
    for order in (first, second, third):
        assert sorted(order) == list(range(100))
    assert second != third
    assert all(rates[i] is None for i in first[80:]) and None not in [rates[i] for i in first[:80]]
    windows = [[rates[i] for i in first[start : start + 8]] for start in range(0, 80, 8)]
    for easier, harder in pairwise(windows):
        assert min(easier) >= max(harder)
    assert any(window != sorted(window, reverse=True) for window in windows)
    ranks = [rates[i] for i in second if rates[i] is not None]
    assert sum(ranks[:40]) - sum(ranks[40:]) < 8  # sorted, it would be 20
    assert passes(EasyToHard("r.json", rates, 4), 3) == [first, second, third]
    assert passes(EasyToHard("r.json", rates, 4), 1, seed=1) != [first]


def test_equal_rates_are_shuffled():
    orders = [passes(EasyToHard("r.json", [0.5] * 40, 4), 1, seed)[0] for seed in range(3)]
    assert orders[0] != orders[1] != orders[2] and orders[0] != sorted(orders[0])


@pytest.mark.parametrize("kind", ["rates", "images"])
def test_what_does_not_fill_a_batch_is_chosen_at_random(kind):
    if kind == "rates":
        order = EasyToHard("r.json", [1 - i / 11 for i in range(11)], 4)
    else:
        order = ByImage([(f"{i % 3}",) for i in range(11)], 4, 2)
    left_out = Counter(i for seed in range(400) for i in passes(order, 1, seed)[0][8:])
    assert set(left_out) == set(range(11))
    assert all(60 < count < 160 for count in left_out.values()), "each 400 * 3 / 11 = 109 times"


def test_each_image_is_in_one_batch_and_one_process_if_it_fits():
    images = [(f"{i % 20}.png",) for i in range(60)]  # three questions of each
    order = ByImage(images, 12, 6)
    for indices in passes(order, 3):
        assert sorted(indices) == list(range(60))
        for start in range(0, 60, 6):
            assert set(Counter(images[i] for i in indices[start : start + 6]).values()) == {3}
    first, second = passes(order, 2)
    assert [images[i] for i in first] != [images[i] for i in second]


def test_the_questions_of_a_batch_do_not_depend_on_the_number_of_processes():
    draw = torch.Generator().manual_seed(3)
    images = [(str(int(i)),) for i in torch.randint(0, 15, (64,), generator=draw)]
    orders = [passes(ByImage(images, 16, part), 2) for part in (16, 8, 4)]
    for one, other in pairwise(orders):
        for indices, others in zip(one, other, strict=True):
            for start in range(0, 64, 16):
                assert {*indices[start : start + 16]} == {*others[start : start + 16]}


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_full_and_groups_are_cut_only_if_none_fits(seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 8, (30,), generator=draw).tolist()
    numbers = iter(range(sum(sizes)))
    groups = [[next(numbers) for _ in range(size)] for size in sizes]
    parts = fill(groups, 5)
    assert sorted(i for part in parts for group in part for i in group) == list(range(sum(sizes)))
    assert all(sum(map(len, part)) == 5 for part in parts[:-1])
    pieces = [tuple(group) for part in parts for group in part]
    for group in groups:
        own = [piece for piece in pieces if set(piece) <= set(group)]
        assert sum(map(len, own)) == len(group), "no part mixes groups"
    assert fill([[0, 1, 2], [3, 4], [5], [6, 7]], 4) == [[[0, 1, 2], [5]], [[3, 4], [6, 7]]]
    assert fill([list(range(9))], 4) == [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8]]]


# --- in a run


def drawn_ids(trainer, samples):
    """The ids of the questions of each step, each as often as it has completions."""
    return [[samples[prompt].id for prompt, _ in rows] for rows in batches(trainer)]


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "stock"])
def test_a_run_draws_by_pass_rate(shared, tmp_path):
    loaded, questions = fresh_model(), mixed_questions(tmp_path)
    rates = [0.5, 0.125, None, 1.0, 0.25, 0.75, 0.375, 0.875]
    changed = {"curriculum": rates_file(tmp_path, questions, rates), "shared_prefix": shared}
    samples = samples_of(loaded, questions)
    trainer = trainer_for(loaded, questions, tmp_path, **changed, max_steps=8)
    steps = drawn_ids(trainer, samples)
    first = [sorted(set(ids)) for ids in steps[:4]]
    assert first == [["3", "7"], ["0", "5"], ["4", "6"], ["1", "2"]]
    assert all(set(Counter(ids).values()) == {4} for ids in steps)
    second = [sorted(set(ids)) for ids in steps[4:]]
    assert sorted(i for ids in second for i in ids) == [str(i) for i in range(8)]


def test_questions_of_one_image_meet_and_share_it(tmp_path):
    questions, encoded = of_four_images(tmp_path), {}
    for grouped in (True, False):
        trainer = trainer_for(
            fresh_model(), questions, tmp_path, group_by_image=grouped, max_steps=8, **BY_LENGTH
        )
        calls = encoded[grouped] = []
        trainer.model.model.visual.register_forward_pre_hook(
            lambda module, args, kwargs, calls=calls: calls.append(len(kwargs["grid_thw"])),
            with_kwargs=True,
        )
        trainer.train()
    assert encoded[True] == [1] * 8, "one image a step, although a step has two questions"
    assert sum(encoded[False]) > 10


def test_the_numbers_of_a_run_by_image_are_those_of_stock_trl(tmp_path):
    questions, logs = of_four_images(tmp_path), []
    for shared in (True, False):
        changed = {"group_by_image": True, "shared_prefix": shared, "beta": 0.04, "max_steps": 3}
        trainer = trainer_for(fresh_model(), questions, tmp_path, **changed, **BY_LENGTH)
        trainer.train()
        logs.append([line for line in trainer.state.log_history if "loss" in line])
    for line, stock in zip(*logs, strict=True):
        for name in ("loss", "grad_norm", "reward", "kl", "entropy"):
            assert line[name] == pytest.approx(stock[name], rel=1e-4, abs=1e-6), name


RESUMED = {
    "curriculum": {},
    "curriculum and dynamic sampling": {"dynamic_sampling": 2},
    "by image": {"group_by_image": True, "gradient_accumulation_steps": 2, "number": 10},
}


@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_run_is_the_undisturbed_one(case, tmp_path):
    values = {"number": 7, "max_steps": 5, "save_steps": 1, **RESUMED[case]}
    if "curriculum" in case:
        rates = [0.5, 0.125, None, 1.0, 0.25, 0.75, 0.375]
        values["curriculum"] = rates_file(tmp_path, few_questions(7), rates)
    whole = go(tmp_path / "whole", **values)
    broken = go(tmp_path / "broken", until=2, **values)  # in the first pass of three steps
    go(broken, until=4, **values)  # in the second pass
    go(broken, **values)
    assert same_run(whole, broken)
    record, document = (
        json.loads((whole / f).read_text()) for f in ("training.json", "medr1.json")
    )
    key = "curriculum_sha256" if "curriculum" in case else "group_by_image"
    assert record["configuration"][key] == document[key]
    card = (whole / "README.md").read_text()
    assert ("- Questions: from easy to hard" in card) == ("curriculum" in case)
    assert ("- Questions: those of one image" in card) == (case == "by image")


def test_the_plan_says_the_order(tmp_path):
    loaded, questions = fresh_model(), few_questions(7)
    path = rates_file(tmp_path, questions, [0.5, 0.125, None, 1.0, 0.25, 0.75, 0.375])
    settings = settings_from({**TINY, "max_steps": 2, "curriculum": path}, tmp_path)
    plan = resolve_plan(loaded, questions, settings)
    assert plan.question_order == (
        "by pass rate, easy to hard in the first pass (rates.json: 1.00 to 0.12; 1 of 7 questions "
        "without a rate last; the run ends before the last 2 of the first pass)"
    )
    settings = settings_from({**TINY, "group_by_image": True}, tmp_path)
    plan = resolve_plan(loaded, questions, settings)
    images = len({sample.images for sample in questions.samples})
    assert plan.question_order == f"by image (7 questions about {images} images)"


def test_the_command_takes_the_rates_that_filter_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    batch = ("--batch-file", tiny_vqa_folder() / "train.json", "--limit", 12, "--batch-size", 12)
    model = ("--model-path", tiny_vl_folder(), "--device", "cpu", "--max-new-tokens", 4)
    results = ("--num-samples", 2, "--output-file", "r.json")
    rates = ("--results", "r.json", "--pass-rates", "rates.json")
    for words in (
        ("infer", *model, *batch, *results),
        ("data", "filter", tiny_vqa_folder(), *rates),
        [*fault_runs.command(tmp_path / "out", curriculum="rates.json")[3:], "--dry-run"],
    ):
        done = medr1(*map(str, words))
        assert done.returncode == 0, done.stderr
    assert "by pass rate, easy to hard in the first pass (rates.json: " in done.stdout
    questions = read_questions(tiny_vqa_folder() / "train.json").only(["multiple_choice"])
    num_known = len(
        {s.id for s in questions.samples}
        & json.loads(Path("rates.json").read_text())["questions"].keys()
    )
    total = len(questions.samples)
    assert f"; {total - num_known:,} of {total:,} questions without a rate last" in done.stdout


@pytest.mark.parametrize(
    ("steps", "fields", "number"),
    [
        (5, {}, 10),
        (5, {"gradient_accumulation_steps": 2}, 20),
        (5, {"num_iterations": 2}, 6),
        (5, {"steps_per_generation": 4}, 16),
    ],
)
def test_how_many_questions_a_run_draws(steps, fields, number, tmp_path):
    config = grpo_config(settings_from({**TINY, **fields}, tmp_path), fresh_model())
    assert num_drawn(config, steps) == number


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"curriculum": "rates.json", "group_by_image": True}, "two orders"),
        ({"curriculum": "rates.json", "shuffle_dataset": False}, "--shuffle-dataset false"),
        ({"curriculum": "no.json"}, "no.json"),
        ({"curriculum": "others.json"}, "2 of these have another question"),
        ({"group_by_image": True, "batch_size": 2}, "Raise --batch-size"),
    ],
)
def test_what_cannot_be_ordered_is_refused_in_the_plan(values, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    questions, loaded = few_questions(7), fresh_model()
    path = rates_file(tmp_path, questions, [0.5] * 7)
    changed = json.loads(Path(path).read_text())
    for name in list(changed["questions"])[:2]:
        changed["questions"][name]["question_sha256"] = "0" * 64
    Path("others.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match=says):
        resolve_plan(loaded, questions, settings_from({**TINY, **values}, tmp_path / "out"))


def test_sft_has_no_such_order(tmp_path):
    for values in ({"curriculum": "rates.json"}, {"group_by_image": True}):
        with pytest.raises(InputError, match="belongs to --method grpo"):
            settings_from({"method": "sft", **values}, tmp_path)


def test_parts_of_groups_are_one_part_of_a_batch(tmp_path):
    values = {**TINY, "group_by_image": True, "batch_size": 3, "gradient_accumulation_steps": 2}
    settings, loaded = settings_from({**values, "num_generations": 3}, tmp_path), fresh_model()
    order = question_order(settings, few_questions(7), grpo_config(settings, loaded))
    assert (order.batch, order.part) == (2, 2)
    settings = settings_from({**values, "num_generations": 2}, tmp_path)
    order = question_order(settings, few_questions(7), grpo_config(settings, loaded))
    assert (order.batch, order.part) == (3, 3)


@pytest.mark.slow
def test_two_processes_draw_the_questions_of_one(tmp_path):
    questions = of_four_images(tmp_path)
    samples = [asdict(sample) for sample in questions.samples]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{**s, "images": list(s["images"])} for s in samples]))
    rates = rates_file(tmp_path, questions, [1.0, 0.875, None, 0.125, 0.25, 0.75, 0.375, 0.5])
    runs = {
        "curriculum": {"curriculum": rates, "batch_size": 16, "max_steps": 4},
        "by-image": {"group_by_image": True, "batch_size": 16, "max_steps": 4},
        "plain": {"batch_size": 16, "max_steps": 4},
    }
    alone = trained(tmp_path / "alone", file, runs)
    halves = {name: {**run, "batch_size": 8} for name, run in runs.items()}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    both = trained(tmp_path / "both", file, halves, *launcher)
    for name in runs:
        for weight, value in alone[name]["weights"].items():
            assert torch.allclose(value, both[name]["weights"][weight], atol=5e-6), (name, weight)
        rewards = [[line["reward"] for line in run[name]["logs"]] for run in (alone, both)]
        assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)
    rewards = [[line["reward"] for line in alone[name]["logs"]] for name in runs]
    assert rewards[0] != rewards[2] != rewards[1]
