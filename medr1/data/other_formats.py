"""Names the formats that people have and medr1 does not read, with what to do instead."""

from __future__ import annotations

_BOXES = {
    b"avif": "an AVIF image; save it as PNG or JPEG",
    b"avis": "an AVIF image; save it as PNG or JPEG",
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "a HEIC photo; save it as JPEG or PNG (an iPhone takes JPEG with Settings, Camera, "
        "Formats, Most Compatible)",
    ),
}
"""Brand in the first box of a file -> what the file is."""
_WRONG_PLACE = (
    "in an archive, or with the name of a picture; it is read where it is a file of its own and"
)
_NIFTI = f"a NIfTI volume {_WRONG_PLACE} its name ends in .nii or .nii.gz"
_BEGINNINGS = (
    (b"GIF8", "a GIF; save the frame that is asked about as PNG"),
    (b"%PDF", "a PDF; save the page or figure that is asked about as PNG, such as with pdftoppm"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image; save it as PNG"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image; save it as PNG"),
    (b"\x5c\x01\0\0", _NIFTI),  # the size of its header, 348 or 540, in both byte orders
    (b"\0\0\x01\x5c", _NIFTI),
    (b"\x1c\x02\0\0", _NIFTI),
    (b"\0\0\x02\x1c", _NIFTI),
)
"""First bytes of a file -> what the file is."""
_SLIDE_ENDINGS = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif")


def slide_hint(name: str) -> str | None:
    """What to do with a whole-slide image, which its name tells; None for another file.

    Its content does not: an .svs or .ndpi is a TIFF, and an .mrxs a JPEG with a small overview.
    """
    ending = next((e for e in _SLIDE_ENDINGS if name.lower().endswith(e)), None)
    if ending is None:
        return None
    return (
        f"a whole-slide image ({ending}) that is damaged or in an archive; unpack the archive, or "
        "export the region that is asked about as PNG."
    )


def format_hint(head: bytes, name: str) -> str:
    """What a file is that is not read, and what to do.

    Args:
        head: The first bytes of the file, 132 if it has as many.
        name: Its name.
    """
    if not head:
        return "the file is empty; export it again."
    if head[128:132] == b"DICM":
        return f"a DICOM file {_WRONG_PLACE} its name ends in .dcm."
    if head.startswith(b"\x1f\x8b") and name.lower().endswith(".nii.gz"):
        return f"{_NIFTI}."
    if head[4:8] == b"ftyp" and head[8:12] in _BOXES:
        return f"{_BOXES[head[8:12]]}."
    for beginning, hint in _BEGINNINGS:
        if head.startswith(beginning):
            return f"{hint}."
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<svg") or (text.startswith(b"<") and name.lower().endswith(".svg")):
        return "an SVG, which has no pixels; export it as PNG."
    return "its content is not PNG, JPEG, TIFF, BMP or WebP; convert it to PNG."
