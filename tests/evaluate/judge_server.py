"""A judge behind an OpenAI-compatible server, in a thread: it compares texts, by a rule."""

import asyncio
import re
import socket
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

SYNONYMS = {"alpha sign": "zeta sign", "kappa line": "omega line"}
"""Answer -> the ground truth that it equals, which only this judge knows."""


def compare(question, reference, answer):
    """Correct for equal texts and two synonyms; unclear for an answer that asks a question."""
    if answer.endswith("?"):
        return "I do not know what this answer means."
    same = SYNONYMS.get(answer, answer) == reference
    return f"<verdict> {'correct' if same else 'incorrect'} </verdict>"


class JudgeServer:
    """Use as `with JudgeServer() as server`; its address is `server.url`.

    `reply` makes the text of a reply from question, reference and answer. `fault` returns the
    status of an error for the n-th request, or None. The requests after `hold_after` wait until
    `release` is set. `asked` has the texts of all requests, `answered` those with a reply.
    """

    def __init__(self, *, reply=compare, fault=lambda n: None, key=None, hold_after=10**9):
        self.reply, self.fault, self.key, self.hold_after = reply, fault, key, hold_after
        self.asked, self.answered, self.bodies, self.lists = [], [], [], 0
        self.release = threading.Event()

    def __enter__(self):
        app = Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        run = {"sockets": [self._socket]}
        self._thread = threading.Thread(target=self._server.run, kwargs=run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        self.release.set()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def _refusal(self, request):
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Incorrect API key provided."}}, 401)
        return None

    async def _models(self, request):
        self.lists += 1
        return self._refusal(request) or JSONResponse({"data": [{"id": "judge"}]})

    async def _chat(self, request):
        body = await request.json()
        self.bodies.append(body)
        prompt = body["messages"][0]["content"]
        pattern = r"<question>\n(.*)\n</question>\n<reference>\n(.*)\n</reference>\n"
        texts = re.search(pattern + r"<answer>\n(.*)\n</answer>\n\nReply", prompt, re.S).groups()
        self.asked.append(texts)
        number = len(self.asked)
        if status := self.fault(number):
            return PlainTextResponse("a fault", status)
        while number > self.hold_after and not self.release.is_set():
            await asyncio.sleep(0.02)
        self.answered.append(texts)
        message = {"role": "assistant", "content": self.reply(*texts)}
        usage = {"prompt_tokens": 200, "completion_tokens": 5}
        return JSONResponse({"choices": [{"message": message}], "usage": usage})
