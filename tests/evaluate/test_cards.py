"""Cards: what is on them, what is said not to be recorded, and their items as arrays."""

import json
import re
import shutil

import numpy as np
import pytest
from in_process import medr1
from msgspec.structs import replace

from medr1.data.tiny import tiny_vl_folder, tiny_vqa_folder
from medr1.documents.card import CardItems
from medr1.errors import InputError
from medr1.evaluate.cards.building import command_line
from medr1.evaluate.cards.items import card_items, item_columns
from medr1.evaluate.judging import judge_all
from medr1.records import Prediction, Sample
from medr1.report.pages.card import card_markdown
from medr1.workflows.card import read_card

DATA = tiny_vqa_folder()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with results.json of 16 questions, and audit.json of the file they are from."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "prompt.txt").write_text("Look. {problem} Say {answer} `|<b>.")
    (folder / "data" / "images").mkdir(parents=True)
    for name, number in (("test", 20), ("train", 60), ("validation", 5)):
        items = json.loads((DATA / f"{name}.json").read_text())[:number]
        (folder / "data" / f"{name}.json").write_text(json.dumps(items))
        for image in {item["image"] for item in items}:
            shutil.copy(DATA / image, folder / "data" / image)
    ask = ("--model-path", tiny_vl_folder(), "--batch-file", "data/test.json", "--limit", 16)
    decoding = ("--batch-size", 16, "--max-new-tokens", 6, "--prompt", "prompt.txt")
    done = medr1("infer", *ask, *decoding, "--output-file", "results.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    for name, about, more in (
        ("audit", "test.json", ("--against", "data")),
        ("of-others", "validation.json", ("--against", "data")),
        ("alone", "test.json", ()),
    ):
        file = f"data/{about}"
        done = medr1("data", "audit", file, *more, "--output-dir", name, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def card_of(folder, *options, name="card.json"):
    """The card that `medr1 eval` writes, as a dictionary."""
    fast = ("--metrics", "accuracy", "--overwrite")
    done = medr1("eval", "results.json", *options, "--card", name, *fast, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"Card: {name}" in done.stdout
    return json.loads((folder / name).read_text())


def test_a_card_has_what_reproduces_the_number(folder):
    card = card_of(folder, "--data", "data", "--audit", "audit/audit.json")
    results = json.loads((folder / "results.json").read_text())
    meta = results["meta"]
    assert card["data"]["sha256"] == meta["data_sha256"] and card["data"]["limit"] == 16
    assert card["data"]["n"] == card["accuracy"]["n"] == len(results["results"]) == 16
    assert re.fullmatch("[0-9a-f]{64}", card["data"]["images_sha256"])
    assert card["model"]["sha256"] == meta["model_sha256"]
    assert card["prompt"]["text"] == (folder / "prompt.txt").read_text()
    assert card["prompt"]["sha256"] == meta["prompt_sha256"]
    assert card["decoding"]["max_new_tokens"] == 6 and card["seed"] == 0
    assert {"python", "medr1", "torch", "transformers"} <= set(card["versions"])
    low, high = card["accuracy"]["ci95"]
    assert low <= card["accuracy"]["value"] <= high
    assert card["blind"]["train_name"] == "train.json" and card["blind"]["best"]["n"] > 0
    assert card["leakage"]["against"][0]["name"] == "train.json"
    assert card["leakage"]["kinds"]["same_bytes"]["items"] == 0
    assert card["inference"]["batch_size"] == 16 and card["inference"]["prompt"] == "prompt.txt"
    page = (folder / "card.md").read_text()
    assert "    Look. {problem} Say {answer} `|<b>." in page
    for value in (meta["data_sha256"], meta["model_sha256"], meta["prompt_sha256"]):
        assert f"`{value}`" in page


def test_the_hash_of_the_images_is_of_their_contents(folder, tmp_path):
    before = card_of(folder)["data"]
    names = {n for e in json.loads((folder / "results.json").read_text())["results"]
             for n in e["images"]}  # fmt: skip
    assert before["n_images"] == len(names)
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    assert card_of(folder, "--image-root", tmp_path)["data"] == before
    with (tmp_path / min(names)).open("ab") as file:
        file.write(b"\0")
    assert card_of(folder, "--image-root", tmp_path)["data"] != before
    (tmp_path / min(names)).unlink()
    assert card_of(folder, "--image-root", tmp_path)["data"]["images_sha256"] is None


def test_what_is_not_known_is_said(folder, tmp_path):
    """Results of another program have no record beside them, and no header."""
    items = json.loads((folder / "results.json").read_text())["results"]
    keys = ("id", "question", "options", "ground_truth", "model_output")
    text = "\n".join(json.dumps({key: item[key] for key in keys}) for item in items)
    (tmp_path / "other.jsonl").write_text(text)
    done = medr1("eval", "other.jsonl", "--metrics", "accuracy", "--card", "cards", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "cards" / "other.md")  # the JSON file beside it
    assert (card.inference, card.decoding, card.seed) == (None, None, None)
    assert (card.data.sha256, card.model.sha256, card.prompt.text) == (None, None, None)
    assert (card.leakage, card.blind, card.commands.infer) == (None, None, None)
    page = card_markdown(card)
    for part in ("Model", "Decoding", "Seed", "Prompt", "SHA-256", "Benchmark"):
        assert f"- {part}: not recorded" in page
    assert "Not recorded: no audit" in page
    assert card.accuracy.value is not None


def test_a_record_of_other_results_does_not_count(folder, tmp_path):
    text = (folder / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    (tmp_path / "results.json.run.json").write_text((folder / "results.json.run.json").read_text())
    card = card_of(tmp_path)
    assert card["inference"] is None and card["commands"]["infer"] is None and card["seed"] == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--audit", "audit/audit.json"), "--audit needs --card"),
        (("--card", "results.json", "--overwrite"), "results.json is an input too"),
        (("--card", "results.json"), "results.json exists"),
        (("--card", "card.txt"), "card.txt: a card ends in .json or .md, not .txt"),
        (("--card", "c", "--audit", "results.json"), "results.json is no audit.json"),
        (("--card", "c", "--audit", "of-others/audit.json"), "about another file than the results"),
        (("--card", "c", "--audit", "alone/audit.json"), "has no training questions"),
    ],
)
def test_a_card_that_cannot_be_made_is_one_sentence(folder, options, says):
    before = (folder / "results.json").read_bytes()
    done = medr1("eval", "results.json", *options, cwd=folder)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("Error: ")
    assert says in done.stderr
    assert (folder / "results.json").read_bytes() == before


def test_several_results_have_a_card_each(folder, tmp_path):
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text((folder / "results.json").read_text())
    done = medr1(
        "eval", "a.json", "b.json", "--card", "cards", "--metrics", "accuracy", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "cards").iterdir()) == [
        *("a.json", "a.md", "b.json", "b.md")
    ]
    done = medr1("eval", "a.json", "b.json", "--card", "one.json", cwd=tmp_path)
    assert done.returncode == 2 and "Name a folder" in done.stderr


def test_a_prepared_file_has_its_split_and_filters(tmp_path):
    options = ("--modality", "CT", "--test-share", 0.5, "--output-dir", "data")
    done = medr1("data", "prepare", DATA / "validation.json", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ask = ("--model-path", tiny_vl_folder(), "--mode", "options", "--limit", 4)
    files = ("--batch-file", "data/test.json", "--output-file", "results.json")
    assert medr1("infer", *ask, *files, cwd=tmp_path).returncode == 0
    data = card_of(tmp_path)["data"]
    assert data["split"] == "test" and data["filters"]["options"]["modality"] == ["CT"]
    assert (
        "modality \\['CT'\\]" in (tmp_path / "card.md").read_text()
        or "modality ['CT']" in (tmp_path / "card.md").read_text()
    )


def test_only_commands_of_medr1_are_shown():
    assert command_line(["/usr/bin/medr1", "eval", "a b.json"]) == "medr1 eval 'a b.json'"
    assert command_line(["/x/medr1/__main__.py", "eval"]) == "medr1 eval"
    assert command_line(["/usr/bin/pytest", "tests"]) is None
    assert command_line([]) is command_line(None) is None


def predictions(answers, ids=None):
    """Predictions of a letter each, of which A is right; two questions share an image."""
    return [
        Prediction(
            Sample(
                str(number) if ids is None else ids[number],
                (f"{number // 2}.png",),
                "Which?",
                {"A": "CT", "B": "MRI"},
                "A",
                "multiple_choice",
            ),
            f"<answer> {answer} </answer>" if answer else "",
        )
        for number, answer in enumerate(answers)
    ]


def test_items_come_back_in_the_order_of_their_hashes():
    rows = predictions(["A", "B", "", "A", "A"])
    columns = item_columns(card_items(judge_all(rows)), "card")
    assert columns.correct.sum() == 3 and (columns.answers == 0).sum() == 1
    assert len(set(columns.answers.tolist())) == 3 and len(set(columns.clusters.tolist())) == 3
    # another order of the file makes no difference
    again = item_columns(card_items(judge_all(rows[::-1])), "card")
    for name in ("ids", "answers", "correct"):
        assert np.array_equal(getattr(columns, name), getattr(again, name))


def test_damaged_items_are_refused():
    items = card_items(judge_all(predictions(["A", "B", "A"])))
    zeros = card_items(judge_all(predictions(["A"] * 3000))).correct
    for damage in ({"n": 4}, {"n": 0}, {"ids": "x"}, {"correct": zeros}, {"answers": items.correct},
                   {"ids": items.clusters}):  # fmt: skip
        with pytest.raises(InputError, match="Write the card again"):
            item_columns(replace(items, **damage), "card.json")
    assert isinstance(items, CardItems)


def test_what_others_wrote_is_text_on_the_page(folder):
    card_of(folder)
    card = read_card(folder / "card.json")
    attack = "``<script>alert(1)</script>`` [x](javascript:1)\n# title |"
    card = replace(
        card,
        protocol=attack,
        model=replace(card.model, name=attack),
        prompt=replace(card.prompt, text=attack, name=attack),
        versions={attack: attack},
        warnings=[attack],
    )
    from markdown_it import MarkdownIt

    html = MarkdownIt().render(card_markdown(card))
    assert "<script" not in html and "href" not in html and html.count("<h1>") == 1
