"""The definition of every number in summary.json: formula, normalisation, library, how to read it.

`explain` shows them on a terminal and as evaluate/README.md. The numbers about
calibration and abstention are defined in `definitions/trust.py`.
"""

from __future__ import annotations

from medr1.evaluate.definitions.definition import Definition
from medr1.evaluate.definitions.trust import TRUST

_SQUAD_TEXT = "SQuAD's: lower case, no ASCII punctuation, no articles, single spaces"
_OPTION_TEXT = (
    "For a question with options the text of the chosen one, else the answer as the model wrote it "
    '(without tags and "The answer is"), whatever the type of the ground truth and the protocol; '
    "no answer scores 0."
)
_TEXTS_OF_ANSWERS = f"{_SQUAD_TEXT}. {_OPTION_TEXT}"
_OWN = "none: medr1"
_SHARE = "0 to 1"
_FINDING = (
    "Positive is yes, or the text of one option among the questions that offer it. An item without "
    "an answer counts as wrong."
)
_ANSWERED = "Positive is yes, or the text of one option. Over the items that were answered so."
_PAPINENI = "Papineni et al. (2002), BLEU; Post (2018), sacrebleu"


def _bleu(k: int) -> Definition:
    """The definition of BLEU-k."""
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
    return Definition(
        f"bleu{k}",
        f"BLEU-{k}",
        f"exp(min(0, 1 - r/c)) times {precision}, counts summed over all items; c and r are the "
        "numbers of words of all answers and references. If no n-gram matches, its precision is "
        "that of 1/2 match, of 1/4 match for the next such order, and so on (smoothing exp).",
        f"Lower case, tokenizer 13a. {_OPTION_TEXT}",
        f"sacrebleu, corpus BLEU, max_ngram_order={k}; its version string is in summary.json",
        _SHARE,
        reading,
        _PAPINENI,
        ("sacrebleu",),
    )


_LIST = (
    Definition(
        "accuracy",
        "Accuracy",
        "right items / all items",
        "The verdict under the protocol (`answers.judge`). Failed, empty, ambiguous and unreadable "
        "answers count as wrong. An open answer is right where it is the same text, number or "
        "formula, claims the same findings, or states the ground truth in prose without a "
        "competing value (medr1/answers/README.md). What rules cannot decide counts as wrong, and "
        "is also counted as undecided.",
        _OWN,
        _SHARE,
        "Compare it with chance, with the best without the image, and with the accuracy under "
        "another protocol: `default` measures knowledge, `strict` also the format.",
        "medr1/answers",
    ),
    Definition(
        "macro_accuracy",
        "Macro accuracy",
        "the unweighted mean of the groups' accuracies (modality, question type, data set ...)",
        "Items without a value belong to no group.",
        _OWN,
        _SHARE,
        "Every group has the same weight, so an item of a small group counts most; in accuracy "
        "every item has the same weight.",
        "Sokolova and Lapalme (2009)",
    ),
    Definition(
        "exact_match",
        "Exact match",
        "items whose answer equals the ground truth / all items",
        f"{_SQUAD_TEXT}; letters, and ground truths of which this leaves nothing, are compared "
        f"without regard to case. {_OPTION_TEXT}",
        _OWN,
        _SHARE,
        "Stricter than accuracy: other spellings of a number, the same finding in other words, and "
        'a sentence ("Yes, there is.") for a ground truth of one word ("yes") do not count.',
        "Rajpurkar et al. (2016), SQuAD",
    ),
    Definition(
        "counting_accuracy",
        "Counting accuracy",
        "right items whose ground truth is a number / items whose ground truth is a number",
        "Numbers as decimals, from digits or words; the answer has to state exactly one number, so "
        'that "3 or 4" is none.',
        _OWN,
        _SHARE,
        "A number that is nearly right is wrong; n is the number of items whose ground truth is a "
        "number.",
        "R1-V's counting evaluation, without its <answer> pattern",
    ),
    Definition(
        "closed_accuracy",
        "Accuracy of closed questions",
        "right closed questions / closed questions",
        "A question is closed if it has options, if its ground truth is a letter, yes or no, or if "
        "the file calls it closed (answer_class). The verdict is that of accuracy. Questions with "
        "no answer, an unreadable one or a wrong one all count; LLaVA-Med's run_eval leaves a "
        "wrong yes or no out of the denominator.",
        _OWN,
        _SHARE,
        "These questions have few possible answers, so guessing alone is often right.",
        "Li et al. (2023), LLaVA-Med, but a wrong yes or no stays in the denominator",
    ),
    Definition(
        "token_f1",
        "Token F1, sets",
        "2PR / (P + R) of an item, P = |A & G| / |A|, R = |A & G| / |G| over the sets of tokens of "
        "answer A and ground truth G; then the mean over items",
        _TEXTS_OF_ANSWERS,
        _OWN,
        _SHARE,
        'Shared words, not shared meaning: "no effusion" for "effusion" has 0.67.',
        "the evaluation guide for Med-R1, section 4.c",
    ),
    Definition(
        "token_f1_multiset",
        "Token F1, multisets",
        "as token_f1, each word counted as often as it occurs",
        _TEXTS_OF_ANSWERS,
        _OWN,
        _SHARE,
        "The F1 of SQuAD and most papers; it differs from token_f1 only where words repeat.",
        "Rajpurkar et al. (2016), SQuAD",
    ),
    Definition(
        "open_recall",
        "Recall of open questions (LLaVA-Med's)",
        "tp / (tp + fn) of an item: tp the tokens of the answer that are in the ground truth, fn "
        "the tokens of the ground truth that are not in the answer, each counted as often as it "
        "occurs; then the mean over open questions. Where no token repeats: |A & G| / |G|",
        f"{_TEXTS_OF_ANSWERS} Open is every question that is not closed (see closed_accuracy). "
        "LLaVA-Med takes the whole output, VQA's normalisation and the file's label OPEN instead.",
        _OWN,
        _SHARE,
        "A long answer that lists everything reaches 1, so compare it with token_f1.",
        "Li et al. (2023), LLaVA-Med, llava/eval/run_eval.py",
    ),
    Definition(
        "rouge_l",
        "ROUGE-L",
        "2PR / (P + R) of an item, P = L / |answer|, R = L / |ground truth|, L the length of the "
        "longest common subsequence of words; then the unweighted mean over items",
        f"Lower case, letters and digits only, no stemmer. {_OPTION_TEXT}",
        "rouge-score, RougeScorer(['rougeL'], use_stemmer=False), without its random aggregator",
        _SHARE,
        "As token F1, but the order of the words counts too.",
        "Lin (2004)",
        ("rouge-score",),
    ),
    *(_bleu(k) for k in (1, 2, 3, 4)),
    Definition(
        "chrf",
        "chrF2",
        "F-score with recall weighted twice as much as precision (beta 2), of character 1- to "
        "6-grams, counts summed over all items",
        f"As written, without white space. {_OPTION_TEXT}",
        "sacrebleu, CHRF(); its version string is in summary.json",
        _SHARE,
        "Less strict than BLEU on inflected words and short answers; like BLEU it does not notice "
        "a negation.",
        "Popović (2015)",
        ("sacrebleu",),
    ),
    Definition(
        "bertscore",
        "BERTScore",
        "F of an item: each token's embedding is matched with the most similar one of the other "
        "text (cosine); P and R are the means over the tokens of the answer and of the ground "
        "truth; then the mean over items",
        "The model's own tokenizer. A letter is replaced by the text of its option; an empty text "
        "scores 0.",
        "bert-score (the extra `semantic`), a model in safetensors; model, hash, layer and "
        "rescaling are in the signature",
        "-1 to 1; unrescaled mostly 0.8 to 1",
        "No absolute score: use it only to compare systems on the same items and with the same "
        "model, since texts that contradict each other reach 0.9.",
        "Zhang et al. (2020)",
        ("bert-score", "transformers"),
    ),
    Definition(
        "bleurt",
        "BLEURT (not computed)",
        "a regression by a fine-tuned BERT",
        "-",
        "none",
        "-",
        "medr1 does not compute it: BLEURT has no maintained package on PyPI (the reference "
        "implementation is not there, and bleurt-pytorch 0.0.1 fails to import with today's "
        "transformers).",
        "Sellam et al. (2020)",
    ),
    Definition(
        "prevalence",
        "Prevalence",
        "positive items / items of the finding",
        "Positive is yes, or the text of one option, among the questions that offer it.",
        _OWN,
        _SHARE,
        "PPV and NPV depend on it: at another prevalence they have other values.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "sensitivity",
        "Sensitivity (recall)",
        "positives answered as positive / positives",
        _FINDING,
        _OWN,
        _SHARE,
        "The share of items with the finding on which the model finds it.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "specificity",
        "Specificity",
        "negatives answered as negative / negatives",
        _FINDING,
        _OWN,
        _SHARE,
        "The share of items without the finding on which the model rules it out.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "ppv",
        "Positive predictive value (precision)",
        "positives answered as positive / items answered as positive",
        _ANSWERED,
        _OWN,
        _SHARE,
        "How often a yes is right, at this prevalence and at no other.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "npv",
        "Negative predictive value",
        "negatives answered as negative / items answered as negative",
        _ANSWERED,
        _OWN,
        _SHARE,
        "How often a no is right, at this prevalence and at no other.",
        "Altman and Bland (1994)",
    ),
    Definition(
        "chance",
        "Chance",
        "the mean of 1 / (number of options)",
        "Over the items with options.",
        _OWN,
        _SHARE,
        "The expected accuracy of guessing; an accuracy near it shows nothing.",
        "medr1/data/audit/blind.py",
    ),
    Definition(
        "option_prior",
        "Baseline without the image (option prior)",
        "the accuracy of always choosing the option that, where it was offered in --train-data, "
        "was right most often: (times right + 0.5) / (times offered + 2)",
        "Options in lower case without a final period; over the items with options.",
        _OWN,
        _SHARE,
        "What can be known from the options' texts alone, without the image or the question.",
        "medr1/data/audit/blind.py",
    ),
    Definition(
        "image_gain",
        "Gain over the best without the image",
        "accuracy - accuracy of the best predictor without the image, on the items with options",
        "Paired, item by item; the best on these items of the predictors of medr1 data audit.",
        _OWN,
        "-1 to 1",
        "What the model adds to what the texts alone give; with an interval around 0 it has not "
        "shown that it uses the image.",
        "medr1/evaluate",
    ),
    Definition(
        "image_needed",
        "Accuracy where an image is needed",
        "accuracy over the items that no predictor without the image answers right where it is "
        "above chance",
        "Longest option; option prior, question lookup, text classifier fitted on --train-data. "
        "Above chance: on all items, or in a modality, question type or data set (Holm).",
        _OWN,
        _SHARE,
        "What the model can do where these predictors fail; others may still know the answer.",
        "medr1/data/audit/shortcuts.py",
    ),
    Definition(
        "ablation_gain",
        "Gain by the image",
        "accuracy - accuracy of the same model on the same items without their images",
        "Paired, item by item; the results of infer --ablate-image blank, noise or shuffle.",
        _OWN,
        "-1 to 1",
        "What the model gets right only with the image; an interval around 0 shows no use of it.",
        "medr1/evaluate/metrics/image_ablation.py",
    ),
    Definition(
        "same_answer",
        "Same answer without the image",
        "items whose extracted answer is the same with and without the image / all items",
        "An item without an answer is not the same.",
        _OWN,
        _SHARE,
        "Near 1, the image hardly changes the answers.",
        "medr1/evaluate/metrics/image_ablation.py",
    ),
    Definition(
        "wilson",
        "Wilson's interval",
        "(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
        "For shares of right and wrong items, each about an image of its own; over images instead "
        "of items where images repeat and all items are right or all are wrong.",
        "scipy, binomtest(...).proportion_ci(method='wilson')",
        "within 0 to 1",
        "It has a width at 0 and at 1 too: 20 of 20 right is 83.9 to 100 %.",
        "Wilson (1927)",
        ("scipy",),
    ),
    Definition(
        "bootstrap",
        "Clustered bootstrap interval",
        "the 2.5 and 97.5 percentiles of the number over 2000 resamples, each drawing as many "
        "images as there are, with replacement, with all their items",
        "The seed is --seed. Images, or what --cluster-by names, such as the patient.",
        "numpy",
        "that of the number",
        "How much the number would vary with other images of the same kind; with fewer than 30 "
        "images it is too narrow, and where all resamples are equal there is none.",
        "Efron (1979); Field and Welsh (2007) for clusters",
        ("numpy",),
    ),
    Definition(
        "mcnemar",
        "McNemar's exact test",
        "the two-sided binomial p value (probability 1/2) of the number of items that one run "
        "alone has right, among those that exactly one of the two has right",
        "The same items of two runs, item by item. It treats items as independent: where images "
        "repeat, the test that flips the signs of whole images is used instead.",
        "scipy, binomtest",
        _SHARE,
        "How often a difference this large occurs by chance alone if the two are equally good; it "
        "does not say how large the difference is, which the interval does.",
        "McNemar (1947)",
        ("scipy",),
    ),
    Definition(
        "holm",
        "Holm's correction",
        "p values in rising order times m, m - 1, ... 1, each at least the one before, at most 1; "
        "m is the number of p values",
        "Over all groups that are compared at once.",
        _OWN,
        _SHARE,
        "The probability of even one false positive among all groups stays below the level.",
        "Holm (1979)",
    ),
)

DEFINITIONS = {definition.name: definition for definition in (*_LIST, *TRUST)}
"""Name of a number -> its definition, in the order of the README."""
