"""BERTScore: how similar answers and ground truths are by the embeddings of a language model.

Zhang et al. (2020), computed by the package bert-score, where `--bertscore` asks for it. The model
is loaded by `encoder` and not by the package, because bert-score 0.3.13 would load pickles,
continue with missing weights, and fail on an empty text or on a tokenizer without a length limit.
Values without rescaling are no absolute scores: see NOT_ABSOLUTE.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError
from medr1.evaluate.metrics.text import distinct_pairs
from medr1.installation import extra
from medr1.metrics.encoder import fingerprint, load_encoder, not_an_encoder

NOT_ABSOLUTE = (
    "BERTScore without rescaling is no absolute score: texts that contradict each other reach 0.9. "
    "Compare systems with it, on the same items and with the same model, and nothing else."
)
_PAIRS_AT_ONCE = 4096
"""Pairs whose embeddings are in memory at the same time."""
_WHAT = "BERTScore"
_LANGUAGE = "en"
"""Language of the package's baselines for rescaling."""


def bertscore(
    predicted: Sequence[str],
    references: Sequence[str],
    model: str,
    *,
    num_layers: int | None = None,
    rescale: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    offline: bool = False,
) -> tuple[NDArray[np.float64], str]:
    """Compute precision, recall and F of each pair of texts.

    Args:
        predicted: The answers' texts.
        references: The ground truths' texts, in the same order.
        model: An encoder like BERT: a local folder, which is read without the network, or a hub
            id.
        num_layers: The layer whose embeddings are compared, from 1. By default the one that the
            package recommends for a model of that name, else the last.
        rescale: Whether to rescale by the package's baseline, so that unrelated texts are near 0.
        batch_size: Texts that are encoded together.
        device: "cpu", "cuda", "mps" or "auto", which takes the best one there is.
        offline: Whether to read a hub id from the local cache only.

    Returns:
        An array (n, 3) of precision, recall and F, from -1 to 1 (0 for a pair with an empty text),
        and a signature of how it was computed: versions, model, layer, rescaling.

    Raises:
        InputError: The package is not installed, or the model is missing or no such encoder.
    """
    try:
        from bert_score.utils import bert_cos_score_idf
    except ModuleNotFoundError as error:
        if error.name != "bert_score":
            raise
        raise InputError(
            "BERTScore needs the package bert-score, which is not installed. Install it with "
            f"pip install {extra('semantic')}."
        ) from None
    from medr1.checkpoints.finding import find_checkpoint
    from medr1.models.loading import choose_device

    folder = find_checkpoint(model, offline=offline)
    name = folder.resolve().name if Path(model).expanduser().is_dir() else model
    target = choose_device(device)
    layer, total_layers = _layers(folder, name, num_layers)
    baseline = _baseline(name, layer) if rescale else None
    encoder, tokenizer = load_encoder(folder, layer, _WHAT)
    encoder.to(target)
    # Token weights: all 1, that is no idf weighting, but 0 for the special tokens around a text.
    weights: dict[int, float] = defaultdict(lambda: 1.0)
    weights |= {tokenizer.sep_token_id: 0.0, tokenizer.cls_token_id: 0.0}
    pairs, index = distinct_pairs(predicted, references)
    values = np.zeros((len(pairs), 3))
    not_empty = [i for i, pair in enumerate(pairs) if all(text.strip() for text in pair)]
    for start in range(0, len(not_empty), _PAIRS_AT_ONCE):
        rows = not_empty[start : start + _PAIRS_AT_ONCE]
        answers, expected = ([pairs[i][k] for i in rows] for k in (0, 1))
        scores = bert_cos_score_idf(
            encoder, expected, answers, tokenizer, weights, batch_size=batch_size, device=target
        )
        values[rows] = scores.cpu().numpy()
    if baseline is not None:
        values[not_empty] = (values[not_empty] - baseline) / (1 - baseline)
    signature = (
        f"bert-score {version('bert-score')}|{name}|sha256:{fingerprint(folder)}"
        f"|layer {layer} of {total_layers}|rescale:{_LANGUAGE if rescale else 'no'}|idf:no"
        f"|transformers {version('transformers')}"
    )
    return values[index], signature


def _package_name(name: str) -> str | None:
    """The name by which the package knows a model of this id or folder name; None if it does not.

    The hub id "FacebookAI/roberta-large" is the package's "roberta-large".
    """
    from bert_score.utils import model2layers

    last = name.rpartition("/")[2]
    matches = [key for key in model2layers if key == name or key.rpartition("/")[2] == last]
    return matches[0] if matches else None


def _layers(folder: Path, name: str, num_layers: int | None) -> tuple[int, int]:
    """The layer whose embeddings are compared, and the number of layers of the model."""
    from bert_score.utils import model2layers

    from medr1.checkpoints.structure import read_configurations, resolved_configuration

    read_configurations(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model of its own. Name a BERT-like encoder's folder.")
    try:
        config = resolved_configuration(folder)
        total = int(config.num_hidden_layers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise not_an_encoder(folder, _WHAT, error) from None
    key = _package_name(name)
    layer = (
        num_layers if num_layers is not None else min(model2layers[key], total) if key else total
    )
    if not 1 <= layer <= total:
        raise InputError(f"{name} has {total} layers, so layer {layer} cannot be compared.")
    return layer, total


def _baseline(name: str, layer: int) -> NDArray[np.float64]:
    """Mean precision, recall and F of unrelated texts, from the package's table for the model."""
    import bert_score

    key = _package_name(name)
    tables = Path(bert_score.__file__).parent / "rescale_baseline" / _LANGUAGE
    file = tables / f"{key}.tsv"
    if key is None or not file.is_file():
        raise InputError(
            f"bert-score has no baseline for {name}, so its values cannot be rescaled. Choose a "
            "model that it has one for, such as FacebookAI/roberta-large, or do not rescale."
        )
    table = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)
    rows = table[table[:, 0] == layer]
    return np.asarray(rows[0, 1:4], dtype=np.float64)
