"""Ten thousand quick requests to the server of a review, allowed and refused ones mixed."""

import http.client
import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from review_client import OWN, Client, judgement
from review_results import write_results

MIB = 2**20
PER_CONNECTION = 2500
STATUSES = {
    "case": 200,
    "image": 200,
    "scan": 200,
    "judgement": 200,
    "foreign host": 421,
    "no cookie": 401,
    "no place": 404,
    "foreign origin": 403,
    "wrong token": 403,
    "no JSON": 422,
}


def flood(client, places, name):
    """Send the share of one connection, which stays open; counts of (kind, status)."""
    own = f"127.0.0.1:{client.port}"
    cookie = {"Host": own, "Cookie": client.cookie}
    post = {**OWN, **cookie, "Origin": f"http://{own}"}
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=600)
    counts = Counter()
    for number in range(PER_CONNECTION):
        place = places[number % len(places)]
        token = json.dumps({"token": str(number)})
        kinds = [
            ("case", "GET", f"/api/case/{place}", None, cookie),
            ("image", "GET", f"/image/{place}/0", None, cookie),
            ("foreign host", "GET", f"/api/case/{place}", None, {**cookie, "Host": "evil"}),
            ("no cookie", "GET", f"/image/{place}/0", None, {"Host": own}),
            ("no place", "GET", f"/image/{10**6 + number}/0", None, cookie),
            ("scan", "GET", f"/api/scan/{place}/0", None, cookie),
            ("foreign origin", "POST", "/api/judgement", "{}", {**post, "Origin": "http://evil"}),
            ("wrong token", "POST", "/api/login", token, post),
            ("no JSON", "POST", "/api/judgement", "{" * 40_000, post),
        ]
        request = kinds[number % len(kinds)]
        if number % 100 == 0:
            body = json.dumps(judgement(place, f"{name}-{number}", reader=name))
            request = ("judgement", "POST", "/api/judgement", body, post)
        kind, method, path, content, headers = request
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        response.read()
        counts[kind, response.status] += 1
    connection.close()
    return counts


def judge_all(url, places, name):
    """Judge every case over one connection, as a page does; the seconds of each judgement."""
    client = Client(url).login()
    own = f"127.0.0.1:{client.port}"
    headers = {**OWN, "Host": own, "Origin": f"http://{own}", "Cookie": client.cookie}
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=600)
    seconds = []
    for number, place in enumerate(places):
        body = json.dumps(judgement(place, f"{name}-{number}", reader=name))
        began = time.perf_counter()
        connection.request("POST", "/api/judgement", body, headers)
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - began)
        assert response.status == 200
    connection.close()
    return seconds


@pytest.mark.slow
def test_four_readers_judge_a_thousand_cases_each(start, tmp_path):
    """At once; no judgement is lost."""
    results = write_results(tmp_path / "many.json", 1000)
    counts = {"confident_errors": 333, "errors": 333, "right_answers": 334, "repeats": 0}
    server = start(results, **counts)
    places = sorted(server.app.items)
    assert len(places) == 1000
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: judge_all(server.url, places, name), "ABCD"))
    rows = server.app.store._rows("SELECT reader, id, place FROM judgements")
    assert len(rows) == 4000
    for name in "ABCD":
        own = sorted((row[1], row[2]) for row in rows if row[0] == name)
        assert own == sorted((f"{name}-{n}", place) for n, place in enumerate(places))


@pytest.mark.slow
def test_ten_thousand_quick_requests(start):
    """Each is answered as if it came alone, nothing is lost, and memory does not grow with them."""
    server = start()
    places = sorted(server.app.items)
    client = Client(server.url).login()
    flood(client, places, "before")  # fills the caches
    before = psutil.Process().memory_info().rss
    with ThreadPoolExecutor(4) as pool:
        counts = sum(pool.map(lambda name: flood(client, places, name), "ABCD"), Counter())
    growth = psutil.Process().memory_info().rss - before
    assert sum(counts.values()) == 10_000
    assert set(counts) == set(STATUSES.items())
    assert growth < 64 * MIB
    rows = server.app.store._rows("SELECT reader, id FROM judgements WHERE reader <> 'before'")
    expected = [(n, f"{n}-{i}") for n in "ABCD" for i in range(0, PER_CONNECTION, 100)]
    assert sorted(rows) == sorted(expected)
    assert Client(server.url).login().ask(f"/api/case/{places[0]}")[0] == 200
