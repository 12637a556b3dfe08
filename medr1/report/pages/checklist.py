"""A reporting checklist for a paper about an evaluation, filled in as far as a summary knows.

The topics are those of two published checklists, CLAIM and TRIPOD+AI, in our own words. The page
refers to the publications for the items themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from medr1.documents.metric import Missing
from medr1.documents.summary import Summary
from medr1.report.pages.methods import enumeration, sha_text
from medr1.report.pages.sanitize import interval_of, one_line, short_path
from medr1.report.terminal.tables import percent

SOURCES = (
    "CLAIM: Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in "
    "Medical Imaging (CLAIM): 2024 Update. Radiol Artif Intell 2024;6(4):e240300. "
    "doi:10.1148/ryai.240300",
    "TRIPOD+AI: Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for "
    "reporting clinical prediction models that use regression or machine learning methods. "
    "BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378",
)
"""The published checklists, as references."""

FILLED, PARTLY, OPEN = "filled", "partly", "to be filled by the authors"
"""The states of a topic."""


def checklist(summary: Summary) -> list[dict[str, str]]:
    """Topics of CLAIM (2024) and TRIPOD+AI for an evaluation: each with its state and a text.

    The text is what the summary knows about the topic, or what the authors have to add.
    """
    answered = [*_of_the_run(summary), *_of_the_numbers(summary)]
    return [
        {"topic": topic, "state": state, "text": text}
        for topic, state, text in (*answered, *((topic, OPEN, ask) for topic, ask in _OF_THE_STUDY))
    ]


_OF_THE_STUDY = (
    ("Intended use and clinical role", "Who would use the answers, when, and instead of what."),
    ("Source of the images", "Institutions, dates, scanners, public collections and versions."),
    ("Eligibility of patients and studies", "Who was included and excluded, with a flow diagram."),
    ("Reference standard", "Who set the ground truth, how, and with what agreement."),
    ("Separation from the training data", "No shared patient, study or image, and how checked."),
    ("Sample size", "Why this many questions and images; what difference could be detected."),
    ("De-identification, ethics, consent", "Approval or waiver, and how identity was removed."),
    ("Fairness", "Results by age, sex and other relevant groups, or why they are not known."),
    ("Limitations and generalisability", "Setting, prevalence, question style, number of runs."),
    ("Availability and funding", "Where code, model and data are; funding; registration."),
)
"""Topics that no results file can know, with what the authors have to write."""

Line = tuple[str, str, str]
"""Topic, state and text."""


def _of_the_run(summary: Summary) -> list[Line]:
    """The topics about model, data, prompt and software, from the run's metadata."""
    meta = summary.meta
    has_hash = {key: bool(meta.get(f"{key}_sha256")) for key in ("model", "data", "prompt")}
    model, data = short_path(meta.get("model")), short_path(meta.get("data"))
    versions = meta.get("versions")
    by_medr1 = isinstance(versions, Mapping) and "medr1" in versions
    return [
        (
            "Model, with version",
            (FILLED if has_hash["model"] else PARTLY) if model else OPEN,
            f"{model}{sha_text(meta.get('model_sha256'))}"
            if model
            else "Name, version and weights.",
        ),
        (
            "Evaluation data, with version",
            (FILLED if has_hash["data"] else PARTLY) if data else OPEN,
            f"{data}{sha_text(meta.get('data_sha256'))}" if data else "Name, version and split.",
        ),
        (
            "Prompt and decoding",
            FILLED if meta.get("prompt") and meta.get("decoding") else OPEN,
            f"Prompt {one_line(meta.get('prompt'))}; decoding and seed under “Run and data”."
            if meta.get("prompt") and meta.get("decoding")
            else "Prompt, decoding settings, seed.",
        ),
        (
            "Preparation of the images",
            # medr1 knows what it did with a file, not how the file was made
            PARTLY if by_medr1 else OPEN,
            "Decoded by medr1 to 8-bit RGB, each change noted with the item; add what was done "
            "before, such as windowing and cropping."
            if by_medr1
            else "Windowing, scaling, cropping, format.",
        ),
        (
            "Software and hardware",
            FILLED if versions and meta.get("device") else OPEN,
            f"Versions and precision under “Run and data”; device {one_line(meta.get('device'))}."
            if versions and meta.get("device")
            else "Software versions, precision, device.",
        ),
    ]


def _of_the_numbers(summary: Summary) -> list[Line]:
    """The topics about results: uncertainty, missing answers, subgroups, baselines, calibration."""
    accuracy = summary.metrics["accuracy"]
    kinds = [kind.replace("_", " ") for kind, groups in summary.groups.items() if groups]
    has_calibration = not isinstance(summary.calibration, Missing)
    return [
        (
            "Performance measures with uncertainty",
            FILLED if accuracy.ci95 else OPEN,
            f"Accuracy {percent(accuracy.value)} ({interval_of(accuracy)}), and all metrics "
            "above with 95 % CI."
            if accuracy.ci95
            else "A confidence interval for each measure.",
        ),
        (
            "Missing answers and failures",
            FILLED,
            f"Counted as wrong, none of {summary.n:,} excluded: {summary.n_unparsed:,} without a "
            f"readable answer, {summary.n_error:,} failed.",
        ),
        (
            "Subgroups",
            PARTLY if kinds else OPEN,
            f"By {enumeration([one_line(kind, 60) for kind in kinds])}; say which were planned."
            if kinds
            else "Results by the relevant groups.",
        ),
        (
            "Comparator",
            PARTLY if summary.blind else OPEN,
            "Chance and predictors that see no image; add human readers or other models."
            if summary.blind
            else "What the result is compared with.",
        ),
        (
            "Sensitivity of the result to analysis choices",
            FILLED if summary.protocols else OPEN,
            f"Accuracy under {len(summary.protocols)} extraction protocols above."
            if summary.protocols
            else "How far accuracy depends on the rules that read the answers.",
        ),
        (
            "Calibration",
            FILLED if has_calibration else OPEN,
            "Reported above." if has_calibration else "Not reported here.",
        ),
        (
            "Analysis of errors",
            PARTLY,
            "A sample of errors is shown; add an analysis by a human reader.",
        ),
    ]
