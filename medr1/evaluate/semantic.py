"""BERTScore of predicted against reference texts, by bert-score, with a model given by name.

The one module of `evaluate` that runs a model, and only when asked. The package scores; the model
is loaded here, since the package (0.3.13) would load pickles, go on with missing weights, and fail
on an empty text and on a tokenizer without a limit. Unrescaled values are no absolute scores: see
NOT_ABSOLUTE.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medr1.errors import InputError
from medr1.evaluate.texts import distinct

NOT_ABSOLUTE = (
    "BERTScore without rescaling is no absolute score: texts that contradict each other reach 0.9. "
    "Compare systems with it, on the same items and with the same model, and nothing else."
)
_PAIRS_AT_ONCE = 4096
"""Their embeddings are held in memory together."""
_MAX_TOKENS = 512
_LANGUAGE = "en"


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
    """Precision, recall and F of each pair (n, 3), and how they were computed.

    `model` is a local folder, which never touches the network, or a hub id. The layer is the one
    that the package tuned for a model of that name, else the last. A pair with an empty text
    scores 0. InputError where the package or the model is missing or does not fit.
    """
    try:
        from bert_score.utils import bert_cos_score_idf
    except ModuleNotFoundError as error:
        if error.name != "bert_score":
            raise
        raise InputError(
            "BERTScore needs the package bert-score, which is not installed. Install it with "
            "pip install -e '.[semantic]'."
        ) from None
    from medr1.checkpoints.finding import find_checkpoint
    from medr1.models import choose_device

    folder = find_checkpoint(model, offline=offline)
    name = folder.resolve().name if Path(model).expanduser().is_dir() else model
    target = choose_device(device)
    layers, of = _layers(folder, name, num_layers)
    baseline = _baseline(name, layers) if rescale else None
    encoder, tokenizer = _load(folder, layers)
    encoder.to(target)
    weights: dict[int, float] = defaultdict(lambda: 1.0)
    weights |= {tokenizer.sep_token_id: 0.0, tokenizer.cls_token_id: 0.0}
    pairs, index = distinct(predicted, references)
    values = np.zeros((len(pairs), 3))
    full = [i for i, pair in enumerate(pairs) if all(text.strip() for text in pair)]
    for start in range(0, len(full), _PAIRS_AT_ONCE):
        rows = full[start : start + _PAIRS_AT_ONCE]
        said, gold = ([pairs[i][k] for i in rows] for k in (0, 1))
        scored = bert_cos_score_idf(
            encoder, gold, said, tokenizer, weights, batch_size=batch_size, device=target
        )
        values[rows] = scored.cpu().numpy()
    if baseline is not None:
        values[full] = (values[full] - baseline) / (1 - baseline)
    signature = (
        f"bert-score {version('bert-score')}|{name}|sha256:{_fingerprint(folder)}"
        f"|layer {layers} of {of}|rescale:{_LANGUAGE if rescale else 'no'}|idf:no"
        f"|transformers {version('transformers')}"
    )
    return values[index], signature


def _fingerprint(folder: Path) -> str:
    from medr1.checkpoints.integrity import checkpoint_sha256

    return checkpoint_sha256(folder)[:12]


def _known(name: str) -> str | None:
    """The name by which the package knows a model of this id or folder."""
    from bert_score.utils import model2layers

    last = name.rpartition("/")[2]
    same = [known for known in model2layers if known == name or known.rpartition("/")[2] == last]
    return same[0] if same else None


def _layers(folder: Path, name: str, asked: int | None) -> tuple[int, int]:
    """The layer whose embeddings are compared, and how many there are."""
    from bert_score.utils import model2layers

    from medr1.checkpoints.structure import read_configurations, resolved_configuration

    read_configurations(folder)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no model of its own. Name a BERT-like encoder's folder.")
    try:
        config = resolved_configuration(folder)
        of = int(config.num_hidden_layers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_an_encoder(folder, error) from None
    known = _known(name)
    layers = asked if asked is not None else min(model2layers[known], of) if known else of
    if not 1 <= layers <= of:
        raise InputError(f"{name} has {of} layers, so layer {layers} cannot be compared.")
    return layers, of


def _load(folder: Path, layers: int) -> tuple[Any, Any]:
    """The encoder up to that layer, whole and in evaluation mode, and its tokenizer."""
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer

    from medr1.checkpoints.structure import resolved_configuration

    try:
        config = resolved_configuration(folder)
        config.num_hidden_layers = layers
        tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        loaded: Any = AutoModel.from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise _not_an_encoder(folder, error) from None
    encoder, report = loaded
    missing = sorted(str(key) for key in report["missing_keys"] if "pooler" not in str(key))
    if missing or report["mismatched_keys"]:
        raise InputError(
            f"{folder} lacks {len(missing) or 'matching'} tensors of its encoder (first: "
            f"{missing[0] if missing else next(iter(report['mismatched_keys']))}). Fetch it again."
        )
    if getattr(encoder.config, "is_encoder_decoder", False):
        encoder = encoder.encoder
    most = getattr(encoder.config, "max_position_embeddings", None) or _MAX_TOKENS
    tokenizer.model_max_length = min(tokenizer.model_max_length, most, _MAX_TOKENS)
    if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id):
        raise InputError(f"the tokenizer in {folder} is not BERT's kind: it has no [CLS] or [SEP].")
    return encoder.eval(), tokenizer


def _not_an_encoder(folder: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300]
    return InputError(
        f"cannot load {folder} for BERTScore: {reason}. Name a BERT-like encoder in safetensors."
    )


def _baseline(name: str, layers: int) -> NDArray[np.float64]:
    """What unrelated texts score with this model and layer, from the package's own tables."""
    import bert_score

    known = _known(name)
    tables = Path(bert_score.__file__).parent / "rescale_baseline" / _LANGUAGE
    file = tables / f"{known}.tsv"
    if known is None or not file.is_file():
        raise InputError(
            f"bert-score has no baseline for {name}, so its values cannot be rescaled. Choose a "
            "model that it has one for, such as FacebookAI/roberta-large, or do not rescale."
        )
    table = np.loadtxt(file, delimiter=",", skiprows=1, ndmin=2)
    rows = table[table[:, 0] == layers]
    return np.asarray(rows[0, 1:4], dtype=np.float64)
