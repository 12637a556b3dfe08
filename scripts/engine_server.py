"""Start a server with a script of scripts/engines, and end it: for tests and benchmarks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS_TO_START = 600
SECONDS_TO_END = 60


class EngineUnavailable(Exception):
    """The environment of an engine cannot be made; the message tells why."""


@dataclass(frozen=True)
class EngineServer:
    """A server that runs."""

    base_url: str
    model: str
    """Name of the model there."""
    pid: int


def environments() -> Path:
    """The folder with the environments of the engines."""
    return Path(os.environ.get("MEDR1_ENGINES_DIR") or ROOT / ".venv-engines")


def is_installed(name: str) -> bool:
    """Whether the environment of an engine was made.

    Args:
        name: Name of a script in scripts/engines, without .sh.
    """
    return (environments() / name / "medr1-installed").is_file()


def install(name: str) -> None:
    """Make the environment of an engine, if it is not there.

    Args:
        name: Name of a script in scripts/engines, without .sh.

    Raises:
        EngineUnavailable: It cannot be made, for example without the network.
    """
    done = subprocess.run(
        ["bash", str(_script(name)), "--install-only"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        errors = [line for line in lines if "error" in line.lower()]
        raise EngineUnavailable(
            f"the environment of {name} could not be made in {environments()}: "
            f"{(errors or lines)[0].strip()}"
        )


@contextmanager
def engine_server(name: str, checkpoint: Path | str, *options: str) -> Iterator[EngineServer]:
    """Serve a checkpoint, and end the server at the end of the block.

    Args:
        name: Name of a script in scripts/engines, without .sh.
        checkpoint: Folder of the checkpoint.
        options: Further options of the server.

    Raises:
        RuntimeError: The server does not start; the message has the end of its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["bash", str(_script(name)), str(checkpoint), "--port", str(port), *options]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            base_url = f"http://127.0.0.1:{port}/v1"
            model = _wait(process, base_url)
            if model is None:
                log.seek(0)
                raise RuntimeError(f"{name} did not start:\n{log.read()[-3000:]}")
            yield EngineServer(base_url, model, process.pid)
        finally:
            # the script replaces itself with the server, which ends its own processes
            process.terminate()
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _script(name: str) -> Path:
    return ROOT / "scripts" / "engines" / f"{name}.sh"


def _wait(process: subprocess.Popen[bytes], base_url: str) -> str | None:
    """The name of the model, as soon as the server answers; None if it does not."""
    end = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{base_url}/models", timeout=5) as response:
                return str(json.load(response)["data"][0]["id"])
        except (OSError, urllib.error.URLError, ValueError):
            time.sleep(0.5)
    return None
