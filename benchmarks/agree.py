"""Whether two runs of a benchmark agree: how many speed-ups of each lie within the other's interval.

``python benchmarks/agree.py FIRST/records.json SECOND/records.json``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from parallel_ser.bench import analyse, record


def within(row: dict[str, Any], other: dict[str, Any]) -> bool:
    low, high = other["speedup_interval"]
    return bool(low <= row["speedup"] <= high)


def main() -> None:
    first, second = ({row["name"]: row for row in analyse.table(record.read(Path(one)))} for one in sys.argv[1:3])
    names = [
        name for name, row in first.items() if row["speedup_interval"] and second.get(name, {})["speedup_interval"]
    ]
    inside = 0
    print("| strategy | first | second | first within second's | second within first's |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        one, other = first[name], second[name]
        said = [within(one, other), within(other, one)]
        inside += sum(said)
        texts = [
            f"{row['speedup']:.3f} ({row['speedup_interval'][0]:.3f} to {row['speedup_interval'][1]:.3f})"
            for row in (one, other)
        ]
        print(f"| {name} | {texts[0]} | {texts[1]} | {' | '.join('yes' if here else 'no' for here in said)} |")
    print(f"\n{inside} of {2 * len(names)} ratios lie within the other run's interval.")


if __name__ == "__main__":
    main()
