"""`medr1 review start` as a process: it prints an address, answers there, and ends at Ctrl-C."""

import http.client
import re
import signal
import subprocess
import sys

from review_results import write_results

from medr1.data.tiny import tiny_vqa_folder
from medr1.review.store import Store


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    results = write_results(tmp_path / "results.json")
    command = [sys.executable, "-m", "medr1", "review", "start", str(results)]
    more = ["--image-root", str(tiny_vqa_folder()), "--errors", "3", "--blind"]
    process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True)
    port, token = re.fullmatch(
        r"http://127\.0\.0\.1:(\d+)/#token=([\w-]{40,})\n", process.stdout.readline()
    ).groups()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=600)
    connection.request("GET", "/")
    response = connection.getresponse()
    page = response.read().decode()
    assert response.status == 200 and "Review of answers" in page and token not in page
    process.send_signal(signal.SIGINT)
    process.wait(timeout=600)
    assert process.returncode in (0, 130)
    store = Store(tmp_path / "results.review.db")
    assert store.study.settings["blind"] and sum(item.is_case for item in store.items()) == 13
    store.close()
