"""The methods and results paragraphs for a paper, written from what a summary knows.

What the summary does not know becomes a visible gap, such as "[prompt]", that the authors fill in.
Nothing is guessed, and nothing is claimed about how the data were collected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medr1.metrics.registry import METRICS
from medr1.report.pages.sanitize import interval_of, one_line, short_path
from medr1.report.terminal.tables import percent

_PROTOCOL_WORDS = {
    "default": "any clear answer counted, whether a letter, the text of an option or a sentence "
    "naming exactly one option",
    "strict": "an answer counted only where the completion held exactly one answer block with "
    "nothing but the answer in it",
    "authors-counting": "the original's counting script: the integer in the first answer block",
    "authors-geometry": "the original's geometry script: math-verify on the whole completion",
    "authors-vqa": "the original's VQA scripts: the word in the first answer block",
    "authors-nothink": "the original's VQA scripts without reasoning",
}
"""Protocol -> which completions count as an answer."""

Segment = dict[str, Any]
"""A piece of a paragraph: its text, and whether it is a gap for the authors."""
Summary = Mapping[str, Any]
"""The content of summary.json."""


def _text(text: str) -> Segment:
    return {"text": text, "gap": False}


def _gap(text: str) -> Segment:
    return {"text": f"[{text}]", "gap": True}


def methods_text(summary: Summary) -> list[dict[str, Any]]:
    """Four paragraphs, each with a title and segments: text, or gaps for the authors."""
    return [
        {"title": "Data", "segments": _data(summary)},
        {"title": "Model and inference", "segments": _inference(summary)},
        {"title": "Outcome and statistical analysis", "segments": _analysis(summary)},
        {"title": "Result", "segments": _result(summary)},
    ]


def question_subjects(summary: Summary) -> str:
    """What the questions are about: "830 images" or "120 patients"; empty if it is not known."""
    clusters = summary.get("clusters") or {"unit": "image", "n": summary.get("n_images")}
    n = clusters.get("n")
    return f"{n:,} {one_line(clusters.get('unit'))}{'s' * (n != 1)}" if isinstance(n, int) else ""


def _data(summary: Summary) -> list[Segment]:
    meta, n, subjects = summary.get("meta") or {}, summary.get("n"), question_subjects(summary)
    sentence = f"The evaluation comprised {count_phrase(n)} questions"
    sentence += f" about {subjects}" if subjects else ""
    data = short_path(meta.get("data"))
    sentence += f" from {data}" if data else ""
    segments = [_text(sentence + sha_text(meta.get("data_sha256")) + ".")]
    for kind, words in (("dataset", "Data sets"), ("modality", "Modalities")):
        if names := _groups_with_counts((summary.get("groups") or {}).get(kind)):
            segments.append(_text(f" {words} (number of questions): {names}."))
    if not data:
        segments.append(_gap("name and version of the data set"))
    return [
        *segments,
        _gap("origin of the images, dates, eligibility criteria and licence"),
        _gap("how the ground truth was set, by whom, and with what agreement"),
        _gap("whether any patient, study or image was also in the training data"),
    ]


def _inference(summary: Summary) -> list[Segment]:
    meta = summary.get("meta") or {}
    model = short_path(meta.get("model"))
    if not model:
        return [_gap("model, its version, prompt, decoding, seed, software: not in the file")]
    segments = [_text(f"The model was {model}{sha_text(meta.get('model_sha256'))}.")]
    if prompt := meta.get("prompt"):
        prompt_hash = sha_text(meta.get("prompt_sha256"))
        segments.append(_text(f" The prompt was “{one_line(prompt)}”{prompt_hash}."))
    else:
        segments.append(_gap("prompt"))
    segments.append(_decoding(meta))
    versions = meta.get("versions")
    if meta.get("device") and isinstance(versions, Mapping) and versions:
        software = ", ".join(f"{one_line(name)} {one_line(v)}" for name, v in versions.items())
        precision = f" in {one_line(meta['dtype'])}" if meta.get("dtype") else ""
        segments.append(_text(f" It ran on {one_line(meta['device'])}{precision} ({software})."))
    else:
        segments.append(_gap("hardware, numerical precision and software versions"))
    return [*segments, _gap("how and on what data the model was trained")]


def _decoding(meta: Mapping[str, Any]) -> Segment:
    decoding = meta.get("decoding")
    if not isinstance(decoding, Mapping) or "do_sample" not in decoding:
        return _gap("decoding settings and seed")
    method = "greedy"
    if decoding["do_sample"]:
        temperature = one_line(decoding.get("temperature", "not stated"))
        method = f"by sampling at temperature {temperature}"
    text = f" Decoding was {method}"
    if decoding.get("max_new_tokens") is not None:
        text += f", with at most {one_line(decoding['max_new_tokens'])} new tokens"
    if meta.get("seed") is not None:
        text += f" and seed {one_line(meta['seed'])}"
    ablation = decoding.get("ablate_image")
    if ablation and ablation != "none":
        text += f"; the images were replaced (ablation: {one_line(ablation)})"
    return _text(f"{text}.{_further_answers(decoding)}")


def _further_answers(decoding: Mapping[str, Any]) -> str:
    """What was computed besides the one answer: rotations, samples and passes with dropout."""
    rotations, samples, passes = (
        one_line(decoding[name]) if decoding.get(name) not in (None, 0, 1) else ""
        for name in ("permute", "num_samples", "dropout_samples")
    )
    text = ""
    if decoding.get("mode") == "options":
        text += " The answer was the most probable option; no text was generated."
    if rotations:
        text += f" Option probabilities are means over {rotations} rotations of the options."
    if samples:
        temperature = one_line(decoding.get("temperature", "not stated"))
        text += f" In addition, {samples} answers were sampled at temperature {temperature}."
    if passes:
        text += f" Option probabilities were also computed in {passes} more passes with dropout on."
    return text


def _analysis(summary: Summary) -> list[Segment]:
    from medr1 import __version__

    protocol = summary.get("protocol") or "not stated"
    rule = _PROTOCOL_WORDS.get(str(protocol))
    segments = [
        _text(
            "The primary outcome was accuracy, the share of questions answered correctly. Answers "
            f"were read from the completions by fixed rules (protocol “{one_line(protocol)}”"
            + (f": {rule})" if rule else ")")
            + ", without approximate matching and without random choice. No question was "
            "excluded: completions without a readable answer and questions that failed for "
            "technical reasons counted as wrong. The analysis was done with medr1 "
            f"{__version__}."
        )
    ]
    secondary = [
        METRICS[name].label if name in METRICS else one_line(name)
        for name, metric in (summary.get("metrics") or {}).items()
        if name != "accuracy" and (metric or {}).get("value") is not None
    ]
    if secondary:
        segments.append(_text(f" Secondary metrics were {enumeration(secondary)}."))
        segments += _texts_method(summary)
    segments += _interval_method(summary)
    if summary.get("findings"):
        segments.append(
            _text(
                " Sensitivity, specificity and predictive values were computed for yes/no "
                "questions and for frequent options; predictive values hold for the prevalence in "
                "these data."
            )
        )
    segments += _trust_method(summary)
    return [*segments, _gap("sample size rationale, primary comparison, handling of multiplicity")]


def _texts_method(summary: Summary) -> list[Segment]:
    """What the text metrics (BLEU, ROUGE-L ...) compare, if the summary has any.

    Only those have a `signature`, which names library and settings.
    """
    names = [n for n, metric in (summary.get("metrics") or {}).items() if "signature" in metric]
    if not names:
        return []
    text = (
        " Text metrics compared the ground truth with the text of the chosen option or, for "
        "questions without options, with the answer as it was written, under any protocol."
    )
    if any(name.startswith("bleu") for name in names):
        text += (
            " BLEU was computed on the corpus (sacrebleu); each order counts only answers with "
            "that many words."
        )
    return [_text(text)]


def _trust_method(summary: Summary) -> list[Segment]:
    """How calibration, abstention, ablation, ensembles and robustness were assessed, if at all."""
    calibration, selective = (summary.get(key) or {} for key in ("calibration", "selective"))
    segments = []
    if calibration.get("metrics"):
        text = (
            " Calibration of the confidence was assessed by the expected calibration error (15 "
            "bins) together with its value by chance in a calibrated model, a debiased error "
            "(Kumar et al., 2019) with an interval by a noncentral chi-square, the Brier score and "
            "its decomposition, the log-likelihood of the correct option and the AUROC of "
            "correctness"
        )
        scaled = (calibration.get("temperature") or {}).get("metrics")
        text += "; a temperature was fitted on held-out questions." if scaled else "."
        segments.append(_text(text))
    if selective.get("metrics"):
        text = " Selective prediction was assessed by the area under the risk-coverage curve"
        if "threshold" in (selective.get("referral") or {}):
            text += "; the confidence threshold below which questions are deferred was chosen by "
            text += "Learn then Test on held-out questions"
        if "split" in (selective.get("conformal") or {}):
            text += "; prediction sets are split conformal, with one threshold for all questions "
            text += "and with one for each modality"
        segments.append(_text(f"{text}."))
    if summary.get("image_ablation"):
        segments.append(_text(" The same questions were asked without their images."))
    if ensemble := summary.get("ensemble"):
        n = len(ensemble["members"])
        segments.append(
            _text(
                f" The answers of {n} results files were combined by majority vote and by the mean "
                "of the option probabilities."
            )
        )
    if summary.get("robustness"):
        segments.append(_text(" Robustness was measured as described in robustness.html."))
    return segments


def _interval_method(summary: Summary) -> list[Segment]:
    """Which confidence intervals accuracy has, and what they resample."""
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    settings = summary.get("intervals") or {}
    method = str(accuracy.get("method") or "")
    if not accuracy.get("ci95"):
        return [_gap("method of the confidence intervals")]
    if method == "wilson":
        return [_text(" 95 % confidence intervals of accuracy are Wilson score intervals.")]
    # "bootstrap over patients" -> "patients"
    unit = re.sub(r"^.* over ", "", method) if " over " in method else "images"
    segments = [
        _text(
            f" 95 % confidence intervals are percentile bootstrap intervals that resample "
            f"{one_line(unit)} rather than questions, since questions about one of them are not "
            "independent; where all answers have the same score, Wilson score intervals over them."
        )
    ]
    resamples, seed = settings.get("num_resamples"), settings.get("seed")
    if resamples is None or seed is None:
        return [*segments, _gap("number of resamples and seed of the bootstrap")]
    text = f" The bootstrap used {resamples:,} resamples and seed {one_line(seed)}."
    return [*segments, _text(text)]


def _result(summary: Summary) -> list[Segment]:
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    if accuracy.get("value") is None:
        return [_gap("accuracy could not be computed")]
    bounds = f" (95 % CI {interval_of(accuracy)})" if accuracy.get("ci95") else ""
    n = count_phrase(accuracy.get("n"))
    text = f"Accuracy was {percent(accuracy['value'])}{bounds}, n = {n}."
    blind = summary.get("blind") or {}
    if blind.get("chance") is not None:
        text += f" Chance accuracy (random guessing) is {percent(blind['chance'])}"
        best = blind.get("best") or {}
        if best.get("value") is not None:
            text += f", that of the best predictor without the image {percent(best['value'])}"
            text += f" ({interval_of(best)})" if best.get("ci95") else ""
        text += "."
    counts = [
        f"{summary[key]:,} {words}"
        for key, words in (
            ("n_unparsed", "completions had no readable answer"),
            ("n_refused", "completions declined to answer"),
            ("n_undecided", "answers could not be judged by the rules"),
            ("n_truncated", "were cut off at the token limit"),
            ("n_error", "questions failed"),
        )
        if isinstance(summary.get(key), int)
    ]
    text += f" {enumeration(counts)}." if counts else ""
    has_chance = blind.get("chance") is not None
    gap = [] if has_chance else [_gap("what the accuracy is compared with")]
    return [_text(text), *gap]


def count_phrase(value: Any) -> str:
    """A number of items in a sentence: "1,200", or "an unknown number of"."""
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def sha_text(value: Any) -> str:
    """The first digits of a SHA-256 in brackets, with a blank before; empty if there is none."""
    return f" (SHA-256 {one_line(value)[:12]})" if value else ""


def enumeration(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _groups_with_counts(groups: Mapping[str, Any] | None) -> str:
    """ "CT (12), MRI (8)": the first dozen groups, each with its number of questions."""
    items = list((groups or {}).items())
    names = [f"{one_line(name, 60)} ({count_phrase(group.get('n'))})" for name, group in items[:12]]
    more = [f"{len(items) - 12} more"] if len(items) > 12 else []
    return ", ".join([*names, *more])
