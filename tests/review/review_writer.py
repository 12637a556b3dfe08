"""A process of test_store.py: writes judgements of one reader, and prints the id of each one."""

import sys
from pathlib import Path

from medr1.review.store import Judgement, Store

path, reader, number = sys.argv[1:]
store = Store(Path(path))
for n in range(int(number)):
    judgement = Judgement(f"{reader}-{n}", reader, n % 50, {"correct": "yes"}, f"comment {n}")
    store.add(judgement)
    sys.stdout.write(f"{judgement.id}\n")
    sys.stdout.flush()
