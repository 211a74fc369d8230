"""Where sources are: committed facts, files on this machine, and checked downloads.

Order: TRUSTLLM_DATA if set, else the cache folder, else a download (`trustllm-repro fetch`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pandas as pd

from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_dir, data_home
from trustllm_repro.progress import Progress
from trustllm_repro.store.archive import Archive, sha256

HOST = "https://raw.githubusercontent.com"
BENCHMARK = "HowieHwong/TrustLLM/4b864211f32602fddb8cafc8d5154bed1e0ce01e/dataset/dataset.zip"
BENCHMARK_SHA256 = "0433f79bc8dc8a5869af253d4a70067eda82f5651b89b7235a0220a8bf775317"

# Names of the sources in the data folder, best first.
BENCHMARK_NAMES = ("dataset.zip", "trustllm-dataset.zip", "dataset")
RECORDS_NAMES = ("recorded", "trustllm-recorded.zip", "recorded.zip")
LATER_NAMES = ("trustllm-later-answers.zip",)  # beside a ZIP of the former; `fetch` brings both


@cache
def facts(name: str) -> pd.DataFrame:
    """data/<name>.csv, all columns text."""
    path = data_dir() / f"{name}.csv"
    if not path.exists():
        raise SourceMissing(f"no file {path}", remedy="restore it with `git checkout -- data`")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def manifest(name: str) -> dict[str, dict[str, str]]:
    """Rows of data/manifests/<name>.csv (sizes, hashes ...) by their `path` column."""
    return facts(f"manifests/{name}").set_index("path").to_dict("index")


def remote_files() -> dict[str, tuple[str, str]]:
    """Address and sha256 of the benchmark ZIP and every recorded file, by path in the data folder."""
    files = {"dataset.zip": (f"{HOST}/{BENCHMARK}", BENCHMARK_SHA256)}
    for path, row in manifest("recorded").items():
        # Files of other commits are in a folder named by the commit; the repository has none.
        inside = path.removeprefix(row["commit"][:7] + "/").replace(" ", "%20")
        url = f"{HOST}/{row['repo']}/{row['commit']}/{inside}"
        files[f"recorded/{path}"] = (url, row["sha256"])
    return files


def _search(names: tuple[str, ...]) -> Path | None:
    return next((data_home() / n for n in names if (data_home() / n).exists()), None)


def find_benchmark(given: str = "") -> Path | None:
    """The benchmark named, or the one in the data folder; None if there is none."""
    return Path(given) if given else _search(BENCHMARK_NAMES)


def find_records(given: str = "") -> tuple[Path, ...]:
    """The recorded answers named, or those in the data folder; none if there are none."""
    if given:
        return (Path(given),)
    return tuple(p for p in (_search(RECORDS_NAMES), _search(LATER_NAMES)) if p)


def missing(what: str, names: tuple[str, ...]) -> SourceMissing:
    return SourceMissing(
        f"{what} not found: looked for {', '.join(names)} in {data_home()}",
        remedy="run `trustllm-repro fetch` (network), `trustllm-repro fetch --from ZIP_OR_FOLDER`, "
        "or set TRUSTLLM_DATA",
    )


def fetch(
    source: str | Path | None = None,
    home: Path | None = None,
    *,
    progress: Progress = Progress(),
) -> tuple[list[Path], list[str]]:
    """Download what the data folder lacks, or copy it from the ZIP or folder `source`. Correct files
    are not touched; bytes without the expected sha256 are refused and not kept.

    Returns the files that are there now, and those that the source does not hold.
    """
    import pooch

    remote = remote_files()
    hashes = {target: f"sha256:{digest}" for target, (_, digest) in remote.items()}
    urls, take, retries = {target: url for target, (url, _) in remote.items()}, None, 3
    if source is not None:
        archive, urls = _held(Path(source), remote)
        take, retries = (lambda name, to, _: Path(to).write_bytes(archive.read(name))), 0
    pooch.get_logger().setLevel("ERROR")
    store = pooch.Pooch(home or data_home(), "", hashes, urls, retry_if_failed=retries)
    done: list[Path] = []
    for target, url in urls.items():
        try:
            done.append(Path(store.fetch(target, downloader=take)))
        except ValueError as e:
            raise SourceCorrupt(
                f"{source or 'downloaded'}: {url} has not the sha256 of the manifest",
                remedy="get the file from another source, or try again later",
            ) from e
        except OSError as e:  # of the network among them
            raise SourceMissing(
                f"cannot fetch {url}: {e}",
                remedy=f"{len(done)} of {len(urls)} files are in {store.abspath}; run the command "
                "again to go on, or use --from with a copy",
            ) from e
        progress.step("fetching", len(done), len(urls))
    return done, [target for target in remote if target not in urls]


def _held(source: Path, targets: Iterable[str]) -> tuple[Archive, dict[str, str]]:
    """The archive at a path, and its names of those of the targets that it holds."""
    if source.is_file() and sha256(source.read_bytes()) == BENCHMARK_SHA256:
        return Archive(source.parent), {"dataset.zip": source.name}
    archive = Archive(source)
    names = archive.names()
    found = {t: name for t in targets if (name := _member(names, t))}
    if not found:
        raise SourceMissing(
            f"{source} holds none of the files of the manifest",
            remedy="give dataset.zip, or an archive that keeps the repository's paths (results/...)",
        )
    return archive, found


def _member(names: list[str], target: str) -> str | None:
    """The archive's name for a target: its path after "recorded/", or a name of the benchmark."""
    if target == "dataset.zip":
        return next((n for n in names if n.rsplit("/", 1)[-1] in BENCHMARK_NAMES[:2]), None)
    inside = target.removeprefix("recorded/")
    return next((n for n in names if n in (inside, target) or n.endswith("/" + target)), None)
