"""What the two views of this folder must hold, computed without Windrow: the standard library alone.

python3 expected.py flights.csv hourly|daily   prints one JSON row a line, sorted as text.
"""

import csv
import json
import sys
from collections import defaultdict
from datetime import datetime

SIZES_MS = {"hourly": 3_600_000, "daily": 86_400_000}
KEYS = {"hourly": "origin", "daily": "carrier"}
STARTS = {"hourly": "hour", "daily": "day"}


def windows(table, view):
    """Yields the rows of one view: key, window start, flights, departures, mean delay."""
    groups = defaultdict(list)
    for flight in csv.DictReader(table):
        at = datetime.fromisoformat(flight["time_hour"].replace("Z", "+00:00"))
        ms = int(at.timestamp()) * 1000
        start = ms - ms % SIZES_MS[view]
        delay = None if flight["dep_delay"] in ("", "NA") else int(flight["dep_delay"])
        groups[flight[KEYS[view]], start].append(delay)
    for (key, start), delays in groups.items():
        known = [delay for delay in delays if delay is not None]
        # Python divides integers exactly and rounds once, to the nearest double.
        mean = sum(known) / len(known) if known else None
        yield {
            KEYS[view]: key,
            STARTS[view]: start,
            "flights": len(delays),
            "departures": len(known),
            "mean_delay": mean,
        }


def main():
    path, view = sys.argv[1:]
    with open(path, newline="", encoding="utf-8") as table:
        for line in sorted(json.dumps(row) for row in windows(table, view)):
            print(line)


if __name__ == "__main__":
    main()
