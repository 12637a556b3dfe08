"""judgements.csv: the judgements of a review as a table."""

from __future__ import annotations

from medr1.report.csv_tables import csv_text
from medr1.review.rubric import rubric_of
from medr1.review.store import Store

_FIRST = ("reader", "item_id", "kind", "automatic_verdict", "look", "action")
_LAST = ("comment", "seconds", "written_at")


def judgements_csv(store: Store) -> str:
    """The judgements that count, one in each row; `look` is 2 for a case that came back."""
    keys = [question.key for question in rubric_of(is_comparison=store.study.is_comparison)]
    items = {item.place: item for item in store.items()}
    rows: list[dict[str, object]] = [
        {
            "reader": judgement.reader,
            "item_id": items[judgement.place].item_id,
            "kind": items[judgement.place].kind,
            "automatic_verdict": "right" if items[judgement.place].is_right else "wrong",
            "look": 2 if judgement.is_repeat else 1,
            "action": judgement.action,
            **{key: judgement.ratings.get(key, "") for key in keys},
            "comment": judgement.comment,
            "seconds": round(judgement.seconds, 1),
            "written_at": judgement.written_at,
        }
        for judgement in store.judgements()
    ]
    return csv_text(rows, (*_FIRST, *keys, *_LAST))
