"""The methods and results paragraphs for a paper, written from what a summary knows.

What the summary does not know becomes a visible gap, such as "[prompt]", that the authors fill in.
Nothing is guessed, and nothing is claimed about how the data were collected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from medr1.documents.metric import Missing
from medr1.documents.review import ExpertReview
from medr1.documents.summary import Group, Summary
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
_EXACTLY = "without approximate matching and without random choice"
_NEAREST = (
    "which take the option with the most similar letters where an answer names none, as the code "
    "of this project does"
)
_HOW = {"medevalkit": _NEAREST, "omnimedvqa": _NEAREST}
"""Protocol -> how answers are matched, for those that match approximately."""


class Segment(NamedTuple):
    """A piece of a paragraph."""

    text: str
    gap: bool
    """Whether it is a gap for the authors."""


def _text(text: str) -> Segment:
    return Segment(text, gap=False)


def _gap(text: str) -> Segment:
    return Segment(f"[{text}]", gap=True)


def methods_text(summary: Summary) -> list[dict[str, object]]:
    """Four paragraphs, each with a title and segments: text, or gaps for the authors."""
    return [
        {"title": "Data", "segments": _data(summary)},
        {"title": "Model and inference", "segments": _inference(summary)},
        {"title": "Outcome and statistical analysis", "segments": _analysis(summary)},
        {"title": "Result", "segments": _result(summary)},
    ]


def question_subjects(summary: Summary) -> str:
    """What the questions are about: "830 images" or "120 patients"."""
    n = summary.clusters.n
    return f"{n:,} {one_line(summary.clusters.unit)}{'s' * (n != 1)}"


def _data(summary: Summary) -> list[Segment]:
    meta = summary.meta
    sentence = f"The evaluation comprised {summary.n:,} questions"
    sentence += f" about {question_subjects(summary)}"
    data = short_path(meta.get("data"))
    sentence += f" from {data}" if data else ""
    segments = [_text(sentence + sha_text(meta.get("data_sha256")) + ".")]
    for kind, words in (("dataset", "Data sets"), ("modality", "Modalities")):
        if names := _groups_with_counts(summary.groups.get(kind, {})):
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
    meta = summary.meta
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
    segments += _hardware_and_software(meta)
    return [*segments, _gap("how and on what data the model was trained")]


def _hardware_and_software(meta: Mapping[str, object]) -> list[Segment]:
    versions, server = meta.get("versions"), meta.get("server")
    if not meta.get("device") or not isinstance(versions, Mapping) or not versions:
        return [_gap("hardware, numerical precision and software versions")]
    software = ", ".join(f"{one_line(name)} {one_line(v)}" for name, v in versions.items())
    if isinstance(server, Mapping):
        name = f"{one_line(server['software'])}; " if server.get("software") else ""
        return [
            _text(f" It ran on a server ({name}{software})."),
            _gap("hardware and numerical precision of the server"),
        ]
    precision = f" in {one_line(meta['dtype'])}" if meta.get("dtype") else ""
    if meta.get("quantization"):
        precision += f", with a language model quantized to {one_line(meta['quantization'])}"
    return [_text(f" It ran on {one_line(meta['device'])}{precision} ({software}).")]


def _decoding(meta: Mapping[str, object]) -> Segment:
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


def _further_answers(decoding: Mapping[str, object]) -> str:
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

    rule, protocol = _PROTOCOL_WORDS.get(summary.protocol), one_line(summary.protocol)
    segments = [
        _text(
            "The primary outcome was accuracy, the share of questions answered correctly. Answers "
            f"were read from the completions by fixed rules (protocol “{protocol}”"
            + (f": {rule})" if rule else ")")
            + f", {_HOW.get(summary.protocol, _EXACTLY)}. No question was "
            "excluded: completions without a readable answer and questions that failed for "
            "technical reasons counted as wrong. The analysis was done with medr1 "
            f"{__version__}."
        )
    ]
    secondary = [
        METRICS[name].label if name in METRICS else one_line(name)
        for name, metric in summary.metrics.items()
        if name != "accuracy" and metric.value is not None
    ]
    if secondary:
        segments.append(_text(f" Secondary metrics were {enumeration(secondary)}."))
        segments += _texts_method(summary)
    segments += _interval_method(summary)
    if summary.findings:
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
    names = [name for name, metric in summary.metrics.items() if metric.signature is not None]
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


def _review_method(review: ExpertReview) -> str:
    """The sentence on a review by experts."""
    readers = "simulated readers" if review.is_simulated else "experts"
    return (
        f" {review.n_readers:,} {readers} judged {review.n_judged:,} sampled answers; the accuracy "
        "was corrected by their verdicts (prediction-powered inference, Angelopoulos et al., 2023)."
    )


def _trust_method(summary: Summary) -> list[Segment]:
    """How calibration, abstention, ablation, ensembles and robustness were assessed, if at all."""
    calibration, selective = summary.calibration, summary.selective
    segments = []
    if not isinstance(calibration, Missing):
        text = (
            " Calibration of the confidence was assessed by the expected calibration error (15 "
            "bins) together with its value by chance in a calibrated model, a debiased error "
            "(Kumar et al., 2019) with an interval by a noncentral chi-square, the Brier score and "
            "its decomposition, the log-likelihood of the correct option and the AUROC of "
            "correctness"
        )
        is_scaled = not isinstance(calibration.temperature, Missing)
        text += "; a temperature was fitted on held-out questions." if is_scaled else "."
        segments.append(_text(text))
    if not isinstance(selective, Missing):
        text = " Selective prediction was assessed by the area under the risk-coverage curve"
        if not isinstance(selective.deferral, Missing):
            text += "; the confidence threshold below which questions are deferred was chosen by "
            text += "Learn then Test on held-out questions"
        if not isinstance(selective.conformal, Missing):
            text += "; prediction sets are split conformal, with one threshold for all questions "
            text += "and with one for each modality"
        segments.append(_text(f"{text}."))
    if summary.token_uncertainty:
        text = (
            " The variance of the token log-probabilities and their shift without the image (after "
            "CEBaG, arXiv 2603.21693) were assessed by the AUROC of wrong answers."
        )
        segments.append(_text(text))
    if summary.reasoning_use:
        edits = ", ".join(one_line(part.edit, 20) for part in summary.reasoning_use)
        text = f" The model answered again after its own reasoning had been edited ({edits}; after "
        segments.append(_text(f"{text}Lanham et al., 2023)."))
    if summary.ablations:
        kinds = ", ".join(one_line(ablation.ablation, 20) for ablation in summary.ablations)
        segments.append(_text(f" The same questions were asked without their images ({kinds})."))
    if judge := summary.judge:
        segments.append(
            _text(
                f" A model, {one_line(judge.model, 100)}, also judged {judge.n_asked:,} answers to "
                "open questions with a fixed prompt"
                f"{sha_text(judge.prompt_sha256)} at temperature 0; its verdicts are reported "
                "beside the accuracy."
            )
        )
    if summary.review:
        segments.append(_text(_review_method(summary.review)))
    if checks := summary.reasoning:
        text = f" The {checks.n:,} reasonings were compared with their answers by rules, and their "
        segments.append(_text(f"{text}arithmetic was recomputed (medr1.reasoning)."))
    if ensemble := summary.ensemble:
        segments.append(
            _text(
                f" The answers of {len(ensemble.members)} results files were combined by majority "
                "vote and by the mean of the option probabilities."
            )
        )
    if summary.robustness:
        segments.append(_text(" Robustness was measured as described in robustness.html."))
    return segments


def _interval_method(summary: Summary) -> list[Segment]:
    """Which confidence intervals accuracy has, and what they resample."""
    accuracy, intervals = summary.metrics["accuracy"], summary.intervals
    method = accuracy.method or ""
    if not accuracy.ci95:
        return [_gap("method of the confidence intervals")]
    if method == "wilson":
        return [_text(" 95 % confidence intervals of accuracy are Wilson score intervals.")]
    # "bootstrap over patients" -> "patients"
    unit = re.sub(r"^.* over ", "", method) if " over " in method else "images"
    return [
        _text(
            f" 95 % confidence intervals are percentile bootstrap intervals that resample "
            f"{one_line(unit)} rather than questions, since questions about one of them are not "
            "independent; where all answers have the same score, Wilson score intervals over them."
        ),
        _text(
            f" The bootstrap used {intervals.num_resamples:,} resamples and seed {intervals.seed}."
        ),
    ]


def _result(summary: Summary) -> list[Segment]:
    accuracy, blind = summary.metrics["accuracy"], summary.blind
    if accuracy.value is None:
        return [_gap("accuracy could not be computed")]
    bounds = f" (95 % CI {interval_of(accuracy)})" if accuracy.ci95 else ""
    text = f"Accuracy was {percent(accuracy.value)}{bounds}, n = {accuracy.n:,}."
    has_chance = blind is not None and blind.chance is not None
    if blind is not None and blind.chance is not None:
        text += f" Chance accuracy (random guessing) is {percent(blind.chance)}"
        if (best := blind.best).value is not None:
            text += f", that of the best predictor without the image {percent(best.value)}"
            text += f" ({interval_of(best)})" if best.ci95 else ""
        text += "."
    counts = (
        f"{summary.n_unparsed:,} completions had no readable answer",
        f"{summary.n_refused:,} completions declined to answer",
        f"{summary.n_undecided:,} answers could not be judged by the rules",
        f"{summary.n_truncated:,} were cut off at the token limit",
        f"{summary.n_error:,} questions failed",
    )
    text += f" {enumeration(counts)}."
    gap = [] if has_chance else [_gap("what the accuracy is compared with")]
    return [_text(text), *gap]


def sha_text(value: object) -> str:
    """The first digits of a SHA-256 in brackets, with a blank before; empty if there is none."""
    return f" (SHA-256 {one_line(value)[:12]})" if value else ""


def enumeration(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _groups_with_counts(groups: Mapping[str, Group]) -> str:
    """ "CT (12), MRI (8)": the first dozen groups, each with its number of questions."""
    items = list(groups.items())
    names = [f"{one_line(name, 60)} ({group.n:,})" for name, group in items[:12]]
    more = [f"{len(items) - 12} more"] if len(items) > 12 else []
    return ", ".join([*names, *more])
