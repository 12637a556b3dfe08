"""How often completions contradict what is known of their items, by kind and by severity."""

from __future__ import annotations

import numpy as np
from msgspec import UNSET, UnsetType

from medr1.claims import KINDS, SEVERITIES, SEVERITY
from medr1.documents.hallucination import Hallucination, HallucinationKind
from medr1.documents.metric import Metric
from medr1.evaluate.coded import CodedColumn
from medr1.evaluate.estimates import mean_metric
from medr1.evaluate.item_claims import ItemClaims
from medr1.evaluate.judging import Judged

NO_CLAIM = "no completion has such a claim that can be checked"


def hallucination(judged: Judged) -> Hallucination | UnsetType:
    """The part `hallucination` of summary.json; UNSET where claims were not read.

    Args:
        judged: The items, judged with `Settings.claims` if the part is wanted.
    """
    claims = judged.columns.claims
    if claims is None:
        return UNSET
    counts = np.bincount(claims.codes, minlength=len(claims.values))

    def total(values: list[int]) -> int:
        return int(np.dot(counts, np.array(values, dtype=np.int64))) if values else 0

    return Hallucination(
        rate=_rate(judged, claims, KINDS),
        kinds={
            kind: HallucinationKind(
                severity=SEVERITY[kind],
                rate=_rate(judged, claims, (kind,)),
                n_items=total([kind in item.contradicted for item in claims.values]),
                n_claims_checked=total([dict(item.checked).get(kind, 0) for item in claims.values]),
            )
            for kind in KINDS
        },
        severities={
            severity: _rate(judged, claims, [k for k in KINDS if SEVERITY[k] == severity])
            for severity in SEVERITIES
        },
        n_with_text=total([item.has_text for item in claims.values]),
        n_claims=total([item.n_claims for item in claims.values]),
        n_claims_checked=total([item.n_checked for item in claims.values]),
    )


def _rate(
    judged: Judged, claims: CodedColumn[ItemClaims], kinds: tuple[str, ...] | list[str]
) -> Metric:
    """The share of items with a contradiction of the kinds, among those with a claim of them."""
    values = claims.map(lambda item: not item.contradicted.isdisjoint(kinds))
    checkable = claims.where(lambda item: any(kind in kinds for kind, _ in item.checked))
    return mean_metric(values, judged, checkable, NO_CLAIM)
