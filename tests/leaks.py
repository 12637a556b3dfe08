"""Look for identifiers in every byte that a command wrote, in every usual encoding."""

import base64
import binascii
import bz2
import contextlib
import html
import io
import lzma
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dicom_files import PLANTED, Planted

MAX_DEPTH = 4
"""Containers inside each other that are opened: a page with an image, inside an archive."""
MAX_INFLATED = 100_000_000
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEXADECIMAL = re.compile(rb"(?:[0-9a-fA-F]{2}){8,}")


def forms(planted: Planted) -> dict[str, bytes]:
    """The bytes that tell an identifier, in lower case, by the name of the form.

    A person's name is looked for by its parts, because it is written in many ways; a date also with
    the usual separators. No form is so short that other bytes could be like it by chance.

    Args:
        planted: The identifier.
    """
    texts = {"as it is": planted.value}
    if planted.vr == "PN":
        texts = {part: part for part in planted.value.split("^")}
    elif planted.vr == "DA":
        year, month, day = planted.value[:4], planted.value[4:6], planted.value[6:]
        texts |= {"ISO": f"{year}-{month}-{day}", "dots": f"{day}.{month}.{year}"}
        texts |= {
            "slashes": f"{month}/{day}/{year}",
            "slashes, year first": f"{year}/{month}/{day}",
        }
    elif planted.vr == "TM":
        texts |= {"colons": f"{planted.value[:2]}:{planted.value[2:4]}:{planted.value[4:]}"}
    result = {}
    for name, text in texts.items():
        text = text.lower()
        result[name] = text.encode()
        result[f"{name}, UTF-16"] = text.encode("utf-16-le")
        result[f"{name}, UTF-16 big endian"] = text.encode("utf-16-be")
    return result


def contents(content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """The bytes, and those inside them: decompressed, decoded, unescaped; each with its way there.

    Args:
        content: The bytes of a file.
        depth: How many containers are around it.
    """
    yield "", content
    if depth == MAX_DEPTH:
        return
    for way, inside in _inside(content):
        if inside and inside != content:
            for further, bytes_inside in contents(inside, depth + 1):
                yield f"{way} {further}".strip(), bytes_inside


def _inside(content: bytes) -> Iterator[tuple[str, bytes]]:
    yield from _archived(content)
    yield from _png_texts(content)
    if b"\\u" in content or b"\\x" in content or b"\\/" in content:
        yield (
            "JSON escapes",
            re.sub(
                rb"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})|\\(/)",
                lambda match: (
                    b"/"
                    if match[3]
                    else chr(int(match[1] or match[2], 16)).encode("utf-8", "replace")
                ),
                content,
            ),
        )
    text = content.decode("utf-8", "replace")
    if "%" in text:
        yield "URL escapes", urllib.parse.unquote(text).encode("utf-8", "replace")
    if "&" in text:
        yield "HTML escapes", html.unescape(text).encode("utf-8", "replace")
    for match in _BASE64.finditer(content):
        encoded = match[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4 if len(encoded) < 400 else 1):  # the beginning may be text before it
            part = encoded[start:]
            with_end = part[: len(part) - (len(part) % 4 == 1)]
            yield "base64", base64.b64decode(with_end + b"=" * (-len(with_end) % 4))
    for match in _HEXADECIMAL.finditer(content):
        yield "hexadecimal", binascii.unhexlify(match[0])


def _archived(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Members of archives, and their names; compressed streams also in the middle of a file."""
    # other bytes may look like the end of a zip
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            yield "name in zip", member.filename.encode() + b" " + member.comment
            yield f"zip member {member.filename}", archive.read(member)
    for way, magic, decompress in (
        ("bzip2", b"BZh", bz2.decompress),
        ("xz", b"\xfd7zXZ\0", lzma.decompress),
    ):
        if content.startswith(magic):
            yield way, decompress(content)
    for match in re.finditer(rb"\x1f\x8b\x08", content):
        yield "gzip", _inflated(content[match.start() :], 31)


def _png_texts(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The compressed texts and profiles of a PNG."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return
    place = 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        data = content[place + 8 : place + 8 + length]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            for match in re.finditer(rb"x[\x01\x5e\x9c\xda]", data):
                yield f"PNG {kind.decode()}", _inflated(data[match.start() :], 15)
        place += 12 + length


def _inflated(content: bytes, window_bits: int) -> bytes:
    try:
        return zlib.decompressobj(window_bits).decompress(content, MAX_INFLATED)
    except zlib.error:
        return b""


def leaks(folder: Path, planted: Iterable[Planted] = PLANTED) -> list[str]:
    """Where an identifier stands below a folder, in a file or in a name.

    Args:
        folder: The folder that was written.
        planted: The identifiers to look for.
    """
    looked_for = [
        (item.name, form, value) for item in planted for form, value in forms(item).items()
    ]
    places = set()
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        parts = [("the name", name.encode("utf-8", "surrogateescape"))]
        if path.is_symlink():
            parts.append(("the target of the link", str(path.readlink()).encode()))
        elif path.is_file():
            parts += contents(path.read_bytes())
        for way, content in parts:
            lower = content.lower()
            places |= {
                f"{tag} ({form}) in {name}{f', {way}' if way else ''}"
                for tag, form, value in looked_for
                if value in lower
            }
    return sorted(places)


def assert_nothing_leaks(folder: Path, planted: Iterable[Planted] = PLANTED) -> None:
    """Fail if an identifier stands anywhere below a folder.

    Args:
        folder: The folder that was written; it must have a file.
        planted: The identifiers to look for.
    """
    assert any(path.is_file() for path in folder.rglob("*")), f"nothing was written to {folder}"
    assert not leaks(folder, planted)
