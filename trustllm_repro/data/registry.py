"""Find sources on this machine, or fetch them with checks.

Order: TRUSTLLM_DATA if set, else the cache folder, else a download (`trustllm-repro fetch`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trustllm_repro.data.manifests import manifest
from trustllm_repro.errors import SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_home
from trustllm_repro.store.archive import Archive, sha256
from trustllm_repro.store.atomic import write_bytes

HOST = "https://raw.githubusercontent.com"
BENCHMARK = "HowieHwong/TrustLLM/4b864211f32602fddb8cafc8d5154bed1e0ce01e/dataset/dataset.zip"
BENCHMARK_SHA256 = "0433f79bc8dc8a5869af253d4a70067eda82f5651b89b7235a0220a8bf775317"

# Names under which the sources may lie in the data folder, best first.
BENCHMARK_NAMES = ("dataset.zip", "trustllm-dataset.zip", "dataset")
RECORDS_NAMES = ("recorded", "trustllm-recorded.zip", "recorded.zip")
LATER_NAMES = ("trustllm-later-answers.zip",)  # beside a ZIP of the former; `fetch` brings both

Progress = Callable[[int, int], None]  # files done, files in all


def silent(done: int, total: int) -> None:
    """Progress that is not shown."""


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch: where it goes below the data folder, its address and its sha256."""

    target: str
    url: str
    sha256: str


def remote_files() -> list[RemoteFile]:
    """The benchmark ZIP, then every recorded file of the manifest, by commit and path."""
    files = [RemoteFile("dataset.zip", f"{HOST}/{BENCHMARK}", BENCHMARK_SHA256)]
    for path, row in manifest("recorded").items():
        # Files of other commits stand in a folder named by the commit; the repository has none.
        inside = path.removeprefix(row["commit"][:7] + "/").replace(" ", "%20")
        url = f"{HOST}/{row['repo']}/{row['commit']}/{inside}"
        files.append(RemoteFile(f"recorded/{path}", url, row["sha256"]))
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


def fetch(home: Path | None = None, *, progress: Progress = silent) -> list[Path]:
    """Download what is missing; files that are there and right are not touched.

    Raises:
        SourceMissing: the host cannot be reached or does not have the file.
        SourceCorrupt: the bytes do not have the expected sha256.
    """
    import pooch

    home, files = home or data_home(), remote_files()
    pooch.get_logger().setLevel("ERROR")
    store = pooch.Pooch(
        home,
        base_url="",
        registry={f.target: f"sha256:{f.sha256}" for f in files},
        urls={f.target: f.url for f in files},
        retry_if_failed=3,
    )
    done: list[Path] = []
    for file in files:
        try:
            done.append(Path(store.fetch(file.target)))
        except ValueError as e:
            raise SourceCorrupt(f"{file.url}: {e}", remedy="try again later") from e
        except OSError as e:  # of the network among them
            raise SourceMissing(
                f"cannot download {file.url}: {e}",
                remedy=f"{len(done)} of {len(files)} files are in {home}; run the command again to "
                "go on, or use --from with a copy",
            ) from e
        progress(len(done), len(files))
    return done


def fetch_from(
    source: str | Path, home: Path | None = None, *, progress: Progress = silent
) -> tuple[list[Path], list[str]]:
    """Take what the manifest knows out of a ZIP or folder; returns (written, not found there).

    Raises:
        SourceCorrupt: a file has a known name but other bytes.
    """
    home, files, path = home or data_home(), remote_files(), Path(source)
    if path.is_file() and sha256(path.read_bytes()) == BENCHMARK_SHA256:
        return [write_bytes(home / "dataset.zip", path.read_bytes())], []
    archive = Archive(path)
    names = archive.names()
    written, absent = [], []
    for i, file in enumerate(files):
        name, target = _member(names, file.target), home / file.target
        if name is None:
            absent.append(file.target)
        else:
            if not (target.exists() and sha256(target.read_bytes()) == file.sha256):
                write_bytes(target, _checked(archive, name, file))
            written.append(target)
        progress(i + 1, len(files))
    if not written:
        raise SourceMissing(
            f"{source} holds none of the files of the manifest",
            remedy="give dataset.zip, or an archive that keeps the repository's paths (results/...)",
        )
    return written, absent


def _checked(archive: Archive, name: str, file: RemoteFile) -> bytes:
    data = archive.read(name)
    if sha256(data) != file.sha256:
        raise SourceCorrupt(
            f"{archive.path}: {name} has not the sha256 of the manifest",
            remedy="that copy was altered; get the file from another source",
        )
    return data


def _member(names: list[str], target: str) -> str | None:
    """The archive's name for a target: its path without the leading "recorded/", or a known name
    of the benchmark."""
    if target == "dataset.zip":
        return next((n for n in names if n.rsplit("/", 1)[-1] in BENCHMARK_NAMES[:2]), None)
    inside = target.removeprefix("recorded/")
    return next((n for n in names if n in (inside, target) or n.endswith("/" + target)), None)
