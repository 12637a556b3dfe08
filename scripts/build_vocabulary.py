"""Make medr1/answers/vocabulary.tsv: names that mean the same in an answer to an imaging question.

    python -m venv vocabulary-env && vocabulary-env/bin/pip install simple-icd-10-cm==1.5.0
    vocabulary-env/bin/python scripts/build_vocabulary.py

Rows whose source has `medr1` are written by hand: they are read from the table, kept, and changed
there. `broader` names terms of the table of which a row is a part or a kind. The other rows are
taken anew from ICD-10-CM: scripts/vocabulary_icd10cm.tsv lists the codes and the names of each that
were read one by one and mean the same. A name that the installed release does not have stops the
run. A taken row that shares a name with one of ours is merged into it. A second run gives the same
bytes.

Licences. ICD-10-CM (National Center for Health Statistics and Centers for Medicare and Medicaid
Services) is a work of the United States government; the package simple-icd-10-cm is MIT. Of both
only names of diseases are taken. Why nothing is taken from the Human Phenotype Ontology, whose
licence does not allow changed content, is in medr1/answers/VOCABULARY.md.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "medr1" / "answers" / "vocabulary.tsv"
PICKS = HERE / "vocabulary_icd10cm.tsv"
COLUMNS = ("kind", "term", "synonyms", "broader", "source")
SPELLING = "spelling"
KINDS = {
    "cell", "color", "density", "device", "diagnosis", "enhancement", "finding", "function",
    "modality", "organ", "phase", "place", "plane", "position", "relation", "sequence",
    "severity", "sex", "shape", "side", "spelling", "stain", "state", "texture", "view", "window",
}  # fmt: skip
OURS = "medr1"
BETWEEN_NAMES = " | "
BETWEEN_SOURCES = "; "

_ASIDE = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
_EPONYM = re.compile(
    r"('s|(?<=s)')(?= (?:anemia|chorea|disease|esophagus|granulomatosis|joint|ophthalmopathy"
    r"|orbitopathy|syndrome|thyroiditis)\b)"
)


@dataclass
class Row:
    """Names of one thing; the first is the preferred one."""

    kind: str
    names: list[str]
    sources: list[str] = field(default_factory=list)
    broader: list[str] = field(default_factory=list)

    def add_names(self, names: Iterable[str]) -> None:
        known = {key(name) for name in self.names}
        for name in names:
            if key(name) not in known:
                known.add(key(name))
                self.names.append(name)


def key(name: str) -> str:
    """What two spellings of one name share."""
    return " ".join(name.split()).casefold()


# --- reading ----------------------------------------------------------------------------------


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def hand_written(path: Path) -> list[Row]:
    """The rows of the table that are ours, without the codes that a merge added to their source."""
    rows = []
    for line in read_rows(path):
        if OURS in line["source"].split(BETWEEN_SOURCES):
            synonyms = line["synonyms"].split(BETWEEN_NAMES) if line["synonyms"] else []
            broader = line["broader"].split(BETWEEN_NAMES) if line["broader"] else []
            rows.append(Row(line["kind"], [line["term"], *synonyms], [OURS], broader))
    return rows


def taken(path: Path) -> list[Row]:
    """A row for each code of the list, each name of which the installed release has."""
    rows, unknown = [], []
    for line in read_rows(path):
        names = line["names"].split(BETWEEN_NAMES)
        offered = {key(name) for name in official_names(line["code"])}
        unknown += [f"{line['code']}: {name}" for name in names if key(name) not in offered]
        row = Row(line["kind"], names, [f"ICD-10-CM {line['code']}"])
        row.add_names(variant for name in names for variant in variants(name))
        rows.append(row)
    if unknown:
        sys.exit(f"{path.name} has names that this release lacks:\n" + "\n".join(unknown))
    return rows


def official_names(code: str) -> Iterator[str]:
    """The title and the inclusion terms, with, without, and as what stands in brackets."""
    import simple_icd_10_cm as icd

    if not icd.is_valid_item(code):
        return
    title = icd.get_description(code, prioritize_blocks=False)
    for text in (title, *icd.get_inclusion_term(code)):
        yield text
        yield _ASIDE.sub(" ", text)
        yield _ASIDE.sub(lambda aside: aside[1] or aside[2], text)
        for aside in _ASIDE.finditer(text):
            yield aside[1] or aside[2]


def variants(name: str) -> Iterator[str]:
    """The name without the genitive of an eponym ("Crohn disease"), without accents, and both."""
    for spelled in (name, _EPONYM.sub("", name)):
        yield spelled
        decomposed = unicodedata.normalize("NFD", spelled)
        yield "".join(c for c in decomposed if not unicodedata.combining(c))


# --- merging ----------------------------------------------------------------------------------


def merge(ours: list[Row], others: list[Row]) -> list[Row]:
    """Our rows, with the names of the taken ones that share a name; then the taken ones left.

    A row that has a word of which we list two spellings has both.
    """
    rows = list(ours)
    owners = {key(name): row for row in ours if row.kind != SPELLING for name in row.names}
    for row in others:
        found: list[Row] = []
        for name in row.names:
            owner = owners.get(key(name))
            if owner is not None and all(owner is not one for one in found):
                found.append(owner)
        if len(found) > 1:
            joined = ", ".join(owner.names[0] for owner in found)
            sys.exit(f"{row.sources[0]} would join rows that are apart: {joined}")
        if not found:
            found = [row]
            rows.append(row)
        else:
            found[0].add_names(row.names)
            found[0].sources += row.sources
        owners.update((key(name), found[0]) for name in row.names)
    for spelling in ours:
        for name in spelling.names if spelling.kind == SPELLING else ():
            if key(name) in owners:
                owners[key(name)].add_names(spelling.names)
    return rows


def problems(rows: list[Row]) -> Iterator[str]:
    """What is wrong with a table, in words.

    A name stands in one row. A spelling may stand in another row too, if that has all of it.
    """
    words = [row for row in rows if row.kind != SPELLING]
    spellings = [row for row in rows if row.kind == SPELLING]
    for group in (words, spellings):
        counts = Counter(key(name) for row in group for name in row.names)
        yield from (f"{name!r} stands {count} times" for name, count in counts.items() if count > 1)
    owners = {key(name): {key(other) for other in row.names} for row in words for name in row.names}
    for row in spellings:
        keys = {key(name) for name in row.names}
        if any(not keys <= owners.get(one, keys) for one in keys):
            yield f"the spelling {row.names[0]!r} and the row that has it too differ"
    terms = {row.names[0] for row in words}
    for row in words:
        yield from (
            f"{one!r}, broader than {row.names[0]!r}, is no term" for one in {*row.broader} - terms
        )
    for row in rows:
        if row.kind not in KINDS:
            yield f"{row.names[0]!r} has an unknown kind: {row.kind!r}"
        if row.names[0] != row.names[0].lower():
            yield f"the term {row.names[0]!r} is not in lower case"
        if any(not name or name != " ".join(name.split()) or "|" in name for name in row.names):
            yield f"a name of {row.names[0]!r} is empty, or has a bar or spaces too many"


def table_text(rows: list[Row]) -> str:
    """The table, sorted by kind and term."""
    lines = ["\t".join(COLUMNS)]
    for row in sorted(rows, key=lambda row: (row.kind, row.names[0])):
        term, *synonyms = row.names
        source = BETWEEN_SOURCES.join(row.sources)
        names, broader = BETWEEN_NAMES.join(synonyms), BETWEEN_NAMES.join(row.broader)
        lines.append("\t".join((row.kind, term, names, broader, source)))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the table of names that mean the same.")
    parser.add_argument("--table", type=Path, default=TABLE, help="read and written")
    parser.add_argument("--picks", type=Path, default=PICKS, help="the names of ICD-10-CM to take")
    arguments = parser.parse_args()
    rows = merge(hand_written(arguments.table), taken(arguments.picks))
    wrong = list(problems(rows))
    if wrong:
        sys.exit("The table was not written:\n" + "\n".join(wrong))
    text = table_text(rows)
    arguments.table.write_text(text, encoding="utf-8", newline="\n")
    for kind, count in sorted(Counter(row.kind for row in rows).items()):
        print(f"{kind:10}{count:6}")
    print(f"{'rows':10}{len(rows):6}, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
