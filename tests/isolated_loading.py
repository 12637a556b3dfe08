"""Load images in processes of their own, and measure the memory and how they end.

`IsolatedLoader` starts this file as a program, which loads everything that an image needs and then
forks for each request: a crash ends the fork only, and starting it takes a few milliseconds.
"""

import contextlib
import json
import os
import random
import resource
import struct
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESSES = 3 << 29
"""Bytes of addresses that a fork may add: an allocation beyond fails, also if it is never used."""
PROCESSOR_SECONDS = 60
"""A fork that takes longer is ended, as one that hangs."""
_LENGTHS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True)
class Outcome:
    """How loading one image ended."""

    kind: str
    """"image", "ItemError", another exception's name, or "signal N"."""
    code: str
    """Of an ItemError; the message of another exception."""
    size: tuple[int, int]
    """Width and height of the image."""
    values: list[int]
    """The first 64 values of its red channel, row by row."""
    grown: int
    """Bytes of memory at the peak, more than before."""


class IsolatedLoader:
    """A process that loads images in forks of itself."""

    def __init__(self, warm: list[Path]) -> None:
        """Start it.

        Args:
            warm: Files to load first, so that the libraries which they need are loaded.
        """
        command = [sys.executable, __file__, *map(str, warm)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def load(self, path: Path, *, tries: int = 0, **view: Any) -> Outcome:
        """Load a file, or damaged copies of it until one does not end in an ItemError or an image.

        Args:
            path: The file.
            tries: Number of damaged copies; 0 for the file itself.
            **view: Window, slices and plane.
        """
        assert self._process.stdin and self._process.stdout
        request = {"path": str(path), "view": view, "tries": tries}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        return Outcome(**{**reply, "size": tuple(reply["size"])})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def damaged(content: bytes, number: int) -> bytes:
    """A copy with other bytes, lengths or end; always the same for the same number.

    Args:
        content: The bytes of a file.
        number: Which copy.
    """
    chance, copy = random.Random(number), bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        # half of the damage hits the header of the data set, where a few bytes decide
        place = chance.randrange(len(copy) if chance.random() < 0.5 else min(len(copy), 900))
        kind = chance.randrange(6)
        if kind < 3:
            copy[place] = chance.randrange(256)
        elif kind == 3:
            copy[place] ^= 1 << chance.randrange(8)
        elif kind == 4:
            copy[place : place + 4] = struct.pack("<I", chance.choice(_LENGTHS))
        else:
            del copy[place : place + chance.choice((1, 2, 8, 64))]
    if chance.random() < 0.1:
        del copy[chance.randrange(1, len(copy) + 1) :]
    return bytes(copy)


def _attempt(path: Path, view: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    from dicom_files import load

    from medr1.errors import ItemError

    result: dict[str, Any] = {"kind": "image", "code": "", "size": (0, 0), "values": []}
    try:
        image = load(path, **view).image
    except ItemError as error:
        result.update(kind="ItemError", code=error.code)
    except BaseException as error:  # noqa: BLE001 - it is what the tests look for
        result.update(kind=type(error).__name__, code=str(error)[:200])
    else:
        assert image.mode == "RGB"
        top = image.crop((0, 0, min(image.width, 64), min(image.height, 64)))
        result.update(size=image.size, values=np.asarray(top)[..., 0].ravel()[:64].tolist())
    return result


def _in_fork(request: dict[str, Any]) -> dict[str, Any]:
    path, view = Path(request["path"]), request["view"]
    if "slices" in view:
        view["slices"] = tuple(view["slices"])
    if not request["tries"]:
        return _attempt(path, view)
    content, copy = path.read_bytes(), path.with_name(f"damaged-{os.getpid()}{path.suffix}")
    result: dict[str, Any] = {}
    for number in range(request["tries"]):
        copy.write_bytes(damaged(content, number))
        result = _attempt(copy, view)
        if result["kind"] not in ("image", "ItemError"):
            result["code"] = f"copy {number}: {result['code']}"
            break
    copy.unlink()
    return result


def _memory() -> tuple[int, int]:
    """Bytes of addresses, and bytes in memory, of this process."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[1]) * resource.getpagesize()


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request in a fork."""
    addresses, before = _memory()
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        with contextlib.suppress(BaseException):
            os.close(reader)
            resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES,) * 2)
            resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.write(writer, json.dumps(_in_fork(request)).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        reply = pipe.read()
    _, status, usage = os.wait4(process, 0)
    result = {"kind": "no reply", "code": "", "size": (0, 0), "values": []}
    if os.WIFSIGNALED(status):
        result["kind"] = f"signal {os.WTERMSIG(status)}"
    elif reply:
        result = json.loads(reply)
    return {**result, "grown": usage.ru_maxrss * 1024 - before}


def main() -> None:
    """Load the files named as arguments, then answer the requests on stdin."""
    warnings.simplefilter("ignore")
    for name in sys.argv[1:]:
        _attempt(Path(name), {})
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints goes to stderr
    for line in sys.stdin:
        replies.write(json.dumps(_serve(json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
