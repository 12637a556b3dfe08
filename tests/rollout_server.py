"""A server that samples completions of a checkpoint, in a thread: for rollouts, in vLLM's format.

The model is a real one, which transformers runs here. It loads weights from a folder when it is
asked to, as vLLM does.
"""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from PIL import Image
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from medr1.data.tiny import tiny_vl_folder
from medr1.models.loading import load_model, load_weights

RESETS = ["/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"]


class Bias(LogitsProcessor):
    """Adds numbers to the logits of some tokens."""

    def __init__(self, biases):
        self.biases = {int(token): value for token, value in biases.items()}

    def __call__(self, input_ids, scores):
        for token, value in self.biases.items():
            scores[:, token] += value
        return scores


class RolloutServerHere:
    """Use as `with RolloutServerHere() as server`; its address is `server.url`.

    Args:
        reloads: Whether it loads the weights that it is told to load.
        obeys_bias: Whether it obeys logit_bias.
        routes: Whether it has the routes for new weights.
        added_text: What it adds to each prompt.
        missing: A key that its answers do not have.
    """

    def __init__(
        self, *, reloads=True, obeys_bias=True, routes=True, added_text="", missing="", fails=False
    ):
        self.loaded = load_model(tiny_vl_folder(), device="cpu")
        self.loaded.model.eval()
        self.reloads, self.obeys_bias, self.routes = reloads, obeys_bias, routes
        self.added_text, self.missing, self.fails = added_text, missing, fails
        self.calls, self.bodies = [], []
        self.completions = {}
        """Prompt ids -> the token ids of its completions."""
        self._lock = threading.Lock()

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.reply(200, {"object": "list", "data": [{"id": "tiny-vl"}]})

            def do_POST(self):
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with outer._lock:
                    self.reply(*outer.answer(self.path, json.loads(text) if text else None))

            def reply(self, status, document):
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, path, body):
        """The status and the document of an answer."""
        if path == "/v1/chat/completions":
            return 200, self.chat(body)
        if not self.routes or path not in (*RESETS, "/collective_rpc"):
            return 404, {"detail": "Not Found"}
        if path != "/collective_rpc":
            self.calls.append(path)
            return 200, {}
        if not body:
            return 400, {"error": {"message": "Missing 'method' in request body"}}
        if self.fails:
            return 500, {"error": {"message": "cannot load"}}
        assert body["method"] == "reload_weights"
        folder = body["kwargs"]["weights_path"]
        self.calls.append(folder)
        if self.reloads:
            weights = load_weights(Path(folder), torch.float32, "sdpa").state_dict()
            self.loaded.model.load_state_dict(weights, strict=True)
        return 200, {"results": [None]}

    def inputs(self, messages):
        """The processor's output for the messages of a request."""
        images, plain = [], []
        for message in messages:
            parts = []
            content = message["content"]
            for part in (
                [{"type": "text", "text": content}] if isinstance(content, str) else content
            ):
                if part["type"] == "image_url":
                    png = base64.b64decode(part["image_url"]["url"].split(",")[1])
                    images.append(Image.open(io.BytesIO(png)))
                    parts.append({"type": "image"})
                else:
                    parts.append({"type": "text", "text": part["text"] + self.added_text})
            plain.append({"role": message["role"], "content": parts})
        text = self.loaded.processor.apply_chat_template(
            plain, add_generation_prompt=True, tokenize=False
        )
        given = {"images": [images]} if images else {}
        return self.loaded.processor(text=[text], return_tensors="pt", **given)

    def chat(self, body):
        """Completions in vLLM's format."""
        self.bodies.append(body)
        inputs = self.inputs(body["messages"])
        ends = sorted({*body["stop_token_ids"], self.loaded.processor.tokenizer.eos_token_id})
        config = GenerationConfig(
            do_sample=True,
            num_return_sequences=body["n"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            top_k=max(0, body["top_k"]),
            max_new_tokens=body["max_tokens"],
            eos_token_id=ends,
            pad_token_id=ends[0],
            return_dict_in_generate=True,
            output_scores=True,
        )
        bias = Bias(body["logit_bias"] if self.obeys_bias else {})
        # the trainer of the test draws from the same generator
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(body["seed"])
            output = self.loaded.model.generate(
                **inputs, generation_config=config, logits_processor=LogitsProcessorList([bias])
            )
        start = inputs["input_ids"].shape[1]
        logprobs = torch.stack(output.scores, 1).log_softmax(-1)
        choices = []
        for index, (ids, values) in enumerate(zip(output.sequences, logprobs, strict=True)):
            new = ids[start:].tolist()
            stop = next((place + 1 for place, token in enumerate(new) if token in ends), len(new))
            entries = [
                {"token": str(token), "logprob": float(values[place, token])}
                for place, token in enumerate(new[:stop])
            ]
            choice = {"index": index, "message": {"role": "assistant", "content": "?"}}
            choice |= {"token_ids": new[:stop], "logprobs": {"content": entries}}
            choices.append({k: v for k, v in choice.items() if k != self.missing})
        prompt_ids = inputs["input_ids"][0].tolist()
        self.completions[tuple(prompt_ids)] = [choice.get("token_ids") for choice in choices]
        return {"choices": choices, "prompt_token_ids": prompt_ids}
