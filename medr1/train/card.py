"""The model card of a trained checkpoint: README.md, with the facts of its medr1.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """# {name}

Trained with medr1 from {base}, by {method}. It answers {style}. medr1 asks it with the
prompt of its training, {prompt}.

**Research use only. Not for diagnosis, not for clinical use.** `medr1 eval` measures how well it
answers questions that it was not trained on.

    medr1 infer --model-path {name} --image-path scan.png --question "..."

{facts}
"""
_STYLES = {"letter": "with the letter of an option", "text": "in words"}


def model_card(name: str, document: Mapping[str, Any]) -> str:
    """The text of a checkpoint's README.md.

    Args:
        name: The name of the checkpoint's folder.
        document: The content of its medr1.json.
    """
    facts = {
        "Base, sha256": document["base_sha256"],
        "Training data, sha256": document["data_sha256"],
        "Prompt, sha256": document["prompt_sha256"],
        "Seed": document["seed"],
        "Versions": ", ".join(f"{key} {value}" for key, value in document["versions"].items()),
    }
    if curriculum := document.get("curriculum_sha256"):
        facts["Questions"] = "from easy to hard, by the pass rates of the file below"
        facts["Pass rates, sha256"] = curriculum
    if document.get("group_by_image"):
        facts["Questions"] = "those of one image together"
    if best := document.get("validation"):
        facts["Validation accuracy"] = f"{best['eval_accuracy']:.1%} at step {best['step']}"
    return _CARD.format(
        name=name,
        base=document["base"],
        method=document["method"].upper(),
        style=_STYLES[document["answer_style"]],
        prompt=document["prompt"],
        facts="\n".join(f"- {key}: {value}" for key, value in facts.items()),
    )
