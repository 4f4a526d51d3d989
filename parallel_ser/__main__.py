"""``parallel-ser`` and ``python -m parallel_ser``: the command line, once what it needs is known to be there."""

from __future__ import annotations

import sys

from parallel_ser.system.installed import explain, problem


def main() -> None:
    """Run the command line; what the console script calls."""
    if found := problem():
        sys.exit(_refused(found))
    try:
        from parallel_ser import cli

        cli.main()
    except (ImportError, OSError) as error:
        if not (found := explain(error)):
            raise
        sys.exit(_refused(found))


def _refused(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
