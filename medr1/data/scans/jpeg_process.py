"""Decode JPEG frames with GDCM in a process of its own, which a damaged frame may crash.

Only GDCM decodes lossless JPEG and 12-bit JPEG under a licence that medr1 can use. It ends its
process at some damaged frames, and no exception tells of that. So this module is also a program: it
reads requests from stdin and writes decoded frames to stdout, until stdin is closed.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from medr1.errors import ItemError

_SECONDS = 60
"""A frame that takes longer is tried once more, and then given up."""
_LENGTH = struct.Struct("<I")


def decode_jpeg(content: bytes, options: dict[str, Any]) -> bytes:
    """The values of a frame, as GDCM decodes it.

    Args:
        content: The compressed frame.
        options: rows, columns, samples_per_pixel, bits_allocated, bits_stored,
            pixel_representation, photometric_interpretation, planar_configuration and
            transfer_syntax.

    Raises:
        ItemError: The frame is damaged (image_unreadable).
    """
    with _LOCKS.setdefault(os.getpid(), threading.Lock()):
        values = _asked(content, options) or _asked(content, options)
    if not values:
        raise ItemError("image_unreadable", "its compressed image is damaged")
    return values


def _asked(content: bytes, options: dict[str, Any]) -> bytes:
    """The values of a frame; empty if the process ended.

    The frame is then tried once more, because the process may have been killed from outside.
    """
    process = _running()
    assert process.stdin and process.stdout
    timer = threading.Timer(_SECONDS, process.kill)
    timer.start()
    values = b""
    try:
        _write(process.stdin, json.dumps(options).encode())
        _write(process.stdin, content)
        values = _read(process.stdout)
    except (OSError, EOFError):
        pass
    finally:
        timer.cancel()
        if not values:  # also if this was interrupted: the next frame would get this answer
            _stop(process)
    return values


_LOCKS: dict[int, threading.Lock] = {}
"""Id of this process -> its lock: a fork may begin while a thread decodes."""
_PROCESS: dict[int, subprocess.Popen[bytes]] = {}
"""Id of this process -> the process that decodes for it. A fork starts its own."""


def _running() -> subprocess.Popen[bytes]:
    """The process that decodes, started if there is none."""
    process = _PROCESS.get(os.getpid())
    if process is None or process.poll() is not None:
        # -P: no module is imported from the working directory, which may have files of others
        folders = [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "medr1.data.scans.jpeg_process"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        _PROCESS[os.getpid()] = process
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process whose answer cannot be used."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # of what was not yet written
                stream.close()
    _PROCESS.pop(os.getpid(), None)


def _write(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes:
    """The next content; EOFError at the end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def _decoded(content: bytes, options: dict[str, Any]) -> bytes:
    """The values of a frame; runs in the process that decodes."""
    import gdcm  # type: ignore[import-untyped]

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(content)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((options["columns"], options["rows"], 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(options["photometric_interpretation"])
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    if options["samples_per_pixel"] > 1:
        image.SetPlanarConfiguration(options["planar_configuration"])
    syntax = gdcm.TransferSyntax.GetTSType(options["transfer_syntax"])
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = options["bits_stored"]
    image.SetPixelFormat(
        gdcm.PixelFormat(
            *(options["samples_per_pixel"], options["bits_allocated"], bits, bits - 1),
            options["pixel_representation"],
        )
    )
    values: str = image.GetBuffer()  # bytes, which GDCM hands over as a text
    return values.encode("utf-8", "surrogateescape")


def _serve() -> None:
    """Answer requests until stdin is closed; an error ends the process, as a crash does."""
    while True:
        try:
            options, content = json.loads(_read(sys.stdin.buffer)), _read(sys.stdin.buffer)
        except EOFError:
            return
        _write(sys.stdout.buffer, _decoded(content, options))


if __name__ == "__main__":
    _serve()
