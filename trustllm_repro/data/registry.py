"""Find sources on this machine, or fetch them with checks.

Order: TRUSTLLM_DATA if set, else the cache folder, else a download (`trustllm-repro fetch`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from trustllm_repro.data.manifests import manifest
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_home
from trustllm_repro.store.archive import Archive, git_blob_sha1, sha256
from trustllm_repro.store.atomic import write_bytes

HOST = "https://raw.githubusercontent.com"
BENCHMARK_REPO = "HowieHwong/TrustLLM"
BENCHMARK_COMMIT = "4b864211f32602fddb8cafc8d5154bed1e0ce01e"
BENCHMARK_PATH = "dataset/dataset.zip"
BENCHMARK_SHA256 = "0433f79bc8dc8a5869af253d4a70067eda82f5651b89b7235a0220a8bf775317"

# Names under which the sources may lie in the data folder, best first.
BENCHMARK_NAMES = ("dataset.zip", "trustllm-dataset.zip", "dataset")
RECORDS_NAMES = ("recorded", "trustllm-recorded.zip", "recorded.zip")
LATER_NAMES = ("trustllm-later-answers.zip",)  # beside a ZIP of the former; `fetch` brings both


@dataclass(frozen=True)
class Wanted:
    """One file to fetch: where it goes below the data folder, its address and its hashes."""

    target: str
    url: str
    sha256: str
    blob: str | None = None


def wanted(host: str = HOST) -> Iterator[Wanted]:
    """The benchmark ZIP, then every recorded file of the manifest, by commit and path."""
    url = f"{host}/{BENCHMARK_REPO}/{BENCHMARK_COMMIT}/{BENCHMARK_PATH}"
    yield Wanted("dataset.zip", url, BENCHMARK_SHA256)
    for path, row in manifest("recorded").items():
        # Files of other commits stand in a folder named by the commit; the repository has none.
        short = row["commit"][:7] + "/"
        inside = path[len(short) :] if path.startswith(short) else path
        address = f"{host}/{row['repo']}/{row['commit']}/{inside.replace(' ', '%20')}"
        yield Wanted(f"recorded/{path}", address, row["sha256"], row["git_blob_sha1"])


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


def _right(path: Path, item: Wanted) -> bool:
    return path.exists() and sha256(path.read_bytes()) == item.sha256


@retry(
    retry=retry_if_exception_type((OSError, ConnectionError)),
    stop=stop_after_attempt(4),
    wait=wait_exponential(multiplier=0.5, max=8),
    reraise=True,
)
def _download(item: Wanted, target: Path) -> None:
    import pooch

    pooch.get_logger().setLevel("ERROR")
    pooch.retrieve(
        item.url,
        known_hash=f"sha256:{item.sha256}",
        fname=target.name,
        path=target.parent,
        progressbar=False,
    )


def fetch(
    home: Path | None = None,
    *,
    host: str = HOST,
    only: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Download what is missing; files that are there and right are not touched.

    Args:
        only: fetch only targets that contain this text (e.g. a model's name).

    Raises:
        SourceMissing: the host cannot be reached or does not have the file.
        SourceCorrupt: the bytes do not have the expected sha256 or git blob id.
    """
    home = home or data_home()
    items = [w for w in wanted(host) if only in w.target]
    done = []
    for i, item in enumerate(items):
        target = home / item.target
        if not _right(target, item):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _download(item, target)
            except ValueError as e:
                raise SourceCorrupt(f"{item.url}: {e}", remedy="try again later") from e
            except OSError as e:
                raise SourceMissing(
                    f"cannot download {item.url}: {e}",
                    remedy=f"{i} of {len(items)} files are in {home}; run the command again to go on, "
                    "or use --from with a copy",
                ) from e
        if item.blob and git_blob_sha1(target.read_bytes()) != item.blob:
            raise SourceCorrupt(
                f"{target} does not have the git blob id {item.blob}",
                remedy="delete that file and fetch again",
            )
        done.append(target)
        progress(i + 1, len(items))
    return done


def fetch_from(
    source: str | Path,
    home: Path | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Path], list[str]]:
    """Take what the manifest knows out of a ZIP or folder; returns (written, not found there).

    Raises:
        SourceCorrupt: a file has a known name but other bytes.
    """
    home, items = home or data_home(), list(wanted())
    path = Path(source)
    if path.is_file() and sha256(path.read_bytes()) == BENCHMARK_SHA256:
        return [write_bytes(home / "dataset.zip", path.read_bytes())], []
    archive = Archive(path)
    names = archive.names()
    written, absent = [], []
    for i, item in enumerate(items):
        name = _member(names, item.target)
        if name is None:
            absent.append(item.target)
        elif not _right(home / item.target, item):
            data = archive.read(name)
            if sha256(data) != item.sha256:
                raise SourceCorrupt(
                    f"{source}: {name} has not the sha256 of the manifest",
                    remedy="that copy was altered; get the file from another source",
                )
            written.append(write_bytes(home / item.target, data))
        else:
            written.append(home / item.target)
        progress(i + 1, len(items))
    if not written:
        raise SourceMissing(
            f"{source} holds none of the files of the manifest",
            remedy="give dataset.zip, or an archive that keeps the repository's paths (results/...)",
        )
    return written, absent


def _member(names: list[str], target: str) -> str | None:
    """The archive's name for a target: its path without the leading "recorded/", or a known name
    of the benchmark."""
    if target == "dataset.zip":
        return next((n for n in names if n.rsplit("/", 1)[-1] in BENCHMARK_NAMES[:2]), None)
    inside = target.removeprefix("recorded/")
    return next((n for n in names if n in (inside, target) or n.endswith("/" + target)), None)
