"""Print the exact version of every installed package: `make lock` writes requirements.lock with it."""

from __future__ import annotations

from importlib.metadata import distributions

HEADER = """\
# Every package of every extra, pinned. Made with 'make lock' in an environment with all extras;
# used as a constraints file: pip install -c requirements.lock -e '.[replay]'
"""
OURSELVES = {"trustllm-repro", "pip", "setuptools", "wheel"}


def pins() -> list[str]:
    """`name==version`, sorted, without local version parts such as torch's +cpu."""
    found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
    return sorted(f"{n}=={v.split('+')[0]}" for n, v in found.items() if n not in OURSELVES)


if __name__ == "__main__":
    print(HEADER + "\n".join(pins()))
