"""What the commands do, as functions for Python. A function's module is imported at its first use.

    from medr1.api import run_evaluation

    result = run_evaluation("output/results.json", data="data/tiny_vqa_ds")

workflows/README.md lists the functions, with an example of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medr1.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from medr1.chat.settings import Server
    from medr1.data.scans.options import ScanOptions
    from medr1.doctor.examination import examine
    from medr1.doctor.server import examine_server
    from medr1.documents.schemas import json_schema
    from medr1.judge.asking import Judge
    from medr1.workflows.audit import AuditResult, run_audit
    from medr1.workflows.board import run_board
    from medr1.workflows.compare import ComparisonResult, run_comparison
    from medr1.workflows.contamination import run_contamination
    from medr1.workflows.convert import WrittenItems, convert_data
    from medr1.workflows.demo import run_demo
    from medr1.workflows.evaluate import EvaluationResult, run_evaluation
    from medr1.workflows.export import Export, export_checkpoint
    from medr1.workflows.fetch import Download, fetch_from_hub
    from medr1.workflows.infer import answer_question, run_inference
    from medr1.workflows.matrix import run_matrix
    from medr1.workflows.merge import merge_adapter
    from medr1.workflows.prepare import PreparedData, prepare_data
    from medr1.workflows.reproduce import ReproductionResult, run_reproduction
    from medr1.workflows.review import adjudicate_review, start_review, summarize_review
    from medr1.workflows.review_export import ExportedReview, export_review
    from medr1.workflows.review_labels import ReviewLabels, label_review
    from medr1.workflows.rewards import score_completions
    from medr1.workflows.robustness import RobustnessResult, run_robustness
    from medr1.workflows.selection import (
        DistilledItems,
        FilteredItems,
        distill_data,
        filter_data,
    )
    from medr1.workflows.split_by_key import SplitFile, SplitFiles, split_by_key
    from medr1.workflows.train import TrainingResult, run_training
    from medr1.workflows.verify import Check, Verification, verify_checkpoint

_MODULES = {
    "medr1.chat.settings": ("Server",),
    "medr1.data.scans.options": ("ScanOptions",),
    "medr1.doctor.examination": ("examine",),
    "medr1.doctor.server": ("examine_server",),
    "medr1.documents.schemas": ("json_schema",),
    "medr1.judge.asking": ("Judge",),
    "medr1.workflows.audit": ("AuditResult", "run_audit"),
    "medr1.workflows.board": ("run_board",),
    "medr1.workflows.compare": ("ComparisonResult", "run_comparison"),
    "medr1.workflows.contamination": ("run_contamination",),
    "medr1.workflows.convert": ("WrittenItems", "convert_data"),
    "medr1.workflows.demo": ("run_demo",),
    "medr1.workflows.evaluate": ("EvaluationResult", "run_evaluation"),
    "medr1.workflows.export": ("Export", "export_checkpoint"),
    "medr1.workflows.fetch": ("Download", "fetch_from_hub"),
    "medr1.workflows.infer": ("answer_question", "run_inference"),
    "medr1.workflows.matrix": ("run_matrix",),
    "medr1.workflows.merge": ("merge_adapter",),
    "medr1.workflows.prepare": ("PreparedData", "prepare_data"),
    "medr1.workflows.reproduce": ("ReproductionResult", "run_reproduction"),
    "medr1.workflows.review": ("adjudicate_review", "start_review", "summarize_review"),
    "medr1.workflows.review_export": ("ExportedReview", "export_review"),
    "medr1.workflows.review_labels": ("ReviewLabels", "label_review"),
    "medr1.workflows.rewards": ("score_completions",),
    "medr1.workflows.robustness": ("RobustnessResult", "run_robustness"),
    "medr1.workflows.selection": (
        "DistilledItems",
        "FilteredItems",
        "distill_data",
        "filter_data",
    ),
    "medr1.workflows.split_by_key": ("SplitFile", "SplitFiles", "split_by_key"),
    "medr1.workflows.train": ("TrainingResult", "run_training"),
    "medr1.workflows.verify": ("Check", "Verification", "verify_checkpoint"),
}
"""Module -> the public names that it defines; the same as in the imports above."""

__all__ = [
    "AuditResult",
    "Check",
    "ComparisonResult",
    "DistilledItems",
    "Download",
    "EvaluationResult",
    "Export",
    "ExportedReview",
    "FilteredItems",
    "Judge",
    "PreparedData",
    "ReproductionResult",
    "ReviewLabels",
    "RobustnessResult",
    "ScanOptions",
    "Server",
    "SplitFile",
    "SplitFiles",
    "TrainingResult",
    "Verification",
    "WrittenItems",
    "adjudicate_review",
    "answer_question",
    "convert_data",
    "distill_data",
    "examine",
    "examine_server",
    "export_checkpoint",
    "export_review",
    "fetch_from_hub",
    "filter_data",
    "json_schema",
    "label_review",
    "merge_adapter",
    "prepare_data",
    "run_audit",
    "run_board",
    "run_comparison",
    "run_contamination",
    "run_demo",
    "run_evaluation",
    "run_inference",
    "run_matrix",
    "run_reproduction",
    "run_robustness",
    "run_training",
    "score_completions",
    "split_by_key",
    "start_review",
    "summarize_review",
    "verify_checkpoint",
]


__getattr__ = lazy_attributes(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted(__all__)
