"""A review of real images, and a server of it in a thread."""

import threading

import pytest
from chromium import chromium
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.workflows.review import start_review


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, which logs what a page asks of others; without it the test is skipped."""
    yield from chromium(tmp_path_factory.mktemp("profile"))


@pytest.fixture
def reader(browser):
    """A person in front of a window of 1366 x 768 pixels."""
    from review_reader import Reader

    person = Reader(browser)
    person.resize(1366, 768)
    return person


@pytest.fixture
def serve():
    """serve(server) lets a server answer, and returns it; all end with the test."""
    running = []

    def run(server):
        thread = threading.Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return server

    yield run
    for server, thread in running:
        server.stop()
        thread.join()
        server.close()


@pytest.fixture
def start(tmp_path, serve):
    """start(...) starts a server of a review, or the same one again, and returns it."""
    own = write_results(tmp_path / "results.json")

    def start_server(results=own, **more):
        counts = {"confident_errors": 4, "errors": 4, "right_answers": 4, "repeats": 1}
        settings = {"image_root": tiny_vqa_folder(), **counts, **more}
        return serve(start_review(results, **settings))

    return start_server
