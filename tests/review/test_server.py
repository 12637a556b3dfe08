"""The server of a review against other pages and programs, and with several readers at once."""

import io
import json
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest
from PIL import Image
from review_client import Client, judgement

from medr1.errors import InputError, OutputError
from medr1.review.guard import MAX_BODY


@pytest.fixture
def server(start):
    return start()


@pytest.fixture
def client(server):
    return Client(server.url).login()


def test_a_reader_judges_and_is_told_so_after_it_is_stored(server, client):
    _, content, _ = client.ask("/api/session", {"reader": " A "})
    session = json.loads(content)
    assert len(session["presentations"]) == 13 and session["model"] == "secret-model"
    place = session["presentations"][0]["place"]
    assert client.ask("/api/judgement", judgement(place))[0] == 200
    (stored,) = server.app.store.judgements()
    assert (stored.place, stored.ratings, stored.seconds) == (place, {"correct": "no"}, 1.5)
    first = json.loads(client.ask("/api/session", {"reader": "A"})[1])["presentations"][0]
    assert (first["action"], first["ratings"]) == ("judge", {"correct": "no"})
    other = json.loads(client.ask("/api/session", {"reader": "B"})[1])["presentations"]
    assert all(p["action"] is None and not p["ratings"] for p in other)


def test_nothing_is_shown_without_the_token(server):
    stranger = Client(server.url)
    for path in ("/api/case/0", "/image/0/0"):
        assert stranger.ask(path)[0] == 401
    assert stranger.ask("/api/session", {"reader": "A"})[0] == 401
    assert stranger.ask("/api/judgement", judgement(0))[0] == 401
    for token in ("", "x", None, 5, [], stranger.token[:-1], stranger.token + "\u00e9", "\ud800"):
        assert stranger.ask("/api/login", {"token": token})[0] == 403
    stranger.cookie = f"medr1_review_{stranger.port}={stranger.token}"  # it is not the cookie
    assert stranger.ask("/api/case/0")[0] == 401
    status, page, headers = stranger.ask("/")
    assert status == 200 and b"secret" not in page and b"token" not in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "'unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert server.app.store.judgements() == []


def test_other_names_of_this_computer_are_refused(client):
    """A page of another site whose name leads to 127.0.0.1 (DNS rebinding)."""
    port = client.port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}"):
        assert client.ask("/api/case/0", headers={"Host": host})[0] == 421
        assert client.ask("/", headers={"Host": host})[0] == 421
    two = [f"127.0.0.1:{port}", "evil.example"]
    assert client.ask("/", headers={"Host": two})[0] in (400, 421)
    assert client.ask("/api/case/0", headers={"Host": f"localhost:{port}"})[0] != 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"X-Medr1-Review": None}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Cookie": None}, 401),
    ],
    ids=str,
)
def test_other_pages_change_nothing(server, client, headers, status):
    place = min(server.app.items)
    assert client.ask("/api/judgement", judgement(place), headers)[0] == status
    assert server.app.store.judgements() == []


def test_only_images_of_the_cases_are_shown(server, client, tmp_path):
    place = min(server.app.items)
    status, content, headers = client.ask(f"/image/{place}/0")
    assert status == 200 and headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(content)).info == {}  # pixels only
    elsewhere = next(n for n in range(14) if n not in server.app.items)
    for path in (
        f"/image/{elsewhere}/0",
        f"/image/{place}/1",
        "/image/9999/0",
        "/image/-1/0",
        "/image/0/../../../../etc/passwd",
        "/image/..%2f..%2fetc%2fpasswd",
        "/image/%2e%2e/%2e%2e/etc/passwd",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/review.html",
        "//etc/passwd",
        "/api/case/9999",
        f"/api/case/{elsewhere}",
    ):
        status, content, _ = client.ask(path)
        assert status == 404 and b"root:" not in content, path


def test_no_identifier_is_sent(server, client):
    for place in server.app.items:
        content = client.ask(f"/api/case/{place}")[1]
        assert b"secret" not in content and b"images/" not in content
        assert b"ground_truth" in content
    with open(server.app.store.path, "rb") as file:
        assert b"secret-patient" not in file.read()


def test_blind_hides_the_verdict_and_the_model(start):
    client = Client(start(blind=True).url).login()
    assert b"secret-model" not in client.ask("/api/session", {"reader": "A"})[1]
    for place in range(14):
        content = client.ask(f"/api/case/{place}")[1]
        assert b"ground_truth" not in content and b"verdict" not in content


@pytest.mark.parametrize(
    "wrong",
    [
        {"place": 10**30},
        {"place": True},
        {"place": "0"},
        {"place": None},
        {"ratings": {"correct": "<b>"}},
        {"ratings": []},
        {"comment": "\ud800"},
        {"comment": "x" * 4001},
        {"seconds": float("inf")},
        {"seconds": True},
        {"action": "delete"},
        {"reader": 5},
        {"reader": "a\u0000"},
        {"id": ""},
        {"is_repeat": 1},
    ],
    ids=repr,
)
def test_what_is_no_judgement_is_refused(server, client, wrong):
    status, content, _ = client.ask("/api/judgement", {**judgement(min(server.app.items)), **wrong})
    assert status == 422 and json.loads(content)["error"]
    assert server.app.store.judgements() == []


def test_what_is_no_json_is_refused(server, client):
    for raw in (b"", b"{", b"[]", b"\xff", b"[" * 50_000, b"5"):
        assert client.ask("/api/judgement", raw=raw)[0] == 422
    assert client.ask("/api/judgement", raw=b" " * (MAX_BODY + 1))[0] == 413
    for length in ({}, {"Content-Length": "5"}):
        chunked = {"Transfer-Encoding": "chunked", **length}
        assert client.ask("/api/judgement", raw=b"0\r\n\r\n", headers=chunked)[0] in (400, 413)
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert client.ask("/api/session", method=method)[0] == 405


@pytest.mark.parametrize(
    ("stated", "sent"),
    [
        (str(MAX_BODY + 1), MAX_BODY + 1),
        (str(50 * 2**20), 50 * 2**20),
        ("9" * 30, 100),
        ("-1", 0),
        ("1e3", 1000),
        (["5", "6"], 6),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_body_that_is_too_large_or_lies_about_its_length_is_refused(server, client, stated, sent):
    """It is refused by its header, so its content is not kept in memory."""
    before = psutil.Process().memory_info().rss
    try:
        status, _, _ = client.ask(
            "/api/judgement", raw=b" " * sent, headers={"Content-Length": stated}
        )
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # the server closed the connection before all was sent
    assert status in (400, 413)
    assert psutil.Process().memory_info().rss - before < sent + 16 * 2**20
    assert client.ask(f"/api/case/{min(server.app.items)}")[0] == 200


def test_a_request_that_is_no_http_or_never_ends_stops_nobody(server, client):
    place = min(server.app.items)
    address = ("127.0.0.1", client.port)
    beginnings = (b"", b"GET /", b"\0" * 1000, b"POST / HTTP/1.1\r\nX: ", b"GET " + b"a" * 10**6)
    waiting = [socket.create_connection(address) for _ in range(5 * len(beginnings))]
    for number, connection in enumerate(waiting):
        with suppress(ConnectionError):
            connection.sendall(beginnings[number % len(beginnings)])
    assert client.ask(f"/api/case/{place}")[0] == 200
    try:
        status, _, _ = client.ask(f"/api/case/{place}", headers={"X": "a" * 10**6})
    except ConnectionError:
        status = 431
    assert 400 <= status < 500
    assert client.ask(f"/api/case/{place}")[0] == 200
    for connection in waiting:
        connection.close()


def test_answers_do_not_wait_for_an_acknowledgement(server):
    """asyncio sets TCP_NODELAY only on sockets that are stated to be TCP."""
    assert server.listener.proto == socket.IPPROTO_TCP


def test_four_readers_at_once_lose_nothing(server):
    """Each sends 150 judgements, some of them twice, while images are asked for."""
    places = sorted(server.app.items)
    seconds = []

    def read(name):
        client = Client(server.url).login()
        for number in range(150):
            body = judgement(places[number % len(places)], f"{name}-{number}", reader=name)
            body["comment"] = f"{name} {number}"
            began = time.perf_counter()
            assert client.ask("/api/judgement", body)[0] == 200
            seconds.append(time.perf_counter() - began)
            if number % 10 == 0:
                assert client.ask("/api/judgement", body)[0] == 200
                assert client.ask(f"/image/{places[number % len(places)]}/0")[0] == 200

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, "ABCD"))
    rows = server.app.store._rows("SELECT reader, id FROM judgements")
    assert sorted(rows) == sorted((n, f"{n}-{i}") for n in "ABCD" for i in range(150))
    assert len(seconds) == 600 and statistics.median(seconds) > 0
    assert {j.comment for j in server.app.store.judgements("B")} == {
        f"B {number}" for number in range(150 - len(places), 150)
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "localhost", ""])
def test_an_address_on_a_network_has_to_be_allowed(start, tmp_path, host):
    with pytest.raises(InputError, match=r"--allow-network|not an IP address"):
        start(host=host, store=tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_another_loopback_address_needs_no_flag(start):
    server = start(host="127.0.0.2")
    assert server.url.startswith(f"http://127.0.0.2:{server.app.access.port}/#token=")
    assert not server.app.access.is_on_network
    assert server.listener.getsockname()[0] == "127.0.0.2"
    assert not server.app.access.is_host(f"192.0.2.1:{server.app.access.port}")


def test_on_a_network_addresses_are_accepted_and_foreign_names_are_not(start, caplog):
    server = start(host="0.0.0.0", allow_network=True)
    assert "without encryption" in caplog.text
    name = socket.gethostname()
    port = server.app.access.port
    assert server.url.startswith(f"http://{name}:{port}/#token=")
    client = Client(server.url).login()
    place = min(server.app.items)
    for host in (f"192.0.2.1:{port}", f"[2001:db8::1]:{port}", f"{name.upper()}:{port}"):
        origin = {"Host": host, "Origin": f"http://{host}"}
        assert client.ask(f"/api/case/{place}", headers={"Host": host})[0] == 200
        assert client.ask("/api/judgement", judgement(place, host), origin)[0] == 200
    for host in (
        f"evil.example:{port}",
        "192.0.2.1",
        f"192.0.2.1:{port + 1}",
        f"127.1.evil:{port}",
    ):
        assert client.ask(f"/api/case/{place}", headers={"Host": host})[0] == 421
    stranger = Client(server.url)
    assert stranger.ask(f"/api/case/{place}", headers={"Host": f"192.0.2.1:{port}"})[0] == 401


def test_an_address_of_another_computer_is_told(start, tmp_path):
    with pytest.raises(OutputError, match="--host"):
        start(host="192.0.2.1", allow_network=True, store=tmp_path / "new.db")


def test_a_session_tells_the_order_of_the_judgements(client):
    session = json.loads(client.ask("/api/session", {"reader": "A"})[1])
    places = [p["place"] for p in session["presentations"] if not p["is_repeat"]][:3]
    for place in (places[1], places[2], places[0]):
        assert client.ask("/api/judgement", judgement(place, f"j{place}"))[0] == 200
    again = json.loads(client.ask("/api/session", {"reader": "A"})[1])["presentations"]
    orders = {p["place"]: p["order"] for p in again if p["action"]}
    assert orders == {places[1]: 0, places[2]: 1, places[0]: 2}
    assert {p["order"] for p in again if not p["action"]} == {None}


def test_a_review_is_continued_with_the_same_settings_only(start, tmp_path):
    first = start(seed=3)
    client = Client(first.url).login()
    place = min(first.app.items)
    client.ask("/api/judgement", judgement(place))
    again = start(seed=3)
    assert [j.place for j in again.app.store.judgements()] == [place]
    assert again.app.access.token != first.app.access.token
    for other in ({"seed": 4}, {"seed": 3, "blind": True}, {"seed": 3, "errors": 1}):
        with pytest.raises(InputError, match="--store"):
            start(**other)
    with pytest.raises(OutputError, match="--port"):
        start(seed=3, port=first.app.access.port)
    with pytest.raises(InputError, match="65535"):
        start(seed=3, port=70000, store=tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()
    assert threading.active_count() >= 3


def test_missing_images_are_told_before_the_readers_begin(start, tmp_path, caplog):
    start(image_root=tmp_path)
    assert "12 of the 12 cases have an image that is not in" in caplog.text
    caplog.clear()
    start(store=tmp_path / "with-images.db")
    assert "--image-root" not in caplog.text
    with pytest.raises(InputError, match=r"nothing is not a folder\. Check --image-root"):
        start(image_root=tmp_path / "nothing", store=tmp_path / "unused.db")
    assert not (tmp_path / "unused.db").exists()
