"""A program that asks the server of a review, for its tests."""

import http.client
import json

OWN = {"X-Medr1-Review": "1", "Content-Type": "application/json"}


class Client:
    """A program that asks a server, with the headers of its page unless told otherwise."""

    def __init__(self, url):
        self.port = int(url.split(":")[2].partition("/")[0])
        self.token = url.partition("#token=")[2].strip()
        self.cookie = None

    def ask(self, path, body=None, headers=None, *, method=None, raw=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        sent = {"Host": f"127.0.0.1:{self.port}"}
        if self.cookie:
            sent["Cookie"] = self.cookie
        if body is not None or raw is not None:
            sent |= {**OWN, "Origin": f"http://127.0.0.1:{self.port}"}
        sent |= headers or {}
        sent = {name: value for name, value in sent.items() if value is not None}
        content = raw if raw is not None else json.dumps(body) if body is not None else None
        connection.putrequest(
            method or ("GET" if content is None else "POST"), path, skip_host=True
        )
        content = content.encode() if isinstance(content, str) else content
        if content is not None and sent.get("Transfer-Encoding") is None:
            sent = {"Content-Length": str(len(content)), **sent}
        for name, value in sent.items():
            for one in value if isinstance(value, list) else [value]:
                connection.putheader(name, one)
        connection.endheaders(content)
        response = connection.getresponse()
        result = response.status, response.read(), response.headers
        connection.close()
        return result

    def login(self):
        status, _, headers = self.ask("/api/login", {"token": self.token})
        assert status == 200
        self.cookie = headers["set-cookie"].partition(";")[0]
        assert "HttpOnly" in headers["set-cookie"] and "SameSite=strict" in headers["set-cookie"]
        return self


def judgement(place, name="j1", **more):
    basis = {"id": name, "reader": "A", "place": place, "is_repeat": False, "action": "judge"}
    return {**basis, "ratings": {"correct": "no"}, "comment": "", "seconds": 1.5, **more}
