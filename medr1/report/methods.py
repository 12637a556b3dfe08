"""A methods paragraph for a paper, and a checklist, from what a summary knows.

What it does not know stays an explicit gap: nothing is guessed, and nothing is claimed of how the
data were collected. The checklist names topics in our own words and leads to the published lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medr1.report.tables import percent
from medr1.report.visible import interval, line, short_path

SOURCES = (
    "CLAIM: Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in "
    "Medical Imaging (CLAIM): 2024 Update. Radiol Artif Intell 2024;6(4):e240300. "
    "doi:10.1148/ryai.240300",
    "TRIPOD+AI: Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for "
    "reporting clinical prediction models that use regression or machine learning methods. "
    "BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378",
)

METRIC_WORDS = {
    "accuracy": ("accuracy", "share of questions answered rightly under the protocol"),
    "exact_match": ("exact match", "same letter, or same text after SQuAD's normalisation"),
    "counting_accuracy": ("counting accuracy", "accuracy where the right answer is a number"),
    "token_f1": ("token F1 (sets)", "overlap of the answers' different words"),
    "token_f1_multiset": ("token F1 (multisets)", "overlap of words, repeated ones counted"),
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
    "authors": "the extraction rules of the original Med-R1 scripts were applied",
    "authors-nothink": "the extraction rules of the original Med-R1 scripts without reasoning "
    "were applied",
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
    asked = f"The evaluation comprised {_number(n)} questions"
    asked += f" about {about}" if about else ""
    data = short_path(meta.get("data"))
    asked += f" from {data}" if data else ""
    found = [_said(asked + _hash(meta.get("data_sha256")) + ".")]
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
    found = [_said(f"The model was {model}{_hash(meta.get('model_sha256'))}.")]
    if prompt := meta.get("prompt"):
        found.append(_said(f" The prompt was “{line(prompt)}”{_hash(meta.get('prompt_sha256'))}."))
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
        found.append(_said(f" Secondary metrics were {_listed(others)}."))
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
    if summary.get("looking"):
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
    text = f"Accuracy was {percent(accuracy['value'])}{bounds}, n = {_number(accuracy.get('n'))}."
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
            ("n_truncated", "were cut off at the token limit"),
            ("n_error", "questions failed"),
        )
        if isinstance(summary.get(key), int)
    ]
    text += f" {_listed(lost)}." if lost else ""
    gap = [] if blind.get("chance") is not None else [_gap("what accuracy is held against")]
    return [_said(text), *gap]


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def _hash(value: Any) -> str:
    return f" (SHA-256 {line(value)[:12]})" if value else ""


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _named_counts(groups: Mapping[str, Any] | None) -> str:
    """ "CT (12), MRI (8)" of the first dozen."""
    named = list((groups or {}).items())
    shown = [f"{line(name, 60)} ({_number(group.get('n'))})" for name, group in named[:12]]
    more = [f"{len(named) - 12} more"] if len(named) > 12 else []
    return ", ".join([*shown, *more])


# --- the checklist ----------------------------------------------------------------------------

FILLED, PARTLY, OPEN = "filled", "partly", "to be filled by the authors"


def checklist(summary: Summary) -> list[dict[str, str]]:
    """Topics of CLAIM (2024) and TRIPOD+AI that bear on an evaluation, filled as far as known."""
    found = [*_of_the_run(summary), *_of_the_numbers(summary)]
    return [
        {"topic": topic, "state": state, "text": text}
        for topic, state, text in (*found, *((topic, OPEN, ask) for topic, ask in _OF_THE_STUDY))
    ]


_OF_THE_STUDY = (
    ("Intended use and clinical role", "Who would use the answers, when, and instead of what."),
    ("Source of the images", "Institutions, dates, scanners, public collections and versions."),
    ("Eligibility of patients and studies", "Who was included and excluded, with a flow diagram."),
    ("Reference standard", "Who set the reference answers, how, and with what agreement."),
    ("Separation from the training data", "No shared patient, study or image, and how checked."),
    ("Sample size", "Why this many questions and images; what difference could be found."),
    ("De-identification, ethics, consent", "Approval or waiver, and how identity was removed."),
    ("Fairness", "Results by age, sex and other groups that matter, or why they are not known."),
    ("Limitations and generalisability", "Setting, prevalence, question style, one run or many."),
    ("Availability and funding", "Where code, model and data are; funding; registration."),
)

Line = tuple[str, str, str]


def _of_the_run(summary: Summary) -> list[Line]:
    meta = summary.get("meta") or {}
    hashed = {key: bool(meta.get(f"{key}_sha256")) for key in ("model", "data", "prompt")}
    model, data = short_path(meta.get("model")), short_path(meta.get("data"))
    versions = meta.get("versions")
    ours = isinstance(versions, Mapping) and "medr1" in versions
    return [
        (
            "Model, with version",
            (FILLED if hashed["model"] else PARTLY) if model else OPEN,
            f"{model}{_hash(meta.get('model_sha256'))}" if model else "Name, version and weights.",
        ),
        (
            "Evaluation data, with version",
            (FILLED if hashed["data"] else PARTLY) if data else OPEN,
            f"{data}{_hash(meta.get('data_sha256'))}" if data else "Name, version and split.",
        ),
        (
            "Prompt and decoding",
            FILLED if meta.get("prompt") and meta.get("decoding") else OPEN,
            f"Prompt {line(meta.get('prompt'))}; decoding and seed in the manifest above."
            if meta.get("prompt") and meta.get("decoding")
            else "Prompt, decoding settings, seed.",
        ),
        (
            "Preparation of the images",
            PARTLY if ours else OPEN,
            "Decoded by medr1 to 8-bit RGB, each change noted with the item; say what was done "
            "before, such as windowing and cropping."
            if ours
            else "Windowing, scaling, cropping, format.",
        ),
        (
            "Software and hardware",
            FILLED if versions and meta.get("device") else OPEN,
            f"Versions and precision in the manifest; device {line(meta.get('device'))}."
            if versions and meta.get("device")
            else "Software versions, precision, device.",
        ),
    ]


def _of_the_numbers(summary: Summary) -> list[Line]:
    accuracy = (summary.get("metrics") or {}).get("accuracy") or {}
    kinds = [str(k).replace("_", " ") for k, g in (summary.get("groups") or {}).items() if g]
    blind, n = summary.get("blind"), summary.get("n")
    protocols = summary.get("protocols")
    calibration = (summary.get("calibration") or {}).get("value", summary.get("calibration"))
    return [
        (
            "Performance measures with uncertainty",
            FILLED if accuracy.get("ci95") else OPEN,
            f"Accuracy {percent(accuracy.get('value'))} ({interval(accuracy)}), and all metrics "
            "above with 95 % intervals."
            if accuracy.get("ci95")
            else "An interval for each measure.",
        ),
        (
            "Missing answers and failures",
            FILLED if isinstance(summary.get("n_unparsed"), int) else OPEN,
            f"Counted as wrong, none of {_number(n)} excluded: {_number(summary['n_unparsed'])} "
            f"without a readable answer, {_number(summary.get('n_error'))} failed."
            if isinstance(summary.get("n_unparsed"), int)
            else "How many answers were missing, and how they were counted.",
        ),
        (
            "Subgroups",
            PARTLY if kinds else OPEN,
            f"By {_listed([line(kind, 60) for kind in kinds])}; say which were planned."
            if kinds
            else "Results by the groups that matter.",
        ),
        (
            "Comparator",
            PARTLY if blind else OPEN,
            "Guessing and the options without the image; add readers or other models."
            if blind
            else "What the result is held against.",
        ),
        (
            "Sensitivity of the result to analysis choices",
            FILLED if protocols else OPEN,
            f"Accuracy under {len(protocols)} extraction protocols above."
            if protocols
            else "How far the score depends on how answers are read.",
        ),
        (
            "Calibration",
            FILLED if calibration else OPEN,
            "Reported above." if calibration else "Not reported here.",
        ),
        ("Analysis of errors", PARTLY, "A sample of errors is shown; add a reader's analysis."),
    ]
