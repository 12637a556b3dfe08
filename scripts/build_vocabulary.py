"""Make medr1/answers/vocabulary.tsv: names with the same meaning in answers about images.

    python -m venv vocabulary-env && vocabulary-env/bin/pip install simple-icd-10-cm==1.5.0
    vocabulary-env/bin/python scripts/build_vocabulary.py

Rows whose source has `medr1` are written by hand, in the table itself; they stay as they are.
`broader` lists terms of the table of which a row is a part or a kind. The other rows are made anew
from ICD-10-CM: scripts/vocabulary_icd10cm.tsv lists its codes, and for each the names that were
read one by one and have the same meaning. The run stops if the installed release lacks one of these
names. A row from ICD-10-CM that shares a name with a row written by hand is merged into that row. A
second run writes the same bytes.

Licences. ICD-10-CM (National Center for Health Statistics and Centers for Medicare and Medicaid
Services) is a work of the United States government; the package simple-icd-10-cm has the MIT
licence. Only names of diseases are used of both. medr1/answers/VOCABULARY.md tells why nothing is
used of the Human Phenotype Ontology, whose licence does not allow changed content.
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
"""The kind of rows with two spellings of one word."""
KINDS = {
    "cell", "color", "density", "device", "diagnosis", "enhancement", "finding", "function",
    "modality", "organ", "phase", "place", "plane", "position", "relation", "sequence",
    "severity", "sex", "shape", "side", "spelling", "stain", "state", "texture", "view", "window",
}  # fmt: skip
OURS = "medr1"
"""The source of rows that are written by hand."""
BETWEEN_NAMES = " | "
BETWEEN_SOURCES = "; "

_ASIDE = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]")
_EPONYM = re.compile(
    r"('s|(?<=s)')(?= (?:anemia|chorea|disease|esophagus|granulomatosis|joint|ophthalmopathy"
    r"|orbitopathy|syndrome|thyroiditis)\b)"
)


@dataclass
class Row:
    """A row of the table: names with the same meaning."""

    kind: str
    """One of `KINDS`."""
    names: list[str]
    """The term, which is the preferred name, then its synonyms."""
    sources: list[str] = field(default_factory=list)
    broader: list[str] = field(default_factory=list)
    """Terms of the rows of which this one is a part or a kind."""

    def add_names(self, names: Iterable[str]) -> None:
        """Add the names that the row does not have yet."""
        keys = {key(name) for name in self.names}
        for name in names:
            if key(name) not in keys:
                keys.add(key(name))
                self.names.append(name)


def key(name: str) -> str:
    """The name without differences of case and blanks, to compare names."""
    return " ".join(name.split()).casefold()


# --- reading ----------------------------------------------------------------------------------


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a TSV file by column name."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def hand_written(path: Path) -> list[Row]:
    """The rows written by hand, without the ICD-10-CM codes that an earlier run has added."""
    rows = []
    for line in read_rows(path):
        if OURS in line["source"].split(BETWEEN_SOURCES):
            synonyms = line["synonyms"].split(BETWEEN_NAMES) if line["synonyms"] else []
            broader = line["broader"].split(BETWEEN_NAMES) if line["broader"] else []
            rows.append(Row(line["kind"], [line["term"], *synonyms], [OURS], broader))
    return rows


def icd_rows(path: Path) -> list[Row]:
    """A row for each code of the list; ends the run if the release lacks one of its names."""
    rows, missing = [], []
    for line in read_rows(path):
        names = line["names"].split(BETWEEN_NAMES)
        official_keys = {key(name) for name in official_names(line["code"])}
        missing += [f"{line['code']}: {name}" for name in names if key(name) not in official_keys]
        row = Row(line["kind"], names, [f"ICD-10-CM {line['code']}"])
        row.add_names(variant for name in names for variant in variants(name))
        rows.append(row)
    if missing:
        sys.exit(
            f"{path.name} has names that the installed release of ICD-10-CM lacks. "
            "Remove or correct them:\n" + "\n".join(missing)
        )
    return rows


def official_names(code: str) -> Iterator[str]:
    """The title and inclusion terms of a code: each as it is, without the text in brackets, without
    only the brackets, and the text in brackets alone."""
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
    """The name as it is, without accents, without an eponym's 's ("Crohn disease"), and both."""
    for variant in (name, _EPONYM.sub("", name)):
        yield variant
        decomposed = unicodedata.normalize("NFD", variant)
        yield "".join(c for c in decomposed if not unicodedata.combining(c))


# --- merging ----------------------------------------------------------------------------------


def merge(own_rows: list[Row], icd: list[Row]) -> list[Row]:
    """Merge each row of ICD-10-CM into the row with a name in common, or append it.

    Then a row that has a word with two spellings (a row of kind `SPELLING`) gets both.

    Args:
        own_rows: The rows written by hand, which get the names and sources.
        icd: The rows of ICD-10-CM.
    """
    rows = list(own_rows)
    owners = {key(name): row for row in own_rows if row.kind != SPELLING for name in row.names}
    for row in icd:
        row_owners: list[Row] = []
        for name in row.names:
            owner = owners.get(key(name))
            if owner is not None and all(owner is not earlier for earlier in row_owners):
                row_owners.append(owner)
        if len(row_owners) > 1:
            terms = ", ".join(owner.names[0] for owner in row_owners)
            sys.exit(
                f"{row.sources[0]} has names of several rows, which have different meanings: "
                f"{terms}. Remove some of its names from the list."
            )
        if not row_owners:
            row_owners = [row]
            rows.append(row)
        else:
            row_owners[0].add_names(row.names)
            row_owners[0].sources += row.sources
        owners.update((key(name), row_owners[0]) for name in row.names)
    for spelling in own_rows:
        for name in spelling.names if spelling.kind == SPELLING else ():
            if key(name) in owners:
                owners[key(name)].add_names(spelling.names)
    return rows


def problems(rows: list[Row]) -> Iterator[str]:
    """The faults of a table, each as a sentence.

    A name may be in one row only. The names of a spelling row may also be in another row, if that
    row has all of them.
    """
    words = [row for row in rows if row.kind != SPELLING]
    spellings = [row for row in rows if row.kind == SPELLING]
    for group in (words, spellings):
        counts = Counter(key(name) for row in group for name in row.names)
        yield from (
            f"{name!r} is in the table {count} times" for name, count in counts.items() if count > 1
        )
    keys_of_row = {
        key(name): {key(other) for other in row.names} for row in words for name in row.names
    }
    for row in spellings:
        keys = {key(name) for name in row.names}
        if any(not keys <= keys_of_row.get(name, keys) for name in keys):
            yield f"another row has only some of the spellings of {row.names[0]!r}"
    terms = {row.names[0] for row in words}
    for row in words:
        yield from (
            f"{term!r}, broader than {row.names[0]!r}, is not a term of the table"
            for term in {*row.broader} - terms
        )
    for row in rows:
        if row.kind not in KINDS:
            yield f"{row.names[0]!r} has an unknown kind: {row.kind!r}"
        if row.names[0] != row.names[0].lower():
            yield f"the term {row.names[0]!r} is not in lower case"
        if any(not name or name != " ".join(name.split()) or "|" in name for name in row.names):
            yield f"a name of {row.names[0]!r} is empty, or has a bar or too many spaces"


def table_text(rows: list[Row]) -> str:
    """The table as TSV, sorted by kind and term."""
    lines = ["\t".join(COLUMNS)]
    for row in sorted(rows, key=lambda row: (row.kind, row.names[0])):
        term, *synonyms = row.names
        source = BETWEEN_SOURCES.join(row.sources)
        names, broader = BETWEEN_NAMES.join(synonyms), BETWEEN_NAMES.join(row.broader)
        lines.append("\t".join((row.kind, term, names, broader, source)))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the rows, merge and check them, and write the table."""
    parser = argparse.ArgumentParser(
        description="Make the table of names with the same meaning in answers about images."
    )
    parser.add_argument("--table", type=Path, default=TABLE, help="file to read and to write")
    parser.add_argument("--picks", type=Path, default=PICKS, help="file with names of ICD-10-CM")
    arguments = parser.parse_args()
    rows = merge(hand_written(arguments.table), icd_rows(arguments.picks))
    faults = list(problems(rows))
    if faults:
        sys.exit("The table was not written, because it has faults:\n" + "\n".join(faults))
    text = table_text(rows)
    arguments.table.write_text(text, encoding="utf-8", newline="\n")
    for kind, count in sorted(Counter(row.kind for row in rows).items()):
        print(f"{kind:10}{count:6}")
    print(f"{'rows':10}{len(rows):6}, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    main()
