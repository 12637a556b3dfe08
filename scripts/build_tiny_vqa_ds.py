"""Make data/tiny_vqa_ds: questions about small crops of real medical images from PyPI wheels.

    python -m venv build-env && build-env/bin/pip install numpy==2.4.6 pillow==13.0.0 \
        pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 pylibjpeg-openjpeg==2.6.0 \
        nibabel==5.4.2 tifffile==2026.3.3
    build-env/bin/python scripts/build_tiny_vqa_ds.py [--wheels FOLDER] [--output FOLDER]

The wheels of scripts/tiny_vqa_sources.json are downloaded one by one with their hashes and without
their dependencies, and read as archives; nothing of theirs is installed or run. The same table
says of every image where it comes from, under which licence, what is cropped away, and which boxes
of it belong to training and which are held out; SOURCES.md is written from it. A second run gives
the same bytes (with the same Pillow).
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from tiny_vqa_notes import sources_page
from tiny_vqa_wheels import fetch_wheels, member, read_array

SEED = "tiny_vqa_ds/1"
SIZE = 112
"""Side of every image: a multiple of 28, as Qwen2.5-VL's patches want it."""
QUALITY = 80
SPLITS = ("train", "validation", "test")
TABLE = Path(__file__).with_name("tiny_vqa_sources.json")
OUTPUT = Path(__file__).resolve().parent.parent / "data" / "tiny_vqa_ds"

PER_ANSWER = {
    "Modality Recognition": {"train": 110, "validation": 14, "test": 28},
    "Anatomy Identification": {"train": 80, "validation": 12, "test": 24},
    "View Plane": {"train": 190, "validation": 18, "test": 36},
    "Stain": {"train": 80, "validation": 14, "test": 28},
    "Counting": {"train": 12, "validation": 4, "test": 8},
}
"""How many items each answer gets: the same for every answer of a question type."""
STEMS = {
    "Modality Recognition": (
        "What imaging modality was used to take this image?",
        "Which imaging technique produced this picture?",
    ),
    "Anatomy Identification": (
        "Which anatomical structure or body region is shown in this image?",
        "What part of the body can be seen in this picture?",
    ),
    "View Plane": (
        "In which anatomical plane is this slice?",
        "What is the view plane of this scan?",
    ),
    "Stain": (
        "Which staining or labelling was used for this specimen?",
        "How was this tissue or cell sample stained?",
    ),
    "Counting": ("How many cell nuclei are visible in this image?",),
}
NUM_OPTIONS = 4
Box = list[list[int]]


@dataclass
class Crop:
    """One picture of the data set and what is known about it."""

    source: dict[str, Any]
    pixels: np.ndarray
    region: Box
    """Half-open range per axis, in the source's own pixels or voxels."""
    answers: dict[str, str]
    """Question type -> the true answer."""
    name: str = ""
    used: bool = field(default=False, compare=False)


# From arrays to crops --------------------------------------------------------------------------


def random_region(rng: random.Random, draw: dict[str, Any], source: dict[str, Any]) -> Box:
    """A window inside the draw's box: one slice along its axis, a random part of the others.

    The window keeps the box's proportions where the source is padded to a square, else it is one.
    """
    box, axis = draw["box"], draw.get("axis")
    sides = [stop - start for k, (start, stop) in enumerate(box) if k != axis]
    region: Box = []
    scale = rng.uniform(*source["scale"])
    for k, (start, stop) in enumerate(box):
        if k == axis:
            index = rng.randrange(start, stop)
            region.append([index, index + 1])
            continue
        length = int(scale * ((stop - start) if source.get("pad") else min(sides)))
        first = rng.randint(start, stop - length)
        region.append([first, first + length])
    return region


def cut(array: np.ndarray, region: Box, axis: int | None) -> np.ndarray:
    """The region's pixels [H, W] or [H, W, 3]; slices of volumes stand upright."""
    part = array[tuple(slice(*bounds) for bounds in region)]
    if axis is None:
        return part
    part = part.squeeze(axis)
    return np.rot90(part) if array.ndim == 3 else part


def has_content(pixels: np.ndarray) -> bool:
    """Whether a window shows more than background."""
    return bool(pixels.std() >= 12 and (pixels > 20).mean() >= 0.15)


def finish(pixels: np.ndarray, rng: random.Random, turn: bool) -> np.ndarray:
    """Random mirror image, quarter turns where there is no up, black bars up to a square."""
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    if turn:
        pixels = np.rot90(pixels, rng.randrange(4))
    height, width = pixels.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    bars = [(top, side - height - top), (left, side - width - left)]
    return np.pad(pixels, bars + [(0, 0)] * (pixels.ndim - 2))


def count_nuclei(mask: np.ndarray, areas: np.ndarray) -> int | None:
    """How many nuclei a window shows; None where one is cut so that it could be told either way."""
    seen = np.bincount(mask.ravel(), minlength=len(areas))[1:] / np.maximum(areas[1:], 1)
    if ((seen > 0.1) & (seen < 0.7)).any():
        return None
    return int((seen >= 0.7).sum())


def counting_crops(
    source: dict[str, Any], draw: dict[str, Any], array: np.ndarray, mask: np.ndarray
) -> Iterator[Crop]:
    """Windows with one to five nuclei, equally many of each."""
    rng = random.Random(f"{SEED}/{source['id']}/{draw['split']}/count")
    areas, left = np.bincount(mask.ravel()), Counter(dict.fromkeys(range(1, 6), draw["n"] // 5))
    window = {**source, "scale": [0.17, 0.4]}
    seen: set[str] = set()
    for _ in range(200_000):
        if not +left:
            return
        region = random_region(rng, draw, window)
        count = count_nuclei(cut(mask, region, None), areas)
        if count is None or not left[count] or str(region) in seen:
            continue
        seen.add(str(region))
        left[count] -= 1
        pixels = finish(cut(array, region, None), rng, turn=True)
        yield Crop(source, pixels, region, {"Counting": str(count)})
    sys.exit(f"{source['id']}: no windows left with {+left}")


def crops_of(source: dict[str, Any], draw: dict[str, Any], array: np.ndarray) -> Iterator[Crop]:
    """The draw's n windows, each with something in it and no two alike."""
    axis, plane = draw.get("axis"), draw.get("plane")
    rng = random.Random(f"{SEED}/{source['id']}/{draw['split']}/{axis}")
    answers = {
        "Modality Recognition": source["modality"],
        "Anatomy Identification": source.get("anatomy"),
        "View Plane": plane,
        "Stain": source.get("stain"),
    }
    answers = {question: answer for question, answer in answers.items() if answer}
    seen: set[str] = set()
    for _ in range(1000 * draw["n"]):
        if len(seen) == draw["n"]:
            return
        region = random_region(rng, draw, source)
        pixels = cut(array, region, axis)
        if str(region) in seen or not has_content(pixels):
            continue
        seen.add(str(region))
        pixels = finish(pixels, rng, source.get("turn", False))
        yield Crop(source, pixels, region, answers)
    sys.exit(f"{source['id']}: no windows left with content")


def all_crops(table: dict[str, Any], folder: Path) -> dict[str, list[Crop]]:
    """Every crop, by split: of what is held out, one third validates and two thirds test."""
    wheels = {wheel["name"]: wheel for wheel in table["wheels"]}
    crops: dict[str, list[Crop]] = {split: [] for split in SPLITS}
    for source in table["sources"]:
        data = member(folder, wheels, source["wheel"], source["path"])
        array = read_array(data, source)
        for draw in source["draws"]:
            if draw.get("count"):
                data = member(folder, wheels, source["wheel"], source["mask"])
                mask = tifffile.imread(io.BytesIO(data))
                drawn = list(counting_crops(source, draw, array, mask))
            else:
                drawn = list(crops_of(source, draw, array))
            if draw["split"] == "train":
                crops["train"] += drawn
                continue
            drawn.sort(key=lambda crop: crop.answers.get("Counting", ""))
            for k, crop in enumerate(drawn):
                crops["validation" if k % 3 == 0 else "test"].append(crop)
    return crops


# From crops to items ---------------------------------------------------------------------------


def choose(crops: list[Crop], count: int, rng: random.Random) -> list[Crop]:
    """So many crops, in turn from each source and plane, those without a question first."""
    groups: dict[tuple[str, str | None], list[Crop]] = defaultdict(list)
    for crop in crops:
        groups[crop.source["id"], crop.answers.get("View Plane")].append(crop)
    for group in groups.values():
        rng.shuffle(group)
        group.sort(key=lambda crop: crop.used)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*groups.values()))
    chosen = list(itertools.islice((crop for crop in turns if crop is not None), count))
    if len(chosen) < count:
        sys.exit(f"only {len(chosen)} of {count} crops for {crops[0].answers if crops else '?'}")
    return chosen


def spread_distractors(golds: list[str], answers: list[str], rng: random.Random) -> list[list[str]]:
    """Wrong options for each gold answer, every answer offered equally often.

    With as many golds of each answer, an option that is offered is right equally often, whichever
    it is: what the options alone can tell is then chance.
    """
    wanted = min(NUM_OPTIONS, len(answers)) - 1
    offered: Counter[str] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    rows = []
    for gold in golds:
        others = [answer for answer in answers if answer != gold]
        rng.shuffle(others)
        others.sort(key=lambda answer: (offered[answer], together[gold, answer]))
        rows.append(others[:wanted])
        offered.update(others[:wanted])
        together.update((gold, other) for other in others[:wanted])
    return rows


def place(gold: str, others: list[str], position: int, rng: random.Random) -> tuple[str, str]:
    """The options as the published splits inline them, and the gold letter."""
    options = rng.sample(others, len(others))
    options.insert(position, gold)
    text = ", ".join(f"{'ABCD'[k]}){option}" for k, option in enumerate(options))
    return text, "ABCD"[position]


def item(crop: Crop, question_type: str, problem: str, answer: str) -> dict[str, Any]:
    """One entry of a split file."""
    source = crop.source
    return {
        "id": f"{crop.name}-{question_type.split()[0].lower()}",
        "image": f"images/{crop.name}.jpg",
        "problem": problem,
        "solution": f"<answer> {answer} </answer>",
        "question_type": question_type,
        "modality": source["modality"],
        "dataset": source["wheel"],
        "source": source["id"],
        "region": crop.region,
    }


def items_of(crops: list[Crop], split: str, question_type: str) -> list[dict[str, Any]]:
    """A question type's items of one split: answers and letters balanced, options shuffled."""
    rng = random.Random(f"{SEED}/{split}/{question_type}")
    pools: dict[str, list[Crop]] = defaultdict(list)
    for crop in crops:
        if question_type in crop.answers:
            pools[crop.answers[question_type]].append(crop)
    answers = sorted(pools)
    per_answer = PER_ANSWER[question_type][split]
    asked = [(a, crop) for a in answers for crop in choose(pools[a], per_answer, rng)]
    rng.shuffle(asked)
    for _, crop in asked:
        crop.used = True
    stems = [rng.choice(STEMS[question_type]) for _ in asked]
    if question_type == "Counting":
        pairs = zip(asked, stems, strict=True)
        return [item(crop, question_type, stem, gold) for (gold, crop), stem in pairs]
    rows = spread_distractors([gold for gold, _ in asked], answers, rng)
    letters = min(NUM_OPTIONS, len(answers))
    places = list(itertools.islice(itertools.cycle(range(letters)), len(asked)))
    rng.shuffle(places)
    items = []
    for (gold, crop), stem, others, position in zip(asked, stems, rows, places, strict=True):
        options, letter = place(gold, others, position, rng)
        items.append(item(crop, question_type, f"{stem} {options}", letter))
    return items


# Writing ---------------------------------------------------------------------------------------


def save(crop: Crop, path: Path) -> None:
    """The crop as a 112x112 RGB JPEG without metadata."""
    image = Image.fromarray(np.ascontiguousarray(crop.pixels)).convert("RGB")
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    image.save(path, quality=QUALITY, optimize=True)


def write_split(split: str, crops: list[Crop], output: Path) -> list[dict[str, Any]]:
    """The split's items and the pictures that they ask about."""
    for k, crop in enumerate(crops):
        crop.name = f"{split}_{k:04d}"
    items = [row for kind in PER_ANSWER for row in items_of(crops, split, kind)]
    for crop in crops:
        if crop.used:
            save(crop, output / "images" / f"{crop.name}.jpg")
    random.Random(f"{SEED}/{split}/order").shuffle(items)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in items)
    (output / f"{split}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return items


def licence_notices(table: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The licence files that the wheels bring, which go where their images go."""
    wheels = {wheel["name"]: wheel for wheel in table["wheels"]}
    notices = {
        f"{name}.txt": member(folder, wheels, name, wheel["notice"])
        for name, wheel in wheels.items()
        if "notice" in wheel
    }
    readme = member(folder, wheels, "pydicom", "pydicom/data/test_files/README.txt")
    notices["pydicom-test-files-README.txt"] = readme
    return notices


def write_notes(
    table: dict[str, Any],
    items: dict[str, list[dict[str, Any]]],
    notices: dict[str, bytes],
    output: Path,
) -> None:
    """SOURCES.md and the licence files."""
    (output / "SOURCES.md").write_text(sources_page(table, items), encoding="utf-8")
    (output / "licences").mkdir(exist_ok=True)
    for name, text in notices.items():
        (output / "licences" / name).write_bytes(text)


def main() -> None:
    """Build the data set and say what it holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheels", type=Path, help="keep the downloaded wheels in this folder")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.wheels or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        fetch_wheels(table["wheels"], folder)
        crops = all_crops(table, folder)
        notices = licence_notices(table, folder)
    images = arguments.output / "images"
    images.mkdir(parents=True, exist_ok=True)
    for old in images.glob("*.jpg"):
        old.unlink()
    items = {split: write_split(split, crops[split], arguments.output) for split in SPLITS}
    write_notes(table, items, notices, arguments.output)
    for split in SPLITS:
        used = sum(crop.used for crop in crops[split])
        kinds = Counter(row["question_type"] for row in items[split])
        print(f"{split}: {used} images of {len(crops[split])} crops, {len(items[split])} items")
        print("  " + ", ".join(f"{kind} {n}" for kind, n in kinds.items()))
    size = sum(path.stat().st_size for path in arguments.output.rglob("*") if path.is_file())
    print(f"{size / 1e6:.2f} MB in {arguments.output}")


if __name__ == "__main__":
    main()
