"""What keyset pages and recency order save in the history, as ratios on one machine in one run.

    python benchmarks/history.py [--rows 50000] [--rounds 7]

Both sides run on the same database, taking turns. A ratio is printed only if both sides found the right rows: the same
rows for the pages, and for the search the newest of exactly the rows that the ranked question finds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import select, text

from backend.types import HistoryQuery
from db import pages, search
from db.engine import Database, open_database
from db.tables import records

PAGE = 50
START = datetime(2026, 1, 1, tzinfo=UTC)


def fill(database: Database, rows: int) -> None:
    """Rows of 20 words each, drawn so that few words are common and most are rare; "light" is in every row."""
    dice = random.Random(1)
    words = [f"word{number}" for number in range(2000)]
    weights = [1 / (number + 1) for number in range(2000)]
    filler = {"passport": {"filler": "x" * 1800}, "infotext": "x" * 300, "tags": [], "rating": 0, "idx": 0}
    with database.writing() as connection:
        for first in range(0, rows, 1000):
            numbers = range(first, min(first + 1000, rows))
            connection.execute(
                records.insert(),
                [
                    filler
                    | {
                        "id": f"r{number}",
                        "job_id": f"j{number}",
                        "created": START + timedelta(seconds=number),
                        "model": f"model{number % 7}",
                        "sampler": "Euler",
                        "sha256": f"{number:064x}",
                        "mark_id": number,
                        "path": f"2026-01-01/r{number}.png",
                        "prompt": " ".join(["light", *dice.choices(words, weights, k=20)]),
                        "negative": "blurry",
                    }
                    for number in numbers
                ],
            )
        search.heal(connection)


def compare(
    name: str, ours: Callable[[], list[int]], theirs: Callable[[], list[int]], rounds: int, right: bool
) -> None:
    """Print how many times longer `theirs` takes: the median of paired rounds, with the extremes."""
    if not right:
        raise SystemExit(f"{name}: the two sides do not find the same rows")
    ratios = []
    for _ in range(rounds):
        seconds = []
        for side in (ours, theirs):
            began = time.perf_counter()
            side()
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[1] / seconds[0])
    print(f"{name:<44} {statistics.median(ratios):8.1f}x   ({min(ratios):.1f} to {max(ratios):.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_database(f"sqlite:///{folder}/signet.db") as database:
        fill(database, given.rows)
        connection = database.engine.connect()

        def ours(query: HistoryQuery) -> list[int]:
            return [row.seq for row in connection.execute(pages.page_question(query, sqlite=True))][:PAGE]

        def offset(skip: int) -> list[int]:
            question = select(records).order_by(records.c.seq.desc()).limit(PAGE).offset(skip)
            return [row.seq for row in connection.execute(question)]

        def ranked(word: str, limit: int) -> list[int]:
            question = (
                "SELECT records.* FROM records_fts JOIN records ON records.seq = records_fts.rowid "
                "WHERE records_fts MATCH :word ORDER BY rank LIMIT :limit"
            )
            return [row.seq for row in connection.execute(text(question), {"word": f'"{word}"*', "limit": limit})]

        print(f"{given.rows} rows, pages of {PAGE}; how many times longer the plain way takes\n")
        for share in (0.1, 0.5, 0.9):
            skip = int(given.rows * share)
            query = HistoryQuery(limit=PAGE, before=pages.cursor_of(given.rows - skip + 1))
            compare(
                f"page after {skip} rows, against OFFSET",
                lambda query=query: ours(query),
                lambda skip=skip: offset(skip),
                given.rounds,
                ours(query) == offset(skip),
            )
        for word in ("light", "word3", "word1500"):
            query = HistoryQuery(limit=PAGE, text=word)
            found = sorted(ranked(word, given.rows), reverse=True)
            compare(
                f"search in {len(found)} hits, against rank order",
                lambda query=query: ours(query),
                lambda word=word: ranked(word, PAGE),
                given.rounds,
                ours(query) == found[:PAGE],
            )
        connection.close()


if __name__ == "__main__":
    main()
