"""A methods paragraph for a paper, from what a summary knows.

What it does not know stays an explicit gap: nothing is guessed, and nothing is claimed of how the
data were collected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.sanitize import interval, line, short_path
from medr1.report.tables import percent

METRIC_WORDS = {
    "accuracy": ("accuracy", "share of questions answered rightly under the protocol"),
    "exact_match": ("exact match", "same letter, or same text after SQuAD's normalisation"),
    "counting_accuracy": ("counting accuracy", "accuracy where the right answer is a number"),
    "closed_accuracy": (
        "accuracy of closed questions",
        "accuracy where there are options, or the right answer is yes or no",
    ),
    "token_f1": ("token F1 (sets)", "overlap of the answers' different words"),
    "token_f1_multiset": ("token F1 (multisets)", "overlap of words, repeated ones counted"),
    "open_recall": (
        "recall of open questions",
        "share of the right answer's words in the answer, as LLaVA-Med's evaluation has it",
    ),
    "bleu1": ("BLEU-1", "corpus precision of single words with brevity penalty"),
    "bleu2": ("BLEU-2", "corpus precision of up to two words in a row"),
    "bleu3": ("BLEU-3", "corpus precision of up to three words in a row"),
    "bleu4": ("BLEU-4", "corpus precision of up to four words in a row"),
    "rouge_l": ("ROUGE-L", "longest common subsequence of words, F-measure, mean of items"),
    "chrf": ("chrF", "F-score of character sequences"),
    "bertscore": ("BERTScore", "similarity of contextual word vectors"),
}
"""Metric -> how people call it, and what it is in half a line."""

_PROTOCOL_WORDS = {
    "default": "any clear answer counted, whether a letter, the text of an option or a sentence "
    "naming exactly one option",
    "strict": "an answer counted only where the output held exactly one answer block with nothing "
    "but the answer in it",
    "authors-counting": "the original's counting script: the integer in the first answer block",
    "authors-geometry": "the original's geometry script: math-verify on the whole output",
    "authors-vqa": "the original's VQA scripts: the word in the first answer block",
    "authors-nothink": "the original's VQA scripts without reasoning",
}

Segment = dict[str, Any]
Summary = Mapping[str, Any]


def _said(text: str) -> Segment:
    return {"text": text, "gap": False}


def _gap(text: str) -> Segment:
    return {"text": f"[{text}]", "gap": True}


def methods_text(summary: Summary) -> list[dict[str, Any]]:
    """Paragraphs with a title each: segments of text, some of them gaps for the authors."""
    return [
        {"title": "Data", "segments": _data(summary)},
        {"title": "Model and inference", "segments": _inference(summary)},
        {"title": "Outcome and statistical analysis", "segments": _analysis(summary)},
        {"title": "Result", "segments": _result(summary)},
    ]


def asked_about(summary: Summary) -> str:
    """What the questions are about, as "830 images" or "120 patients"; empty where not known."""
    clusters = summary.get("clusters") or {"unit": "image", "n": summary.get("n_images")}
    n = clusters.get("n")
    return f"{n:,} {line(clusters.get('unit'))}{'s' * (n != 1)}" if isinstance(n, int) else ""


def _data(summary: Summary) -> list[Segment]:
    meta, n, about = summary.get("meta") or {}, summary.get("n"), asked_about(summary)
    asked = f"The evaluation comprised {counted(n)} questions"
    asked += f" about {about}" if about else ""
    data = short_path(meta.get("data"))
    asked += f" from {data}" if data else ""
    found = [_said(asked + sha_of(meta.get("data_sha256")) + ".")]
    for kind, word in (("dataset", "Data sets"), ("modality", "Modalities")):
        if names := _named_counts((summary.get("groups") or {}).get(kind)):
            found.append(_said(f" {word} (number of questions): {names}."))
    if not data:
        found.append(_gap("name and version of the data set"))
    return [
        *found,
        _gap("origin of the images, dates, eligibility criteria and licence"),
        _gap("how the reference answers were set, by whom, and their agreement"),
        _gap("whether any patient, study or image was also in the training data"),
    ]


def _inference(summary: Summary) -> list[Segment]:
    meta = summary.get("meta") or {}
    model = short_path(meta.get("model"))
    if not model:
        return [_gap("model, its version, prompt, decoding, seed, software: not in the file")]
    found = [_said(f"The model was {model}{sha_of(meta.get('model_sha256'))}.")]
    if prompt := meta.get("prompt"):
        found.append(_said(f" The prompt was “{line(prompt)}”{sha_of(meta.get('prompt_sha256'))}."))
    else:
        found.append(_gap("prompt"))
    found.append(_decoding(meta))
    versions = meta.get("versions")
    if meta.get("device") and isinstance(versions, Mapping) and versions:
        listed = ", ".join(f"{line(name)} {line(v)}" for name, v in versions.items())
        precision = f" in {line(meta['dtype'])}" if meta.get("dtype") else ""
        found.append(_said(f" It ran on {line(meta['device'])}{precision} ({listed})."))
    else:
        found.append(_gap("hardware, numerical precision and software versions"))
    return [*found, _gap("how and on what data the model was trained")]


def _decoding(meta: Mapping[str, Any]) -> Segment:
    decoding = meta.get("decoding")
    if not isinstance(decoding, Mapping) or "do_sample" not in decoding:
        return _gap("decoding settings and seed")
    way = "greedy"
    if decoding["do_sample"]:
        way = f"by sampling at temperature {line(decoding.get('temperature', 'not stated'))}"
    text = f" Decoding was {way}"
    if decoding.get("max_new_tokens") is not None:
        text += f", with at most {line(decoding['max_new_tokens'])} new tokens"
    if meta.get("seed") is not None:
        text += f" and seed {line(meta['seed'])}"
    ablated = decoding.get("ablate_image")
    if ablated and ablated != "none":
        text += f"; the images were replaced (ablation: {line(ablated)})"
    return _said(f"{text}.{_asked_again(decoding)}")


def _asked_again(decoding: Mapping[str, Any]) -> str:
    """What was asked beside the one answer, as the run's manifest says."""
    rotations, samples, passes = (
        line(decoding[name]) if decoding.get(name) not in (None, 0, 1) else ""
        for name in ("permute", "num_samples", "dropout_samples")
    )
    text = ""
    if decoding.get("mode") == "options":
        text += " The answer was the most probable option; no text was written."
    if rotations:
        text += f" Probabilities of the options are means over {rotations} rotations of them."
    if samples:
        temperature = line(decoding.get("temperature", "not stated"))
        text += f" Beside it {samples} answers were sampled at temperature {temperature}."
    if passes:
        text += f" The probabilities were taken in {passes} more passes with dropout on."
    return text


def _analysis(summary: Summary) -> list[Segment]:
    from medr1 import __version__

    protocol = summary.get("protocol") or "not stated"
    rule = _PROTOCOL_WORDS.get(str(protocol))
    found = [
        _said(
            "The primary outcome was accuracy, the share of questions answered rightly. Answers "
            f"were read from the outputs by fixed rules (protocol “{line(protocol)}”"
            + (f": {rule})" if rule else ")")
            + ", without approximate matching and without random choice. No question was "
            "excluded: outputs without a readable answer and questions that failed for technical "
            f"reasons counted as wrong. The analysis was done with medr1 {__version__}."
        )
    ]
    others = [
        METRIC_WORDS.get(name, (line(name), ""))[0]
        for name, metric in (summary.get("metrics") or {}).items()
        if name != "accuracy" and (metric or {}).get("value") is not None
    ]
    if others:
        found.append(_said(f" Secondary metrics were {listed(others)}."))
        found += _texts_method(summary)
    found += _interval_method(summary)
    if summary.get("findings"):
        found.append(
            _said(
                " Sensitivity, specificity and predictive values were computed for each finding; "
                "predictive values hold for the prevalence in these data."
            )
        )
    found += _trust_method(summary)
    return [*found, _gap("sample size rationale, primary comparison, handling of multiplicity")]


def _texts_method(summary: Summary) -> list[Segment]:
    """What the metrics of texts compare, and how BLEU's orders differ, where there are any."""
    names = [n for n, metric in (summary.get("metrics") or {}).items() if "signature" in metric]
    if not names:
        return []
    text = (
        " Metrics of texts compared the reference with the text of the chosen option or, for "
        "questions without options, with the answer as it was written, under any protocol."
    )
    if any(name.startswith("bleu") for name in names):
        text += (
            " BLEU is a score of the corpus (sacrebleu); each order counts only answers with that "
            "many words."
        )
    return [_said(text)]


def _trust_method(summary: Summary) -> list[Segment]:
    """How calibration and abstention were assessed, where they were."""
    calibration, selective = (summary.get(key) or {} for key in ("calibration", "selective"))
    found = []
    if calibration.get("metrics"):
        said = (
            " Calibration of the confidence was assessed by the expected calibration error (15 "
            "bins) beside what chance makes of it, a debiased error (Kumar et al., 2019) with an "
            "interval by a noncentral chi-square, the Brier score and its decomposition, "
            "the log-likelihood of the right option and the AUROC of correctness"
        )
        fitted = (calibration.get("temperature") or {}).get("metrics")
        said += "; a temperature was fitted on held-out questions." if fitted else "."
        found.append(_said(said))
    if selective.get("metrics"):
        said = " Selective prediction was assessed by the area under the risk-coverage curve"
        if "threshold" in (selective.get("referral") or {}):
            said += "; the referral threshold was chosen by Learn then Test on held-out questions"
        if "split" in (selective.get("conformal") or {}):
            said += "; prediction sets are split conformal, with one limit and by modality"
        found.append(_said(f"{said}."))
    if summary.get("image_ablation"):
        found.append(_said(" The same questions were asked without their pictures."))
    if ensemble := summary.get("ensemble"):
        n = len(ensemble["members"])
        found.append(
            _said(
                f" The answers of {n} result files were taken as one, by their majority and by the "
                "mean of the options' probabilities."
            )
        )
    if summary.get("robustness"):
        found.append(_said(" Robustness was measured as robustness.html says."))
    return found


def _interval_method(summary: Summary) -> list[Segment]:
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    settings = summary.get("intervals") or {}
    method = str(accuracy.get("method") or "")
    if not accuracy.get("ci95"):
        return [_gap("method of the confidence intervals")]
    if method == "wilson":
        return [_said(" 95 % confidence intervals of accuracy are Wilson score intervals.")]
    unit = re.sub(r"^.* over ", "", method) if " over " in method else "images"
    found = [
        _said(
            f" 95 % confidence intervals are percentile bootstrap intervals that draw {line(unit)} "
            "rather than questions, since questions about one of them are not independent; where "
            "all answers were equally right, Wilson score intervals over them."
        )
    ]
    resamples, seed = settings.get("num_resamples"), settings.get("seed")
    if resamples is None or seed is None:
        return [*found, _gap("number of resamples and seed of the bootstrap")]
    return [*found, _said(f" The bootstrap used {resamples:,} resamples and seed {line(seed)}.")]


def _result(summary: Summary) -> list[Segment]:
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    if accuracy.get("value") is None:
        return [_gap("accuracy could not be computed")]
    bounds = f" (95 % CI {interval(accuracy)})" if accuracy.get("ci95") else ""
    text = f"Accuracy was {percent(accuracy['value'])}{bounds}, n = {counted(accuracy.get('n'))}."
    blind = summary.get("blind") or {}
    if blind.get("chance") is not None:
        text += f" Guessing would give {percent(blind['chance'])}"
        best = blind.get("best") or {}
        if best.get("value") is not None:
            text += f", and the best predictor without the image {percent(best['value'])}"
            text += f" ({interval(best)})" if best.get("ci95") else ""
        text += "."
    lost = [
        f"{summary[key]:,} {words}"
        for key, words in (
            ("n_unparsed", "outputs held no readable answer"),
            ("n_refused", "outputs declined to answer"),
            ("n_undecided", "answers could not be judged by the rules"),
            ("n_truncated", "were cut off at the token limit"),
            ("n_error", "questions failed"),
        )
        if isinstance(summary.get(key), int)
    ]
    text += f" {listed(lost)}." if lost else ""
    gap = [] if blind.get("chance") is not None else [_gap("what accuracy is held against")]
    return [_said(text), *gap]


def counted(value: Any) -> str:
    """A number of items in a sentence."""
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def sha_of(value: Any) -> str:
    """The start of a SHA-256 in brackets, if there is one."""
    return f" (SHA-256 {line(value)[:12]})" if value else ""


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _named_counts(groups: Mapping[str, Any] | None) -> str:
    """ "CT (12), MRI (8)" of the first dozen."""
    named = list((groups or {}).items())
    shown = [f"{line(name, 60)} ({counted(group.get('n'))})" for name, group in named[:12]]
    more = [f"{len(named) - 12} more"] if len(named) > 12 else []
    return ", ".join([*shown, *more])
