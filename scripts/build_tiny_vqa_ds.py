"""Make data/tiny_vqa_ds: questions about small crops of real medical images from PyPI wheels.

    python -m venv build-env && build-env/bin/pip install numpy==2.4.6 pillow==13.0.0 \
        pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 pylibjpeg-openjpeg==2.6.0 \
        nibabel==5.4.2 tifffile==2026.3.3
    build-env/bin/python scripts/build_tiny_vqa_ds.py [--wheels FOLDER] [--output FOLDER]

The wheels of scripts/tiny_vqa_sources.json are downloaded one by one, with their hashes and without
their dependencies, and read as archives; nothing in them is installed or run. The same table has
for each image its origin and licence, what is cropped away, and which boxes of it are for training
and which are held out; SOURCES.md is written from it. With the same version of Pillow, a second run
writes the same bytes.

A crop is a small part of a source image. A draw is an entry of the table: it says how many crops
are taken from which box of a source, and for which split.
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
"""Width and height of each image in pixels: a multiple of 28, as Qwen2.5-VL's patches require."""
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
"""Question type -> split -> number of items per answer, which is the same for all answers."""
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
    """One image of the data set, with its origin and its right answers."""

    source: dict[str, Any]
    pixels: np.ndarray
    region: Box
    """Half-open range per axis, in pixels or voxels of the source."""
    answers: dict[str, str]
    """Question type -> right answer."""
    name: str = ""
    """Name of the image file without its extension."""
    used: bool = field(default=False, compare=False)
    """Whether a question about it was chosen."""


# From arrays to crops --------------------------------------------------------------------------


def random_region(rng: random.Random, draw: dict[str, Any], source: dict[str, Any]) -> Box:
    """A random region in the draw's box: one slice of its axis, a part of the other axes.

    It has the box's proportions if the source is padded to a square; otherwise it is a square.
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
    """The pixels [H, W] or [H, W, 3] of a region; slices of volumes are turned upright."""
    part = array[tuple(slice(*bounds) for bounds in region)]
    if axis is None:
        return part
    part = part.squeeze(axis)
    return np.rot90(part) if array.ndim == 3 else part


def has_content(pixels: np.ndarray) -> bool:
    """Whether a region has more than background."""
    return bool(pixels.std() >= 12 and (pixels > 20).mean() >= 0.15)


def finish(pixels: np.ndarray, rng: random.Random, turn: bool) -> np.ndarray:
    """Mirror at random, turn by random quarters if `turn`, and add black bars up to a square."""
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
    """The number of nuclei in a region; None if the border cuts one so that the number is unclear.

    A nucleus counts if at least 70 % of its area is in the region, and is ignored up to 10 %.
    """
    visible = np.bincount(mask.ravel(), minlength=len(areas))[1:] / np.maximum(areas[1:], 1)
    if ((visible > 0.1) & (visible < 0.7)).any():
        return None
    return int((visible >= 0.7).sum())


def counting_crops(
    source: dict[str, Any], draw: dict[str, Any], array: np.ndarray, mask: np.ndarray
) -> Iterator[Crop]:
    """Crops with one to five nuclei, the same number of crops for each count."""
    rng = random.Random(f"{SEED}/{source['id']}/{draw['split']}/count")
    areas = np.bincount(mask.ravel())
    num_missing = Counter(dict.fromkeys(range(1, 6), draw["n"] // 5))
    scaled_source = {**source, "scale": [0.17, 0.4]}
    regions: set[str] = set()
    for _ in range(200_000):
        if not +num_missing:
            return
        region = random_region(rng, draw, scaled_source)
        count = count_nuclei(cut(mask, region, None), areas)
        if count is None or not num_missing[count] or str(region) in regions:
            continue
        regions.add(str(region))
        num_missing[count] -= 1
        pixels = finish(cut(array, region, None), rng, turn=True)
        yield Crop(source, pixels, region, {"Counting": str(count)})
    sys.exit(f"{source['id']}: too few regions with these numbers of nuclei: {+num_missing}")


def crops_of(source: dict[str, Any], draw: dict[str, Any], array: np.ndarray) -> Iterator[Crop]:
    """The n crops of a draw, with more than background and all from different regions."""
    axis, plane = draw.get("axis"), draw.get("plane")
    rng = random.Random(f"{SEED}/{source['id']}/{draw['split']}/{axis}")
    answers = {
        "Modality Recognition": source["modality"],
        "Anatomy Identification": source.get("anatomy"),
        "View Plane": plane,
        "Stain": source.get("stain"),
    }
    answers = {question: answer for question, answer in answers.items() if answer}
    regions: set[str] = set()
    for _ in range(1000 * draw["n"]):
        if len(regions) == draw["n"]:
            return
        region = random_region(rng, draw, source)
        pixels = cut(array, region, axis)
        if str(region) in regions or not has_content(pixels):
            continue
        regions.add(str(region))
        pixels = finish(pixels, rng, source.get("turn", False))
        yield Crop(source, pixels, region, answers)
    sys.exit(f"{source['id']}: too few regions with more than background")


def all_crops(table: dict[str, Any], folder: Path) -> dict[str, list[Crop]]:
    """All crops by split; of the held-out ones, one third is for validation, two for test."""
    wheels = {wheel["name"]: wheel for wheel in table["wheels"]}
    crops: dict[str, list[Crop]] = {split: [] for split in SPLITS}
    for source in table["sources"]:
        data = member(folder, wheels, source["wheel"], source["path"])
        array = read_array(data, source)
        for draw in source["draws"]:
            if draw.get("count"):
                data = member(folder, wheels, source["wheel"], source["mask"])
                mask = tifffile.imread(io.BytesIO(data))
                draw_crops = list(counting_crops(source, draw, array, mask))
            else:
                draw_crops = list(crops_of(source, draw, array))
            if draw["split"] == "train":
                crops["train"] += draw_crops
                continue
            draw_crops.sort(key=lambda crop: crop.answers.get("Counting", ""))
            for k, crop in enumerate(draw_crops):
                crops["validation" if k % 3 == 0 else "test"].append(crop)
    return crops


# From crops to items ---------------------------------------------------------------------------


def choose(crops: list[Crop], count: int, rng: random.Random) -> list[Crop]:
    """Choose `count` crops, in turn from each source and plane; first those without a question."""
    groups: dict[tuple[str, str | None], list[Crop]] = defaultdict(list)
    for crop in crops:
        groups[crop.source["id"], crop.answers.get("View Plane")].append(crop)
    for group in groups.values():
        rng.shuffle(group)
        group.sort(key=lambda crop: crop.used)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*groups.values()))
    chosen = list(itertools.islice((crop for crop in turns if crop is not None), count))
    if len(chosen) < count:
        answers = crops[0].answers if crops else "?"
        sys.exit(f"There are only {len(chosen)} of {count} crops for {answers}.")
    return chosen


def spread_distractors(
    right_answers: list[str], answers: list[str], rng: random.Random
) -> list[list[str]]:
    """Wrong options for each right answer; each answer is a wrong option equally often.

    If each answer is also right equally often, the options alone do not tell which one is right.
    """
    num_distractors = min(NUM_OPTIONS, len(answers)) - 1
    uses: Counter[str] = Counter()
    uses_with: Counter[tuple[str, str]] = Counter()
    rows = []
    for right_answer in right_answers:
        others = [answer for answer in answers if answer != right_answer]
        rng.shuffle(others)
        others.sort(key=lambda answer: (uses[answer], uses_with[right_answer, answer]))
        rows.append(others[:num_distractors])
        uses.update(others[:num_distractors])
        uses_with.update((right_answer, other) for other in others[:num_distractors])
    return rows


def option_list(
    right_answer: str, others: list[str], position: int, rng: random.Random
) -> tuple[str, str]:
    """The options as text, in the form of the published splits, and the right letter."""
    options = rng.sample(others, len(others))
    options.insert(position, right_answer)
    text = ", ".join(f"{'ABCD'[k]}){option}" for k, option in enumerate(options))
    return text, "ABCD"[position]


def item(crop: Crop, question_type: str, problem: str, answer: str) -> dict[str, Any]:
    """One item of a split file, with the keys of Med-R1's splits and some more."""
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
    """The items of one question type and split: answers and letters balanced, options shuffled."""
    rng = random.Random(f"{SEED}/{split}/{question_type}")
    pools: dict[str, list[Crop]] = defaultdict(list)
    for crop in crops:
        if question_type in crop.answers:
            pools[crop.answers[question_type]].append(crop)
    answers = sorted(pools)
    per_answer = PER_ANSWER[question_type][split]
    chosen = [
        (answer, crop) for answer in answers for crop in choose(pools[answer], per_answer, rng)
    ]
    rng.shuffle(chosen)
    for _, crop in chosen:
        crop.used = True
    stems = [rng.choice(STEMS[question_type]) for _ in chosen]
    if question_type == "Counting":
        pairs = zip(chosen, stems, strict=True)
        return [item(crop, question_type, stem, answer) for (answer, crop), stem in pairs]
    rows = spread_distractors([answer for answer, _ in chosen], answers, rng)
    num_letters = min(NUM_OPTIONS, len(answers))
    positions = list(itertools.islice(itertools.cycle(range(num_letters)), len(chosen)))
    rng.shuffle(positions)
    items = []
    for (answer, crop), stem, others, position in zip(chosen, stems, rows, positions, strict=True):
        options, letter = option_list(answer, others, position, rng)
        items.append(item(crop, question_type, f"{stem} {options}", letter))
    return items


# Writing ---------------------------------------------------------------------------------------


def save(crop: Crop, path: Path) -> None:
    """Write a crop as a 112x112 RGB JPEG without metadata."""
    image = Image.fromarray(np.ascontiguousarray(crop.pixels)).convert("RGB")
    image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    image.save(path, quality=QUALITY, optimize=True)


def write_split(split: str, crops: list[Crop], output: Path) -> list[dict[str, Any]]:
    """Write the items of a split and their images, and return the items."""
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
    """The licence files in the wheels, which are passed on with the images: name -> content."""
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
    """Write SOURCES.md and the licence files."""
    (output / "SOURCES.md").write_text(sources_page(table, items), encoding="utf-8")
    (output / "licences").mkdir(exist_ok=True)
    for name, text in notices.items():
        (output / "licences" / name).write_bytes(text)


def main() -> None:
    """Build the data set, and print the numbers of its images and items."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--wheels", type=Path, help="folder for the downloaded wheels")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the data set")
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
    for old_image in images.glob("*.jpg"):
        old_image.unlink()
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
