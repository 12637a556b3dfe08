"""Tables for the terminal, CSV for spreadsheets: complete, aligned, inert."""

import csv
import io
import re

import msgspec
import pytest
from msgspec.structs import replace

from medr1.csv_cells import unguard
from medr1.data.audit import BlindPanel
from medr1.documents.demo import (
    Demo,
    DemoCompletion,
    DemoProtocol,
    DemoSample,
    ShuffledImages,
)
from medr1.documents.metric import Metric
from medr1.evaluate.metrics.summary import compare_accuracy, summarize
from medr1.files import to_json
from medr1.records import ANSWER_TYPES, Failure, Prediction, Sample
from medr1.report.csv_tables import (
    COLUMNS,
    csv_text,
    guard_cell,
    summary_csv,
)
from medr1.report.terminal.answer import answer_text
from medr1.report.terminal.demo import conclusions, demo_samples, demo_table
from medr1.report.terminal.layout import clean
from medr1.report.terminal.tables import summary_table

OPTIONS = {"A": "CT", "B": "MRI", "C": "US", "D": "X-ray"}


def panel(n):
    right = {"option_prior": tuple(i % 3 == 0 for i in range(n))}
    needed = tuple(i % 3 != 0 for i in range(n))
    return BlindPanel({}, right, {}, 0.25, "option_prior", ("option_prior",), needed)


def predictions(num_right=17, n=20, modality="CT"):
    return [
        Prediction(
            Sample(
                str(i),
                (f"{i}.png",),
                "Which?",
                OPTIONS,
                "A",
                "multiple_choice",
                modality=modality if i % 2 else "Magnetic resonance imaging of the whole body",
            ),
            f"<answer>{'A' if i < num_right else 'B'}</answer>" if i < n - 1 else None,
            error=None if i < n - 1 else Failure("image_missing", "gone"),
        )
        for i in range(n)
    ]


def summary(**more):
    document = summarize(predictions(**more), blind=panel(20), num_resamples=50)
    return replace(document, results="output/results.json")


def test_summary_table_says_everything():
    document = summary()
    table = summary_table(document)
    lines = table.splitlines()
    assert lines[0] == "output/results.json"
    assert lines[1].startswith("20 items, protocol default; 1 failed")
    accuracy = next(i for i, line in enumerate(lines) if line.startswith("accuracy "))
    assert lines[accuracy].split() == ["accuracy", "85.0", "%", "64.0", "to", "94.8", "20"]
    assert lines[accuracy + 1].split() == ["chance", "25.0", "%"]
    assert (
        "best without image (option prior)" in lines[accuracy + 2]
        and "35.0 %" in lines[accuracy + 2]
    )
    assert (
        "gain over best without image" in lines[accuracy + 3]
        and "+50.0 points" in lines[accuracy + 3]
    )
    assert "need an image" in lines[accuracy + 4] and "84.6 %" in lines[accuracy + 4]
    for name in document.metrics:
        assert any(line.startswith(f"{name} ") for line in lines)
    assert re.search("^counting_accuracy +-  +0$", table, re.M)
    assert re.search("^- counting_accuracy: no item", table, re.M)
    assert "accuracy by modality" in table and "mean of" in table
    assert "! 1 of 20 items failed" in table
    assert "\x1b" not in table


def test_columns_are_aligned():
    lines = [x for x in summary_table(summary()).splitlines() if "%" in x and " to " in x]
    assert len({line.index("%") for line in lines[:4]}) == 1
    assert len({len(line) for line in lines[:4]}) == 1


@pytest.mark.parametrize("width", [1, 30, 50, 80, 200])
def test_width_is_kept(width):
    lines = summary_table(summary(), width=width).splitlines()[3:]
    assert max(map(len, lines)) <= max(width, 20)
    names = [line for line in lines if line.startswith("Magnetic")]
    assert all("…" in line for line in names)  # 44 letters, where 40 is the most


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u202c\nCT\x9b31m"


def test_no_terminal_escape_survives():
    assert clean(HOSTILE) == "]0;owned[2Jgnp.exe CT31m"
    document = summary(modality=HOSTILE)
    document = replace(document, results=HOSTILE, warnings=[*document.warnings, HOSTILE])
    text = summary_table(document) + summary_csv([document])
    assert not set(text) & set("\x1b\x07\x9b\u202e\u202c")


FORMULAS = ["=1+1", "+A1", "-2+3", "@SUM(A1)", "\tx", "\rx", "=cmd|' /C calc'!A0", "\n=1", " =1"]
PLAIN = ["-1", "+1.5", "-0.25e-3", "1", "CT", "", "A=1", "x\ny", 'a "b", c', "'s", "Ärzte 中"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_guarded(text):
    assert guard_cell(text) == "'" + text
    assert unguard(guard_cell(text)) == text
    assert unguard(guard_cell("'" + text)) == "'" + text


@pytest.mark.parametrize("text", PLAIN)
def test_other_cells_stay_as_they_are(text):
    assert guard_cell(text) == text == unguard(text)


def test_numbers_and_nothing():
    assert [guard_cell(x) for x in (-0.5, 3, None, True)] == ["-0.5", "3", "", "True"]
    assert guard_cell("\x1b[31mred\x00") == "[31mred"
    assert guard_cell("\x1b=1") == "'=1"


def test_csv_is_complete_and_comes_back():
    document = summary(modality='=HYPERLINK("http://x","CT")')
    text = summary_csv([document, replace(document, results="b.json")])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == COLUMNS
    assert {row["results"] for row in rows} == {"output/results.json", "b.json"}
    accuracy = next(r for r in rows if (r["scope"], r["metric"]) == ("all", "accuracy"))
    metric = document.metrics["accuracy"]
    assert float(accuracy["value"]) == metric.value
    assert (float(accuracy["lo"]), float(accuracy["hi"])) == metric.ci95
    assert accuracy["n"] == "20"
    names = {unguard(r["group"]) for r in rows if r["scope"] == "modality"}
    assert names == {*document.groups["modality"], "(macro)"}
    assert {r["metric"] for r in rows} >= {"n_error", "chance", "option_prior", "image_gain"}
    missing = next(r for r in rows if r["metric"] == "counting_accuracy")
    assert (missing["value"], missing["lo"], missing["n"]) == ("", "", "0")


def test_any_rows_can_be_written():
    text = csv_text([{"a": "x,y", "b": None}, {"a": "=1", "c": 3}], ["a", "b"])
    assert text == 'a,b\n"x,y",\n\'=1,\n'


def protocol_of_demo(base, trained, protocol):
    accuracies = compare_accuracy(base, trained, protocol=protocol)
    return DemoProtocol(
        base=accuracies.base,
        trained=accuracies.trained,
        difference=accuracies.difference,
        difference_by_source=accuracies.difference,
    )


def demo_document():
    base, trained = predictions(4), predictions(17)
    return Demo(
        seed=0,
        prompt="nothink",
        n=20,
        n_images=15,
        n_sources=4,
        seconds=81.4,
        blind=summarize(trained, blind=panel(20), num_resamples=50).blind,
        default=protocol_of_demo(base, trained, "default"),
        strict=protocol_of_demo(base, trained, "strict"),
        shuffled_images=ShuffledImages(
            base=Metric(value=0.2, ci95=(0.1, 0.4), n=20),
            trained=Metric(value=0.3, ci95=(0.15, 0.5), n=20),
        ),
        curve=[],
        samples=[],
    )


def test_demo_table():
    document = msgspec.json.decode(to_json(demo_document()), type=Demo)
    lines = demo_table(document).splitlines()
    assert "seed 0" in lines[0] and "81 s" in lines[0]
    assert " ".join(lines[2].split()) == "accuracy (95 % CI) default strict"
    names = [line.split("  ")[0] for line in lines[3:15]]
    assert names == [
        "chance",
        "best without image",
        "base model",
        "trained with GRPO",
        "trained, image-needed items",
        "base, images shuffled",
        "trained, images shuffled",
        "",
        "gain in points (95 % CI)",
        "from training",
        "",
        "over best without image",
    ]
    assert lines[5].count("20.0 % (8.1 to 41.6)") == 2
    assert lines[12].count("+65.0 (") == 2 and "option prior" in demo_table(document)
    assert max(map(len, lines)) <= 80
    places = [i for i, line in enumerate(lines) if "15 test images" in line and "4 sources" in line]
    assert len(places) == 1 and lines[places[0] + 2] == ""
    assert " ".join(lines[places[0] + 3 :]) == " ".join(conclusions(document))


def metric(value, low, high):
    return Metric(value=value, ci95=(low, high), n=100)


def changed(base, trained, low, high, by_source=None):
    difference = metric(trained - base, low, high)
    return DemoProtocol(
        base=metric(base, base - 0.03, base + 0.03),
        trained=metric(trained, trained - 0.03, trained + 0.03),
        difference=difference,
        difference_by_source=by_source or difference,
    )


def concluded(default, strict=None, shuffled=0.14, image_gain=0.4):
    """The sentences for these numbers."""
    document = demo_document()
    shuffled_metric = metric(shuffled, shuffled - 0.03, shuffled + 0.03)
    gain = metric(image_gain, image_gain - 0.05, image_gain + 0.05)
    return conclusions(
        msgspec.structs.replace(
            document,
            default=default,
            strict=strict or default,
            shuffled_images=ShuffledImages(base=shuffled_metric, trained=shuffled_metric),
            blind=msgspec.structs.replace(document.blind, image_gain=gain),
        )
    )


def test_conclusions_of_a_demo_that_learned():
    sentences = concluded(changed(0.521, 0.719, 0.16, 0.24), changed(0.004, 0.719, 0.67, 0.75))
    assert sentences == [
        "Training raised the share of right answers from 52 to 72 of 100.",
        "It raised the share that is also in the required format from 0 to 72 of 100.",
        "With the images shuffled, 14 instead of 72 of 100 are right: the trained model uses the "
        "images.",
    ]


def test_conclusions_claim_no_more_than_the_intervals():
    unclear = concluded(changed(0.52, 0.54, -0.01, 0.05))[0]
    assert unclear == (
        "Training did not clearly change the share of right answers: 52 of 100 before, 54 after."
    )
    worse = concluded(changed(0.52, 0.40, -0.2, -0.05))[0]
    assert worse == "Training lowered the share of right answers from 52 to 40 of 100."
    close = concluded(changed(0.521, 0.524, 0.001, 0.005))[0]
    assert "from 52.1 to 52.4 of 100" in close
    sources = concluded(changed(0.52, 0.72, 0.1, 0.3, metric(0.2, -0.1, 0.5)))
    assert sources[1] == "With other sources of images this may be different."
    unused = concluded(changed(0.52, 0.54, -0.01, 0.05), shuffled=0.5, image_gain=0.01)
    assert unused[-2:] == [
        "With the images shuffled, 50 instead of 54 of 100 are right: this does not show that the "
        "trained model uses the images.",
        "Nor is it shown to be better than the best guess without the image.",
    ]
    guess = concluded(changed(0.52, 0.54, -0.01, 0.05), image_gain=0.01)
    assert guess[-1] == "It is not shown to be better than the best guess without the image."


def test_demo_samples():
    sample = DemoSample(
        question="Which modality?",
        options={"A": "CT", "B": "MRI"},
        ground_truth="B",
        base=DemoCompletion(model_output="The answer is CT.\n", correct=False),
        trained=DemoCompletion(model_output="<answer> MRI </answer>", correct=True),
    )
    assert demo_samples([sample]).splitlines()[1:] == [
        "Which modality? B) MRI",
        "  base     wrong    The answer is CT.",
        "  trained  correct  <answer> MRI </answer>",
    ]


def entry(options=OPTIONS, answer_type="multiple_choice", **values):
    options = {"A": "CT", "B": "MRI"} if options is OPTIONS else options
    sample = Sample("1", (), "Which?", options, answer_type=answer_type)
    return Prediction(sample, **values)


def test_an_answer_and_its_bars():
    shown = answer_text(
        entry(
            extracted_answer="B",
            model_output="<answer> MRI </answer>",
            option_probs={"A": 0.0625, "B": 0.9375},
            reasoning="bright fat",
        ),
        reasoning=True,
    )
    assert shown.splitlines() == [
        *("bright fat", "", "B) MRI", "", "Probability of each option:"),
        "A) CT    6.2 %  █▎",
        "B) MRI  93.8 %  ██████████████████▊",
    ]


def test_samples_are_counted():
    shown = answer_text(entry(extracted_answer="A", samples=["MRI", "CT", " CT\n"]))
    assert shown.splitlines()[2:] == ["2 of 3 samples: CT", "1 of 3 samples: MRI"]


def test_passes_with_dropout_have_a_range():
    passes = [{"A": 0.25, "B": 0.75}, {"A": 0.5, "B": 0.5}, {"A": 0.125, "B": 0.875}]
    shown = answer_text(entry(extracted_answer="B", dropout_probs=passes))
    assert shown.splitlines()[2:] == [
        "3 passes with dropout, lowest to highest probability of each option:",
        "12.5 to 50.0 %  A) CT",
        "50.0 to 87.5 %  B) MRI",
    ]


def test_what_could_not_be_read_is_shown_as_it_is():
    shown = answer_text(entry(model_output="X-ray"))
    assert "one of the options" in shown and shown.endswith(": X-ray")
    for answer_type in set(ANSWER_TYPES) - {"open"}:
        assert answer_text(entry(model_output="X", answer_type=answer_type)).endswith(": X")
    open_question = {"options": {}, "answer_type": "open"}
    assert answer_text(entry(model_output="a\nb", **open_question)) == "a\nb"
    assert "\x1b" not in answer_text(entry(model_output="\x1b[2Jgone", **open_question))


def test_yes_and_no_have_bars_and_long_names_are_cut():
    asked = {"options": {}, "answer_type": "yes_no", "extracted_answer": "yes"}
    assert answer_text(entry(option_probs={"yes": 1.0, "no": 0.0}, **asked)).splitlines() == [
        *("yes", "", "Probability of each option:"),
        *("yes  100.0 %  ████████████████████", "no     0.0 %"),
    ]
    long = entry(
        options={"A": "x" * 200, "B": "y"}, extracted_answer="B", option_probs={"A": 0.5, "B": 0.5}
    )
    assert max(map(len, answer_text(long).splitlines())) <= 80
