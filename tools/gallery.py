"""Copy a chosen few figures of a run to figures/: `make figures`.

They are committed so that the project's page shows what a run gives; a test compares their
numbers with a fresh run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trustllm_repro.errors import SourceMissing
from trustllm_repro.paths import project_root
from trustllm_repro.store.atomic import write_bytes

CHOSEN = ("verification", "rank_heatmap", "rank_intervals", "audit_changes", "privacy")
KINDS = ("pdf", "png", "csv")


def copy_chosen(run: Path, target: Path | None = None) -> list[Path]:
    """Copy CHOSEN from run/figures.

    Raises:
        SourceMissing: the run has no such figure.
    """
    target = target or project_root() / "figures"
    copied = []
    for name in (f"{n}.{k}" for n in CHOSEN for k in KINDS):
        source = run / "figures" / name
        if not source.exists():
            raise SourceMissing(f"no figure {source}", remedy="run `make reproduce` first")
        copied.append(write_bytes(target / name, source.read_bytes()))
    return copied


if __name__ == "__main__":
    print("\n".join(str(p) for p in copy_chosen(Path(sys.argv[1]))))
