"""`medr1 review start` as a process: it prints an address, answers there, and ends at Ctrl-C."""

import http.client
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

from review_client import Client, judgement
from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.review.store import Store


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    results = write_results(tmp_path / "results.json")
    command = [sys.executable, "-m", "medr1", "review", "start", str(results)]
    more = ["--image-root", str(tiny_vqa_folder()), "--errors", "3", "--blind"]
    process = subprocess.Popen(
        [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    port, token = re.fullmatch(
        r"http://127\.0\.0\.1:(\d+)/#token=([\w-]{40,})\n", process.stdout.readline()
    ).groups()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=600)
    connection.request("GET", "/")
    response = connection.getresponse()
    page = response.read().decode()
    assert response.status == 200 and "Review of answers" in page and token not in page
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=600)
    assert process.returncode == 0
    assert "results.review.db. The same command continues it." in messages
    assert re.search("fewer cases than wanted: .* of 20 right", messages)
    assert not (tmp_path / "results.review.db-wal").exists()  # all is in the file itself
    store = Store(tmp_path / "results.review.db")
    assert store.study.settings["blind"] and sum(item.is_case for item in store.items()) == 13
    store.close()


def test_no_judgement_is_lost_when_the_server_is_killed(tmp_path):
    """Four readers judge at once, until the server is killed in the middle of it."""
    results = write_results(tmp_path / "results.json")
    command = [sys.executable, "-m", "medr1", "review", "start", str(results), "--seed", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = process.stdout.readline()
    confirmed, enough = [], threading.Event()

    def read(name):
        client = Client(url).login()
        for number in range(10**6):
            body = judgement(number % 13, f"{name}-{number}", reader=name)
            try:
                if client.ask("/api/judgement", body)[0] != 200:
                    return
            except (OSError, http.client.HTTPException):  # the server is gone
                return
            confirmed.append(body["id"])
            if len(confirmed) >= 250:
                enough.set()

    readers = [threading.Thread(target=read, args=(name,)) for name in "ABCD"]
    for reader in readers:
        reader.start()
    assert enough.wait(600)
    process.kill()
    process.wait(timeout=600)
    for reader in readers:
        reader.join()
    process.stdout.close()
    with closing(sqlite3.connect(tmp_path / "results.review.db")) as connection:
        stored = {name for (name,) in connection.execute("SELECT id FROM judgements")}
    assert set(confirmed) <= stored
    assert len(stored - set(confirmed)) <= 4  # one of each reader may be stored but not confirmed
