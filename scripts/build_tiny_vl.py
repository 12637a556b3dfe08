"""Make an embedded model: a Qwen2.5-VL of about a million parameters that GRPO trains in minutes.

    python scripts/build_tiny_vl.py --recipe text --output-dir checkpoints/tiny-vl
    python scripts/build_tiny_vl.py --recipe letters --output-dir checkpoints/tiny-vl-letters

What comes out is a base for GRPO and not a finished model: its vision tower knows the pictures, its
answers are coherent, and what it says is only weakly tied to what it sees. All stages read the
training split alone:

0. Letter binding, for `letters` only. From text, the language model learns which letter stands
   before which option.
1. Vision alignment. The mean of the tower's output for a picture is drawn to the language model's
   own embedding of the words that are right for it, and away from those of its question type's
   other answers (contrastive, all true labels). The language model is not trained.
2. Weak supervised fine-tuning. The tower is frozen; the language model learns to answer in three
   manners, where many labels are replaced by a random listed option.

Every stage ends after a number of steps or at an accuracy, so one seed and one thread give the same
weights each time on one machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_vl_binding import bind_letters
from tiny_vl_card import checkpoint_notes, model_card
from tiny_vl_model import build_model, build_processor
from tiny_vl_pictures import Pictures
from tiny_vl_probes import probe_answers, probe_vision
from tiny_vl_recipe import RECIPES, Recipe
from tiny_vl_stages import Batches, Concepts, align_vision, tune_language
from tiny_vl_training import report
from transformers import Qwen2_5_VLProcessor

from medr1.checkpoints.integrity import write_checksums
from medr1.data.readers import read_questions
from medr1.files import sha256_of, write_atomic


def build(
    train: Path, validation: Path, recipe: Recipe
) -> tuple[Any, Qwen2_5_VLProcessor, dict[str, Any]]:
    """The model, its processor and what the validation split says about it."""
    split = {"train": read_questions(train), "validation": read_questions(validation)}
    taught, held_out = (questions.require_complete() for questions in split.values())
    processor = build_processor(taught, recipe)
    model = build_model(processor.tokenizer, recipe)
    report(f"{model.num_parameters():,} parameters, {len(processor.tokenizer)} tokens")
    probes: dict[str, Any] = {}
    if recipe.binding:
        probes["binding_steps"] = bind_letters(model, processor, taught, recipe, recipe.binding)
    pictures, unseen = (
        Pictures(processor, questions.image_root.path, (s.images[0] for s in questions.samples))
        for questions in split.values()
    )
    concepts = Concepts(model, processor.tokenizer, taught)
    align_vision(model, pictures, concepts, recipe)
    probes["vision"] = probe_vision(model, unseen, concepts.with_labels(held_out))
    report(f"vision alone, validation: {probes['vision']}")
    tune_language(model, Batches(processor, pictures, recipe), taught, concepts.names, recipe)
    probes |= probe_answers(model, Batches(processor, unseen, recipe), held_out, recipe.seed)
    return model, processor, probes


def save(
    folder: Path, model: Any, processor: Any, notes: str, card: str, *, overwrite: bool
) -> None:
    """Write everything beside the target, then put it in its place."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    model.save_pretrained(building)
    processor.save_pretrained(building)
    write_atomic(building / "medr1.json", notes)
    write_atomic(building / "README.md", card)
    write_checksums(building)
    if overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    building.rename(folder)


def main() -> None:
    """Read the command line, build, probe, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    data = Path(__file__).resolve().parent.parent / "data" / "tiny_vqa_ds"
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="text")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=data / "train.json")
    parser.add_argument("--validation-data", type=Path, default=data / "validation.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    options = parser.parse_args()
    folder: Path = options.output_dir.resolve()
    if folder.exists() and not options.overwrite:
        sys.exit(f"{folder} exists. Give --overwrite, or another --output-dir.")
    torch.set_num_threads(options.threads)
    started = time.monotonic()
    recipe = replace(RECIPES[options.recipe], seed=options.seed)
    model, processor, probes = build(options.data, options.validation_data, recipe)
    for name, value in probes.items():
        report(f"{name}: {value}")
    notes = checkpoint_notes(options.data, recipe, probes)
    card = model_card(folder.name, options.recipe, recipe, probes, model.num_parameters())
    save(folder, model, processor, notes, card, overwrite=options.overwrite)
    report(f"{sha256_of(folder / 'model.safetensors')} {folder}/model.safetensors")
    report(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
