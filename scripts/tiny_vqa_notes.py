"""Write SOURCES.md of the embedded data set from tiny_vqa_sources.json and the items."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

Items = dict[str, list[dict[str, Any]]]
"""Split -> its items."""

INTRODUCTION = """\
# Where the images of tiny_vqa_ds come from

This page is written by `scripts/build_tiny_vqa_ds.py` from `scripts/tiny_vqa_sources.json`.

The data set shows that the chain of this project works, on real medical images that may be passed
on. It is far too small and too uniform to say anything about medicine: its figures hold for these
few sources and for nothing else. No clinician has checked the answers; they come from file
headers, masks, the documentation of the packages, and plain sight, as noted at each source.

What was done to every image: grey values scaled to 8 bit between the 1st and 99.5th percentile (or
a window named in the table), a random window of the part named below, mirrored at random,
microscopy turned by quarters at random, black bars to a square where it is a slice of a volume,
resized to 112x112, saved as RGB JPEG without metadata. Names, places and other text were cropped
away as noted at each source.

**What is absent.** The question types stop where headers, masks and plain sight stop: modality,
anatomy, plane, stain, and the number of nuclei. OmniMedVQA also asks for diagnoses (Disease
Diagnosis) and gradings (Lesion Grading), and has more modalities (dermoscopy, OCT). None of that
is here, and none was invented.
"""

SPLIT = """\
## How it is split

A class is an anatomy or a stain within a modality. Where it has several sources, whole sources
are held out. Where it has one, boxes of it are: `region` in the JSON files is the half-open range
of each axis in the source's own pixels or voxels (pictures: rows, columns; films: frame, rows,
columns; volumes: x to the right, y to the front, z to the head), and no held-out region comes
nearer to a training region than the gap between their boxes. `tests/data/test_tiny.py` proves it
from the JSON files. One third of the held-out crops validates and two thirds test; these two share
their boxes, so they are not independent of each other: what was chosen on validation has seen the
regions of test, though not its images.
"""


def table_of(head: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def numbers(items: Items) -> str:
    """A table with the numbers of images and items per split, question type and modality."""
    splits = list(items)
    images = [len({row["image"] for row in items[split]}) for split in splits]
    rows: list[list[Any]] = [["**images**", *images]]
    rows.append(["**items**", *(len(items[split]) for split in splits)])
    for key in ("question_type", "modality"):
        counts = {split: Counter(row[key] for row in items[split]) for split in splits}
        for name in sorted({name for count in counts.values() for name in count}):
            rows.append([f"items: {name}", *(counts[split][name] for split in splits)])
    return table_of(["", *splits], rows)


def single_sources(table: dict[str, Any]) -> str:
    """A list of the classes of which all images, for training and held out, have one source."""
    sources: dict[str, set[str]] = defaultdict(set)
    for source in table["sources"]:
        kinds = [source[key] for key in ("anatomy", "stain") if key in source]
        sources[f"{source['modality']} (the modality itself)"].add(source["id"])
        for kind in kinds:
            sources[f"{source['modality']}, {kind}"].add(source["id"])
    lines = [
        f"- {name}: {', '.join(ids)}" for name, ids in sorted(sources.items()) if len(ids) == 1
    ]
    return "\n".join([*lines, "- Counting: stardist/img2d"])


def ranges(names: list[str]) -> str:
    """Names of images as text; consecutive ones as a range, "train_0001 to train_0090"."""
    stems = sorted({name.removeprefix("images/").removesuffix(".jpg") for name in names})
    runs: list[list[str]] = []
    for stem in stems:
        split, number = stem.split("_")
        if runs and runs[-1][-1] == f"{split}_{int(number) - 1:04d}":
            runs[-1].append(stem)
        else:
            runs.append([stem])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def draw_line(draw: dict[str, Any], reader: str) -> str:
    """The box of one draw as text."""
    axes = ("x", "y", "z") if reader in ("nifti", "ssdf") else ("frames", "rows", "columns")
    axes = axes[-len(draw["box"]) :]
    box = ", ".join(f"{a} {low}-{high}" for a, (low, high) in zip(axes, draw["box"], strict=True))
    use = "counting" if draw.get("count") else draw.get("plane", "").lower()
    return f"{draw['split']}{f' ({use})' if use else ''}: {box}"


def source_section(source: dict[str, Any], items: Items) -> str:
    """The section about one source: its file, licence and labels, and its images."""
    rows = [row for split in items.values() for row in split if row["source"] == source["id"]]
    classes = [source[key] for key in ("modality", "anatomy", "stain") if key in source]
    boxes = "; ".join(draw_line(draw, source["reader"]) for draw in source["draws"])
    window = f"\n- grey window: {source['window']}" if "window" in source else ""
    return f"""\
### {source["id"]}: {", ".join(classes)}

- file: `{source["path"]}` in the wheel of {source["wheel"]}
- images: {ranges([row["image"] for row in rows])}
- origin: {source["origin"]}
- licence: {source["licence"]}
- labels known from: {source["labels"]}
- cropped away: {source["cropped"]}
- boxes: {boxes}{window}
"""


def sources_page(table: dict[str, Any], items: Items) -> str:
    """The content of SOURCES.md.

    Args:
        table: The content of tiny_vqa_sources.json.
        items: The items of each split.
    """
    wheels = table_of(
        ["package", "version", "licence of the package", "wheel", "sha256"],
        [
            [w["name"], w["version"], w["licence"], f"`{w['file']}`", f"`{w['sha256']}`"]
            for w in table["wheels"]
        ],
    )
    left_out = "\n".join(f"- {name}: {reason}" for name, reason in table["left_out"])
    sections = "\n".join(source_section(source, items) for source in table["sources"])
    return f"""\
{INTRODUCTION}
## What is in it

{numbers(items)}

Within each question type and split every answer is right equally often, every option is offered as
a wrong one equally often, and the letters are equally frequent. `medr1/data/audit` computes what
can be answered without the image.

{SPLIT}
These classes have one source only, so that their test images show the same patient or specimen,
device and picture as their training images, in another place:

{single_sources(table)}

## The packages

The licence files that the wheels bring are in `licences/`; mahotas and wsidicom-data state theirs
in the wheel's METADATA only (MIT; Apache-2.0, whose text is this project's own LICENSE).
pydicom's maintainer on the use of these test files elsewhere (pydicom/pydicom issue 1112, 2020):
"Pydicom is MIT-based license so pretty much any use is allowed".

{wheels}

## The images

{sections}
## Left out, and why

{left_out}
"""
