"""Items by pass rate and rationales that are right: the rules, and the two commands."""

import json

import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.readers import read_questions
from medr1.data.selection import right_rationales, select_by_pass_rate
from medr1.records import Failure, Prediction, Sample, prediction_to_dict

OPTIONS = {"A": "CT", "B": "MRI"}


def sample(name, gold="B"):
    return Sample(
        name, (f"{name}.png",), f"What is {name}?", OPTIONS, gold, "multiple_choice", modality="MR"
    )


def answers(name, outputs, **fields):
    right, *more = outputs
    return Prediction(sample(name), model_output=right, samples=tuple(more), **fields)


RIGHT, WRONG = "<answer> B </answer>", "<answer> A </answer>"
SAMPLES = [sample(name) for name in ("easy", "hard", "half", "third", "none", "failed")]
RUN = [
    answers("easy", [WRONG, RIGHT, RIGHT, RIGHT]),
    answers("hard", [RIGHT, WRONG, "no idea", ""]),
    answers("third", [RIGHT, RIGHT, WRONG, WRONG]),
    answers("half", [WRONG, RIGHT, WRONG]),
    Prediction(sample("failed"), error=Failure("image_missing", "gone")),
]


def test_pass_rates_are_of_the_sampled_completions():
    chosen = select_by_pass_rate(SAMPLES, [RUN], min_pass=0.1, max_pass=0.9)
    assert chosen.pass_rates == [1.0, 0.0, 0.5, pytest.approx(1 / 3), None, None]
    assert [SAMPLES[index].id for index in chosen.selected] == ["half", "third"]
    assert (chosen.too_easy, chosen.too_hard, chosen.unknown) == (1, 1, 2)


def test_bounds_are_kept_and_equal_rates_stay_in_order():
    chosen = select_by_pass_rate(SAMPLES, [RUN], min_pass=0, max_pass=1)
    assert chosen.selected == [0, 2, 3, 1] and not chosen.too_easy and not chosen.too_hard
    same = [Prediction(one, model_output=RIGHT) for one in reversed(SAMPLES)]
    assert select_by_pass_rate(SAMPLES, [same], min_pass=1, max_pass=1).selected == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]


def test_several_runs_without_samples_are_several_completions():
    runs = [[Prediction(sample("half"), model_output=text)] for text in (RIGHT, WRONG, WRONG)]
    chosen = select_by_pass_rate(SAMPLES, runs, min_pass=0.1, max_pass=0.9)
    assert chosen.pass_rates[2] == pytest.approx(1 / 3) and chosen.unknown == 5


def test_an_answer_is_judged_by_the_options_as_they_were_asked():
    asked = Sample("half", ("half.png",), "What is half?", {"A": "MRI", "B": "CT"}, "A")
    run = [Prediction(asked, model_output="<answer> A </answer>")]
    assert select_by_pass_rate([sample("half")], [run], min_pass=0, max_pass=1).pass_rates == [1.0]


def think(reasoning, letter):
    return f"<think>{reasoning}</think>\n<answer> {letter} </answer>"


def test_the_shortest_right_rationale_in_the_format_is_kept():
    run = [
        answers(
            "half",
            [
                think("A long story about what is seen.", "B"),
                think("Short.", "A"),
                "<think>b</think> B",
                think("Bright.", "B"),
                think("Darker.", "B"),
                RIGHT,
            ],
        )
    ]
    (found,) = right_rationales([sample("half")], [run])
    assert (found.reasoning, found.completion) == ("Bright.", think("Bright.", "B"))
    after = "<answer> B </answer> <think>why</think>"
    run = [answers("half", [after])]
    assert right_rationales([sample("half")], [run]) == [None]
    assert right_rationales([sample("half")], [run], prompt="think-after")[0].reasoning == "why"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run a command of the group in a folder with train.json and r.json."""
    monkeypatch.chdir(tmp_path)
    items = [{**vars(one), "images": list(one.images)} for one in SAMPLES]
    (tmp_path / "train.json").write_text(json.dumps(items))
    write_results(tmp_path / "r.json", RUN)

    def there(*args, code=0):
        result = CliRunner().invoke(cli, ["data", *args])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return there


def write_results(path, predictions):
    entries = [prediction_to_dict(one) for one in predictions]
    path.write_text(json.dumps({"schema": "medr1.results/1", "meta": {}, "results": entries}))


FILTER = ["filter", "train.json", "--results", "r.json", "--output-file"]


def test_filter_writes_easy_to_hard_and_says_the_rest(command, tmp_path):
    said = command(*FILTER, "out.json").stderr
    assert "2 kept, 1 too easy, 1 too hard, 2 without results" in said
    read = read_questions(tmp_path / "out.json").samples
    assert read == [SAMPLES[2], SAMPLES[3]]
    document = json.loads(command(*FILTER, "out.jsonl", "--json").stdout)
    assert {k: document[k] for k in ("items", "too_easy", "too_hard", "unknown")} == {
        "items": 2, "too_easy": 1, "too_hard": 1, "unknown": 2,
    }  # fmt: skip
    said = command(*FILTER, "published.json", "--to", "published").stderr
    assert "published" in said and "id (2 items), modality (2 items)" in said
    assert set(json.loads((tmp_path / "published.json").read_text())[0]) == {
        "image", "problem", "solution",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([*FILTER, "out.json", "--min-pass", "0.95", "--max-pass", "0.97"], "Change --min-pass"),
        ([*FILTER, "out.json", "--min-pass", "0.9", "--max-pass", "0.1"], "--min-pass is above"),
        ([*FILTER, "out.json", "--max-pass", "90"], "90"),
        ([*FILTER, "train.json"], "train.json exists"),
        ([*FILTER, "out.txt"], "'.txt' is not known"),
        (["filter", "no.json", "--results", "r.json", "--output-file", "o.json"], "no.json"),
        (["filter", "train.json", "--results", "no.json", "--output-file", "o.json"], "no.json"),
        (["filter", "train.json", "--output-file", "o.json"], "--results"),
        (
            ["distill", "train.json", "--results", "r.json", "--output-file", "o.json"],
            "think format",
        ),
    ],
)
def test_mistakes_are_one_sentence(args, says, command, tmp_path):
    said = command(*args, code=2).stderr
    assert says in said and "Traceback" not in said
    assert not (tmp_path / "out.json").exists() and not (tmp_path / "o.json").exists()


def test_distill_writes_what_supervised_training_reads(command, tmp_path):
    run = [
        answers("easy", [think("It is so.", "B")]),
        answers("half", [think("No.", "A"), think("Look:  bright.", "B")]),
    ]
    write_results(tmp_path / "r.json", run)
    args = ["distill", "train.json", "--results", "r.json", "--output-file"]
    said = command(*args, "sft.json").stderr
    assert "4 of 6 items have no reasoning" in said
    items = json.loads((tmp_path / "sft.json").read_text())
    assert items[1] == {
        "image": "half.png",
        "problem": "What is half? A)CT, B)MRI",
        "thinking": "<think> Look:  bright. </think>",
        "solution": "<answer> B </answer>",
    }
    first = (tmp_path / "sft.json").read_bytes()
    command(*args, "sft.json", "--overwrite")
    assert (tmp_path / "sft.json").read_bytes() == first
    command(*args, "sft")  # a data set on disk
    assert len(read_questions(tmp_path / "sft").samples) == 2
