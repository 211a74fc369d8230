"""What a run was made of: code, packages, machine, sources, times."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from trustllm_repro import __version__
from trustllm_repro.paths import data_dir, project_root
from trustllm_repro.schema import CONFIDENCE, RESAMPLES
from trustllm_repro.store.archive import sha256


def _said(*words: str) -> str | None:
    """What a program prints; None where it is not there or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def gpus() -> dict[str, Any] | None:
    """The GPUs torch sees: names, memory in GiB, driver and CUDA. None without any.

    Where nothing has loaded torch so far, no GPU was used, and it is not loaded to be asked.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    driver = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return {
        "names": [f.name for f in found],
        "memory_gib": [round(f.total_memory / 2**30, 1) for f in found],
        "driver": driver.splitlines()[0] if driver else None,
        "cuda": torch.version.cuda,
        "torch": str(torch.__version__),
    }


def file_hash(path: Path) -> str | None:
    return sha256(path.read_bytes()) if path.exists() else None


def provenance(sources: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
    """Facts about a run with these settings; `sources`: name -> sha256 of all it read."""
    git = ("git", "-C", str(project_root()))
    dirty = _said(*git, "status", "--porcelain")
    published = sorted((data_dir() / "published").glob("*.csv"))
    return {
        "package": __version__,
        "git": {
            "commit": _said(*git, "rev-parse", "HEAD"),
            "dirty": None if dirty is None else bool(dirty),
        },
        "lock_sha256": file_hash(project_root() / "requirements.lock"),
        "packages": {d.metadata["Name"].lower(): d.version for d in distributions()},
        "python": sys.version.split()[0],
        "os": platform.platform(),
        "cpu": _cpu(),
        "threads": os.cpu_count(),
        "gpu": gpus(),
        "dtype": "float64",
        "statistics": {
            "resamples": RESAMPLES,
            "confidence": CONFIDENCE,
            "seed": "crc32 of table|row|column",
        },
        "sources_sha256": sources | {f"data/published/{p.name}": file_hash(p) for p in published},
        "settings": settings,
    }
