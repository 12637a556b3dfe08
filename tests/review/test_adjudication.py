"""The second round: who may judge, what the adjudicator is shown, and which answer is final."""

import json
import threading
from contextlib import closing
from pathlib import Path

import pytest
from in_process import medr1
from review_client import Client, judgement
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.errors import InputError
from medr1.review.final import final_answers
from medr1.review.store import Judgement, Store
from medr1.workflows.review import adjudicate_review, start_review, summarize_review

ANSWERS = {"Dr. Secret": "yes", "B": "no", "C": "no"}


@pytest.fixture
def first(tmp_path):
    """A first round: readers differ on the first two cases; one has no majority."""
    results = write_results(tmp_path / "results.json")
    start_review(results, image_root=tiny_vqa_folder()).close()
    path = tmp_path / "results.review.db"
    with closing(Store(path)) as store:
        cases = [item.place for item in store.items() if item.is_case]
        for reader, answer in ANSWERS.items():
            for number, place in enumerate(cases):
                if (number, reader) == (1, "C"):
                    continue
                ratings = {"correct": answer if number < 2 else "yes", "safe": "yes"}
                store.add(Judgement(f"{reader}-{place}", reader, place, ratings, f"by {number}"))
    return results, path, cases


@pytest.fixture
def server(first):
    results, path, _ = first
    running = adjudicate_review(
        results, [path], adjudicator="Dr. D", image_root=tiny_vqa_folder(), questions=["correct"]
    )
    thread = threading.Thread(target=running.serve)
    thread.start()
    yield running
    running.stop()
    thread.join()
    running.close()


def test_the_adjudicator_decides_and_the_decision_is_final(first, server, tmp_path):
    _, path, cases = first
    before = summarize_review([path])
    client = Client(server.url).login()
    session = json.loads(client.ask("/api/session", {"reader": "Dr. D"})[1])
    assert {p["place"] for p in session["presentations"]} == set(cases[:2])
    case = json.loads(client.ask(f"/api/case/{cases[0]}")[1])
    codes = {verdict["reader"]: verdict["ratings"]["correct"] for verdict in case["earlier"]}
    assert codes == {"Reader 1": "no", "Reader 2": "no", "Reader 3": "yes"}
    assert case["earlier"][0]["comment"] == "by 0" and "Secret" not in json.dumps(case)
    for ask in (("/api/session", {"reader": "B"}), ("/api/judgement", judgement(cases[0]))):
        status, body, _ = client.ask(*ask)
        assert status == 422 and "adjudicator only" in body.decode()
    assert client.ask(f"/api/case/{cases[3]}")[0] == 404  # no dispute
    body = judgement(cases[0], reader="Dr. D", ratings={"correct": "yes"})
    assert client.ask("/api/judgement", body)[0] == 200
    second = tmp_path / "results.adjudication.db"
    document = summarize_review([second, path])
    assert document.questions == before.questions  # the agreement is that of the first round
    counts = document.adjudication
    assert (counts.adjudicators, counts.n_cases, counts.n_judged) == (["Dr. D"], 2, 1)
    assert counts.n_undecided == 1
    means = [
        sum(kind.expert_mean * kind.n_judged for kind in d.kinds.values() if kind.n_judged)
        for d in (before, document)
    ]
    # the first case: 1 instead of 1/3; the second has no majority and keeps the mean
    assert means[1] - means[0] == pytest.approx(2 / 3)
    done = medr1("review", "summary", path, second)
    assert "Adjudication: 1 of 2 cases decided by Dr. D" in done.stdout, done.stderr


def test_a_round_is_continued_and_others_are_refused(first, server, tmp_path):
    results, path, _ = first
    images = tiny_vqa_folder()
    for change in ({"adjudicator": "E"}, {"adjudicator": "Dr. D", "questions": ["safe"]}):
        with pytest.raises(InputError, match="another review, adjudicator"):
            adjudicate_review(results, [path], image_root=images, **change)
    with pytest.raises(InputError, match="B judged in the first round"):
        adjudicate_review(results, [path], adjudicator=" B ", image_root=images)
    second = tmp_path / "results.adjudication.db"
    adjudicate_review(
        results, [path], adjudicator="Dr. D", questions=["correct"], image_root=images
    ).close()
    with pytest.raises(InputError, match="only an adjudication"):
        summarize_review([second])
    (tmp_path / "other").mkdir()
    other = write_results(tmp_path / "other" / "results.json", n=9)
    with pytest.raises(InputError, match="not the file that was reviewed"):
        adjudicate_review(other, [path], adjudicator="E", image_root=images)
    start_review(other, image_root=images).close()
    store = Path(other).with_name("results.review.db")
    with pytest.raises(InputError, match="differ on no case"):
        adjudicate_review(other, [store], adjudicator="E", image_root=images)
    with pytest.raises(InputError, match="adjudicates another review"):
        summarize_review([store, second])


def test_the_final_answer_is_adjudicated_or_of_the_majority():
    def looks(answers):
        return {
            (reader, 7): Judgement(reader, reader, 7, {"correct": answer})
            for reader, answer in answers.items()
        }

    two_to_one = looks({"A": "no", "B": "yes", "C": "no"})
    tie = looks({"A": "no", "B": "yes"})
    for first, second, expected in (
        (two_to_one, {}, ("no", "majority")),
        (two_to_one, looks({"D": "partly"}), ("partly", "adjudicated")),
        (tie, {}, (None, "undecided")),
        (tie, looks({"D": "yes"}), ("yes", "adjudicated")),
        (looks({"A": "yes"}), {}, ("yes", "majority")),
        (tie, looks({"D": "yes", "E": "no"}), (None, "undecided")),
    ):
        final = final_answers(first, second, "correct")[7]
        assert (final.answer, final.source) == expected
    assert final_answers(tie, {}, "safe") == {}


def test_the_page_shows_the_earlier_verdicts(server, browser):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get(server.url)
    wait = WebDriverWait(browser, 600, 0.05)
    wait.until(lambda _: "token" not in browser.current_url)
    browser.find_element("id", "reader").send_keys("Dr. D\n")
    block = browser.find_element("id", "earlier")
    wait.until(lambda _: block.is_displayed())
    assert "Reader 1: correct: no, safe: yes. \u201cby" in block.text
    assert "Secret" not in browser.page_source
