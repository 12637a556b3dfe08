"""An audit as table, CSV and page: what stands there, and that nothing of others acts there."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from medr1.cli import cli
from medr1.data.audit.document import audit
from medr1.data.readers import read_questions
from medr1.documents.audit import Audit
from medr1.report.pages.audit import MAX_ITEMS, audit_html
from medr1.report.terminal.audit import NEEDED_MEANING, audit_table, items_csv, needed_sentence

ATTACK = (
    '<script>window.hurt=1</script><img src=x onerror="window.hurt=1">{{ 7*7 }}\u202e\x1b[31m=1+1'
)


def write(path, items):
    path.write_text(json.dumps(items))
    return path


def item(number, question="What is shown?", gold="A"):
    names = {"modality": f"{ATTACK} {number % 2}", "question_type": "type"}
    return {
        "image": f"{ATTACK}/{number}.png",
        "question": f"{question} {ATTACK}",
        "options": ["gold", f"other {number} {ATTACK}"],
        "ground_truth": gold,
        **names,
    }


@pytest.fixture
def hostile(tmp_path):
    """An audit whose every text attacks: 130 leaked items, two of them with defects."""
    items = [item(n) for n in range(130)]
    items[3]["options"] = [ATTACK, ATTACK]
    items[4]["ground_truth"] = "neither"
    test = write(tmp_path / "test.json", items)
    train = write(tmp_path / "train.json", [item(n, "Which?") for n in range(130)])
    return audit(test, [train])


def test_the_table_is_plain_text_and_has_the_counts(hostile):
    table = audit_table(hostile.document)
    assert "\x1b" not in table and "\u202e" not in table
    assert max(map(len, table.splitlines())) <= 100
    rows = {line.split("  ")[0].strip(): line.split() for line in table.splitlines()}
    assert rows["same image path"][-3:] == ["130", "100.0", "%"]
    assert rows["answer not in options"][-2:] == ["1", "0"]
    assert rows["duplicate options"][-2:] == ["1", "0"]
    assert "n/a" in rows["image file with the same bytes"]
    assert "! no images found below" in table


def test_no_cell_starts_a_formula(hostile):
    text = items_csv(hostile.items)
    assert "\x1b" not in text and text.startswith("kind,file,line,item,id,")
    assert len(text.splitlines()) > 260


def test_the_page_lists_the_first_items_and_counts_the_rest(hostile):
    page = audit_html(hostile.document, hostile.items)
    assert "<script" not in page and "<img" not in page and "{{" in page
    assert f"the first of 130, {130 - MAX_ITEMS} more are in items.csv" in page
    assert "test.json, line 1, item 4" in page
    assert 'http-equiv="Content-Security-Policy"' in page


def test_the_page_says_what_the_image_needed_subset_means(tmp_path):
    """Fundus pictures and one source of the embedded data are answered by the longest option."""
    folder = Path(__file__).parents[2] / "data" / "tiny_vqa_ds"
    test, train = folder / "test.json", folder / "train.json"
    found = audit(test, [train], image_root=tmp_path)
    sentence = needed_sentence(found.document)
    assert sentence.startswith("Image-needed subset: 583 of 676 items (86.2 %).")
    assert "The others (93)" in sentence and "About 24 of the 93" in sentence
    where = "the longest option (modality Fundus Photography, dataset wsidicom-data)"
    table = " ".join(audit_table(found.document).split())
    page = " ".join(audit_html(found.document, found.items).split())
    for text in (sentence, table, page):
        assert where in text
    assert "of 11 shuffles" in table  # the note under the column of shuffled labels
    assert "df 5 are sums over the numbers of options" in table
    assert NEEDED_MEANING in table and NEEDED_MEANING.replace("'", "&#39;") in page
    row = re.search(r"<bdi>dataset wsidicom-data</bdi>.*?</tr>", page)[0]
    assert re.findall(r">([^<>]+)</td>", row)[:3] == ["the longest option", "75.7 %", "31.3 %"]
    assert found.document.groups["dataset"]["wsidicom-data"].image_needed == 9


# --- the command ------------------------------------------------------------------------------


def run(*args, code=0):
    result = CliRunner().invoke(cli, ["data", "audit", *map(str, args)])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def files(tmp_path):
    """Two files without a leak, in which the first option text is always right."""
    made = []
    for name in ("test", "train"):
        items = [
            {
                "image": f"{name}{n}.png",
                "problem": f"What? A){'ab'[n % 2]} {n}, B){'ba'[n % 2]} {n}".replace(
                    f"a {n}", "gold"
                ),
                "solution": f"<answer> {'AB'[n % 2]} </answer>",
            }
            for n in range(60)
        ]
        made.append(write(tmp_path / f"{name}.json", items))
    return made


def test_json_is_one_document_and_the_folder_holds_it_too(files, tmp_path):
    test, train = files
    out = tmp_path / "out"
    result = run(test, "--against", train, "--json", "--output-dir", out)
    document = msgspec.json.decode(result.stdout, type=Audit)
    assert document == msgspec.json.decode((out / "audit.json").read_bytes(), type=Audit)
    assert json.loads(result.stdout)["schema"] == "medr1.audit/2"
    assert (document.file.n, document.option_counts) == (60, {"2": 60})
    assert document.letters == {"A": 30, "B": 30}
    assert (document.file.defects["duplicate_item"], document.leakage["same_image"].items) == (0, 0)
    assert document.blind.predictors["option_prior"].accuracy.value == 1.0
    assert (document.image_needed.items, document.groups["modality"]) == (0, {})
    assert sorted(p.name for p in out.iterdir()) == [
        *("audit.html", "audit.json", "image_needed.json", "items.csv"),
    ]
    assert json.loads((out / "image_needed.json").read_text()) == []
    run(test, "--output-dir", out, code=2)  # it is not empty


@pytest.mark.parametrize(
    ("gates", "code", "says"),
    [
        ("leakage,defects", 0, ""),
        ("shortcut", 1, "a shortcut (option_prior has accuracy 100.0 %, chance is 50.0 %)."),
        ("leakage,nonsense", 2, "'nonsense' is not one of leakage, defects, shortcut"),
    ],
)
def test_fail_on(files, gates, code, says):
    test, train = files
    result = run(test, "--against", train, "--fail-on", gates, code=code)
    assert says in result.stderr


def test_the_image_needed_subset_is_a_split_of_its_own(tmp_path):
    train = [item(n) for n in range(40)]
    test = [{**item(n + 100), "extra": n} for n in range(40)]
    test[7] = {**test[7], "ground_truth": "B"}
    paths = [write(tmp_path / f"{n}.json", items) for n, items in (("t", test), ("tr", train))]
    needed = tmp_path / "needed.json"
    run(paths[0], "--against", paths[1], "--write-image-needed", needed)
    assert json.loads(needed.read_text()) == [test[7]]
    assert read_questions(needed).samples[0].metadata == {"extra": 7}
    for wrong, says in ((needed, "exists"), (tmp_path / "n.csv", "ends in .json")):
        result = run(paths[0], "--against", paths[1], "--write-image-needed", wrong, code=2)
        assert says in result.stderr
    assert "give --against" in run(paths[0], "--write-image-needed", needed, code=2).stderr
    folder = paths[0].parent / "audited"
    for how in ((), ("--overwrite",)):
        options = ("--output-dir", folder, "--write-image-needed", folder / "needed.json", *how)
        run(paths[0], "--against", paths[1], *options)
        assert {"audit.json", "needed.json"} <= {path.name for path in folder.iterdir()}


# --- in a browser -----------------------------------------------------------------------------


@pytest.fixture
def show(browser, tmp_path, hostile):
    def open_page(width=1100):
        page = tmp_path / "audit.html"
        page.write_text(audit_html(hostile.document, hostile.items), encoding="utf-8")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(page.as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
        return browser

    return open_page


def test_the_page_is_inert_and_asks_nobody(show):
    browser = show()
    assert browser.execute_script("return window.hurt") is None
    assert browser.get_log("browser") == []
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    asked = [m for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = {m["params"]["request"]["url"].split(":")[0] for m in asked}
    assert urls - {"chrome"} == {"file"}  # Chromium's start page may still be loading
    assert browser.execute_script("return document.scripts.length + document.images.length") == 0
    assert "<script>window.hurt=1</script>" in browser.find_element("id", "items").text


@pytest.mark.parametrize("width", [320, 768])
def test_no_sideways_scrolling(show, width):
    wide, room = show(width).execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert wide == room <= width


def test_headings_and_tables_have_names(show):
    wrong = show().execute_script(
        "const bad = [];"
        "for (const t of document.querySelectorAll('table')) if (!t.caption) bad.push('caption');"
        "for (const h of document.querySelectorAll('th')) if (!h.scope) bad.push(h.textContent);"
        "return bad"
    )
    assert wrong == []
