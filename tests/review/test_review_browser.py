"""The page of a review in a real browser: by keyboard, with reload, a second reader and attacks."""

import json

import pytest

pytest.importorskip("selenium")
from review_reader import CHOICES
from review_results import HOSTILE
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from medr1.data.tiny import tiny_vqa_folder
from medr1.review.sampling import reader_order
from medr1.review.store import Judgement
from medr1.workflows.review import adjudicate_review


def test_ten_cases_by_keyboard_then_reload_and_a_second_reader(reader, start):
    server = start()
    reader.open(server.url, "Dr. A")
    for number in range(10):
        assert reader.place() == (number + 1, 13)
        reader.judge()
    stored = server.app.store.judgements("Dr. A")
    assert len(stored) == 10 and all(j.seconds > 0 for j in stored)
    expected = {"correct": "yes", "grounded": "partly", "safe": "yes", "harm": "none"}
    assert all(j.ratings == {**expected, "confidence": "high"} for j in stored)

    reader.browser.refresh()  # the cookie is still there, the token is not needed
    assert reader.browser.find_element(By.ID, "reader").get_attribute("value") == "Dr. A"
    reader.enter("Dr. A")
    assert reader.place() == (11, 13)

    reader.press("u")  # the tenth again
    reader.wait(lambda: reader.place() == (10, 13))
    assert len(server.app.store.judgements("Dr. A")) == 9
    reader.judge({**CHOICES, "correct": "1"})
    assert server.app.store.judgements("Dr. A")[-1].ratings["correct"] == "no"

    reader.press("s")
    reader.wait(lambda: reader.place() == (12, 13))
    reader.press("c")
    reader.press("No effusion. \u00e9 <b>", Keys.ESCAPE)
    reader.judge()
    reader.judge()
    reader.wait(lambda: "12 judged, 1 skipped" in reader.text("end-text"))
    assert "No effusion. \u00e9 <b>" in {j.comment for j in server.app.store.judgements("Dr. A")}

    reader.open(server.url, "B")
    assert reader.place() == (1, 13)
    reader.judge()
    assert len(server.app.store.judgements("B")) == 1
    assert len(server.app.store.judgements("Dr. A")) == 13  # with the skipped one


def test_every_question_needs_an_answer(reader, start):
    server = start()
    reader.open(server.url, "A")
    assert reader.place() == (1, 13)
    reader.press("1", "2", Keys.ENTER)
    reader.wait(lambda: "Answer every question" in reader.text("message"))
    assert reader.place() == (1, 13) and server.app.store.judgements() == []
    active = reader.browser.find_element(By.CSS_SELECTOR, "fieldset.active")
    assert active.get_attribute("data-key") == "safe"


def test_texts_of_the_model_are_inert_and_nothing_else_is_asked(reader, start):
    server = start()
    reader.open(server.url, "A")
    reader.place()
    reader.browser.get_log("browser")
    for _ in range(3):
        assert "<script>window.hurt" in reader.text("reasoning")
        assert reader.wait(
            lambda: reader.browser.execute_script(
                "return document.querySelector('#frame img').naturalWidth"
            )
        )
        reader.judge()
    assert reader.browser.execute_script("return window.hurt") is None
    assert reader.browser.get_log("browser") == []
    own = server.url.partition("#")[0]
    names = reader.browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert names and all(name.startswith(own) for name in names)
    assert reader.browser.execute_script("return document.cookie") == ""


def test_a_script_in_any_text_is_inert(reader, start, serve, tmp_path):
    """In the question, options, answers, metadata, a comment, a reader's name and the model's."""
    path = tmp_path / "results.json"
    document = json.loads(path.read_text())
    document["meta"]["model"] = HOSTILE
    for entry in document["results"]:
        entry["options"] = {letter: f"{letter} {HOSTILE}" for letter in entry["options"]}
        entry |= dict.fromkeys(("question", "modality", "question_type", "reasoning"), HOSTILE)
        entry["model_output"] = f"{HOSTILE} {HOSTILE}"
    hostile = tmp_path / "hostile.json"
    hostile.write_text(json.dumps(document))
    server = start(hostile)
    for name, correct in ((HOSTILE[:60], "1"), ("B", "3")):
        reader.open(server.url, name)
        reader.place()
        texts = ("question", "options", "reasoning", "completion", "about", "answer")
        assert all("<script>" in reader.text(text) for text in texts)
        reader.press("c")
        reader.press(HOSTILE, Keys.ESCAPE)
        for _ in range(13):
            reader.judge({**CHOICES, "correct": correct})
    second = serve(
        adjudicate_review(
            hostile, [server.app.store.path], adjudicator="C", image_root=tiny_vqa_folder()
        )
    )
    reader.open(second.url, "C")
    reader.place()
    earlier = ""
    for _ in second.app.items:
        earlier += reader.text("earlier-list")
        reader.judge()
    assert HOSTILE in earlier
    assert reader.run("return window.hurt") is None
    assert (
        reader.run("return document.querySelectorAll('main script, main img[src=x]').length") == 1
    )


WATCH = """
    window.pressed = 0; window.shown = [];
    addEventListener('keydown', e => {
        if (e.key === 'Enter') window.pressed = performance.now();
    }, true);
    new MutationObserver(() => {
        const image = document.querySelector('#frame img');
        shown.push({path: new URL(image.src).pathname, pressed, at: performance.now(),
            isLoaded: image.complete && image.naturalWidth > 0});
    }).observe(document.getElementById('frame'), {childList: true});"""


def test_the_next_image_is_loaded_ahead(reader, start):
    """No image of the next case is asked for after the key that leads to it."""
    server = start(errors=10, right_answers=10, confident_errors=10, repeats=0)
    reader.open(server.url, "A")
    reader.place()
    reader.browser.execute_script(WATCH)
    images = """
        return performance.getEntriesByType('resource').map(e => [e.name, e.startTime])
            .filter(e => e[0].includes('/image/'))"""
    number = len(server.app.items)
    assert number > 9
    for done in range(1, number):
        reader.wait(lambda n=done + 1: len(reader.browser.execute_script(images)) == n)
        reader.judge()
    asked = {name.partition("/image/")[2]: at for name, at in reader.browser.execute_script(images)}
    shown = reader.browser.execute_script("return shown")
    assert len(shown) == number - 1
    for image in shown:
        assert image["isLoaded"]
        assert asked[image["path"].removeprefix("/image/")] < image["pressed"] < image["at"]


def test_controls_have_names(reader, start):
    reader.open(start().url, "A")
    reader.place()
    script = """
        return [...document.querySelectorAll('button, input, textarea, progress, img')]
            .filter(e => !(e.labels?.length || e.textContent.trim() || e.alt
                || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')))
            .map(e => e.outerHTML)"""
    assert reader.browser.execute_script(script) == []


def test_a_store_that_cannot_be_written_is_told(reader, start):
    server = start()
    reader.open(server.url, "A")
    reader.place()
    server.app.store.close()
    body = reader.browser.find_element(By.TAG_NAME, "body")
    body.send_keys(*CHOICES.values())
    body.send_keys(Keys.ENTER)
    reader.wait(lambda: "Not stored" in reader.text("message"))
    assert reader.place() == (1, 13)


def test_a_wrong_name_is_not_called_not_stored(reader, start):
    reader.browser.get("about:blank")
    reader.browser.get(start().url)
    field = reader.wait(lambda: reader.browser.find_element(By.ID, "reader"))
    field.send_keys("   ", Keys.ENTER)
    reader.wait(lambda: "printable characters" in reader.text("message"))
    assert "Not stored" not in reader.text("message")


def test_undo_after_a_reload_is_of_the_last_judgement_by_time(reader, start):
    server = start()
    reader.open(server.url, "A")
    shown = reader_order(sorted(server.app.items), "A", server.app.store.study.seed, 1)
    for number, place in enumerate((2, 0)):
        case = shown[place]
        ratings = dict.fromkeys(("correct", "grounded"), "yes")
        server.app.store.add(
            Judgement(f"j{number}", "A", case.case, ratings, is_repeat=case.is_repeat)
        )
    reader.browser.refresh()
    reader.enter("A")
    assert reader.place() == (2, 13)
    reader.press("u")
    reader.wait(lambda: reader.place() == (1, 13))
    assert [j.id for j in server.app.store.judgements("A")] == ["j0"]
