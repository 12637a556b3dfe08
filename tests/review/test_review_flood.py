"""Ten thousand quick requests to the server of a review, allowed and refused ones mixed."""

import http.client
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from review_client import OWN, Client, judgement

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
