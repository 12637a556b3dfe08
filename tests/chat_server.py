"""An OpenAI-compatible server for tests, in a thread: it answers by rule, and fails when asked to.

The answer to a question is a letter that depends on the question's text only. A token is a word
with the blank before it; its log-probability depends on the question and the word.
"""

import asyncio
import hashlib
import json
import re
import socket
import threading
import time
from collections import Counter

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route


def number(*parts):
    """A number from 0 to 999 that depends on the parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) % 1000


def logprob(question, token):
    """Small enough for the probabilities of eight letters to add up to less than 1."""
    return -3 - number(question, token) / 200


class ChatServer:
    """Use as `with ChatServer() as server`; its address is `server.url`.

    `fault(question, attempt)` returns the name of a fault of `_fail`, or None. `requests` has the
    bodies of all chat requests but those of the probe.
    """

    def __init__(
        self,
        *,
        fault=lambda question, attempt: None,
        prompt_logprobs=True,
        top_tokens=20,
        images=True,
        key=None,
        seconds=0.0,
        models=("test-model",),
        hidden_letters="",
        completion=None,
        software=None,
    ):
        self.fault, self.prompt_logprobs, self.top_tokens = fault, prompt_logprobs, top_tokens
        self.images, self.key, self.seconds, self.models = images, key, seconds, models
        self.hidden_letters, self.completion = hidden_letters, completion
        self.software = software
        self.requests, self.attempts, self.most_at_once = [], Counter(), 0
        self.times = []
        self._at_once = 0

    def __enter__(self):
        app = Starlette(
            routes=[
                Route("/v1/models", self._list),
                Route("/version" if not self.software else "/none", self._version),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ]
        )
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        config = uvicorn.Config(
            app,
            log_config=None,
            timeout_graceful_shutdown=1,
            server_header=False,
            headers=[("Server", self.software or "uvicorn")],
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """End the server at once; further requests find no connection."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    async def _version(self, request):
        return JSONResponse({"version": "0.1"})

    def _refused(self, request):
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            return self._error(401, f"Incorrect API key provided: {given}.")
        return None

    @staticmethod
    def _error(status, message, headers=None):
        return JSONResponse({"error": {"message": message}}, status, headers)

    async def _list(self, request):
        data = [{"id": name, "owned_by": "tests"} for name in self.models]
        return self._refused(request) or JSONResponse({"object": "list", "data": data})

    async def _chat(self, request):
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            body = json.loads(await request.body())
            return self._refused(request) or await self._answer(body)
        finally:
            self._at_once -= 1

    async def _answer(self, body):
        user = body["messages"][0]["content"]
        parts = user if isinstance(user, list) else [{"type": "text", "text": user}]
        text = parts[-1]["text"]
        if not self.images and len(parts) > 1:
            return self._error(400, "At most 0 image(s) may be provided in one prompt.")
        if body["model"] not in self.models:
            return self._error(404, f"The model `{body['model']}` does not exist.")
        if "Is this image A) grey" not in text:
            self.requests.append(body)
            self.times.append(time.monotonic())
            key = json.dumps([text, body["messages"][1:], body.get("seed")])
            self.attempts[key] += 1
            await asyncio.sleep(self.seconds)
            if fault := self.fault(text, self.attempts[key]):
                return await self._fail(fault)
        if "prompt_logprobs" in body and self.prompt_logprobs:
            return JSONResponse(self._scores(text, body["messages"][-1]["content"]))
        return JSONResponse(self._completion(text, body))

    async def _fail(self, fault):
        if fault == "429":
            return self._error(429, "Quota per minute exceeded.", {"Retry-After": "0.1"})
        if fault == "no quota":
            error = {"message": "You exceeded your current quota.", "code": "insufficient_quota"}
            return JSONResponse({"error": error}, 429)
        if fault == "500":
            return PlainTextResponse("Internal Server Error", 500)
        if fault == "stall":
            await asyncio.sleep(30)
        if fault == "no json":
            return PlainTextResponse("{'choices': None", media_type="application/json")
        if fault == "no choices":
            return JSONResponse({"choices": []})
        if fault == "half":

            async def half():
                yield b'{"choices": [{"mess'

            return StreamingResponse(half(), headers={"Content-Length": "400"})
        if fault == "image":
            return self._error(400, "Failed to load image: image file is truncated.")
        if fault == "long":
            return self._error(400, "This model's maximum context length is 1024 tokens.")
        return self._error(400, "Something else is wrong.")

    def answer(self, text):
        """The letter that is the answer to a question, by its text with the options."""
        letters = re.findall(r"\b([A-H])\)", text)
        return letters[number(text) % len(letters)] if letters else "nothing"

    def _completion(self, text, body):
        answer = self.answer(text)
        content = (self.completion or "<answer> {} </answer>").replace("{}", answer)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
        }
        if body.get("logprobs") and self.top_tokens:
            choice["logprobs"] = {
                "content": [self._place(text, token) for token in re.findall(r"\s*\S+", content)]
            }
        usage = {"prompt_tokens": 100, "completion_tokens": 4, "total_tokens": 104}
        return {"choices": [choice], "usage": usage}

    def _place(self, text, token):
        """A generated token with the most probable ones in its place."""
        shown = [letter for letter in "ABCDEFGH" if letter not in self.hidden_letters]
        top = [{"token": f" {letter}", "logprob": logprob(text, letter)} for letter in shown]
        top = sorted(top, key=lambda entry: -entry["logprob"])[: self.top_tokens]
        return {"token": token, "logprob": logprob(text, token.strip()), "top_logprobs": top}

    def _scores(self, text, string):
        tokens = ["prompt", text, *re.findall(r"\s*\S+", string)]
        rows = [
            {
                str(1000 + number(token)): {
                    "logprob": logprob(text, token),
                    "rank": 1,
                    "decoded_token": token,
                }
            }
            for token in tokens
        ]
        return {
            "choices": [{"message": {"content": "x"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 105, "completion_tokens": 1, "total_tokens": 106},
            "prompt_logprobs": [None, *rows[1:]],
        }
