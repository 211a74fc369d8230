"""Has a change of the code changed a number? Hashes of everything a ledger run writes.

    python tools/golden.py runs/ledger          # compare with data/golden.json
    python tools/golden.py runs/ledger --write   # take what is there as the new state

Holds what follows from the committed verdicts alone: the verification, the quoted numbers, claims,
audit, tables and the numbers behind the figures. What a model answers on this machine is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

STATE = Path(__file__).parent.parent / "data" / "golden.json"
FILES = ("verify.csv", "results.json", "claims.csv", "audit*.csv", "tables/*", "figures/*.csv")
# What rests on answers made on this machine, not on the committed verdicts.
ONLINE = (
    "online", "access_", "hybrids", "larger_", "monitors",
    "pilot", "stopping", "early_", "watch", "label_quality", "roc", "claims_placebo",
)  # fmt: skip


def digests(run: Path) -> dict[str, str]:
    """sha256 of each file, by its path in the run folder."""
    found = sorted({p for pattern in FILES for p in run.glob(pattern)})
    return {
        p.relative_to(run).as_posix(): hashlib.sha256(_content(p)).hexdigest()
        for p in found
        if not p.name.startswith(ONLINE)
    }


def _content(path: Path) -> bytes:
    if path.name != "results.json":
        return path.read_bytes()
    results = json.loads(path.read_text(encoding="utf-8"))
    kept = {k: v for k, v in results.items() if not k.startswith(ONLINE)}
    return json.dumps(kept, sort_keys=True).encode()


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """A line for each file that is missing, new or other than it was."""
    lines = [f"missing: {name}" for name in before.keys() - now.keys()]
    lines += [f"new:     {name}" for name in now.keys() - before.keys()]
    lines += [f"changed: {n}" for n in before.keys() & now.keys() if before[n] != now[n]]
    return sorted(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", type=Path, help="folder of a run with the profile ledger")
    parser.add_argument("--write", action="store_true", help="take it as the new state")
    options = parser.parse_args()
    now = digests(options.run)
    if not now:
        parser.error(f"no tables in {options.run}; run `make reproduce PROFILE=ledger` first")
    if options.write:
        STATE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        print(f"{len(now)} files written to {STATE.name}")
        return 0
    found = differences(json.loads(STATE.read_text(encoding="utf-8")), now)
    print("\n".join(found) or f"{len(now)} files as they were")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
