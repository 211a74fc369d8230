"""One notebook: a kernel for it, its executed copy, and the same as a page to read.

Processes that run notebooks are forked from one, in which the slow imports are made once, and their
kernels from them. A kernel forgets the modules of this package: it runs the code that is there when
it starts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from functools import cache
from multiprocessing import forkserver, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode
from traitlets.config import Config

from trustllm_repro.errors import ReproError
from trustllm_repro.paths import notebooks_dir
from trustllm_repro.store.atomic import write_text

# --- kernels

# Elsewhere a fork is not safe, or there is none; and the path of a socket has about 100 bytes.
# Kernels then make their own imports.
FORKS = sys.platform == "linux" and len(os.fsencode(tempfile.gettempdir())) < 70
CONTEXT = get_context("forkserver" if FORKS else "spawn")
IMPORTS = [
    "ipykernel.kernelapp", "seaborn", "scipy.stats", "sklearn.metrics", "pandas.plotting",
    "pandas.io.formats.style", "pyarrow.parquet", "pydantic.types", "matplotlib.backends.backend_svg",
    "matplotlib.backends.backend_pdf", "fontTools.subset", "papermill", "nbconvert", "typer",
]  # fmt: skip
INLINE = "module://matplotlib_inline.backend_inline"


def start_imports() -> None:
    """Start the process that kernels are forked from."""
    CONTEXT.set_forkserver_preload(IMPORTS)
    if FORKS:
        forkserver.ensure_running()


class _Kernel(get_context("fork" if FORKS else "spawn").Process):
    """The process of a kernel, with the methods of `subprocess.Popen` that its manager calls."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], log: str, env: dict[str, str]) -> None:
        super().__init__()
        self.arguments, self.log, self.env = arguments, log, env

    def run(self) -> None:
        import matplotlib
        import numpy as np
        from ipykernel.kernelapp import IPKernelApp

        for name in [m for m in sys.modules if m.split(".")[0] == "trustllm_repro"]:
            del sys.modules[name]
        np.random.seed(0)  # points are jittered by it, and the same inputs give the same bytes
        asyncio.set_event_loop(asyncio.new_event_loop())  # the caller's runs there
        os.setsid()
        os.environ.update(self.env)
        with open(self.log, "ab") as file:
            os.dup2(file.fileno(), 2)
        gc.freeze()  # what was imported need not be looked through again and again
        gc.set_threshold(50_000)  # and cells make many objects, few of them in circles
        end_with_the_caller()
        # The environment is read when matplotlib is imported; there was no kernel then.
        matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND") or INLINE
        IPKernelApp.launch_instance(
            [f"--IPKernelApp.parent_handle={os.getppid()}", *self.arguments]
        )

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def end_with_the_caller() -> None:
    """From now on this process lives no longer than the one that started it."""

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


class ForkedKernels(AsyncKernelManager):
    """Starts kernels by a fork; what they write to stderr goes to a file."""

    log_file = Unicode().tag(config=True)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        if not FORKS:
            return await super()._async_launch_kernel(kernel_cmd, **kw)
        process = _Kernel(kernel_cmd[kernel_cmd.index("-f") :], self.log_file, kw["env"])
        process.start()
        self.provisioner.process = process
        self.provisioner.pid = self.provisioner.pgid = process.pid


# --- running


def execute(name: str, parameters: dict[str, Any], run: Path) -> float:
    """Run one notebook; the executed copy and its HTML are put in place whole. Returns seconds.

    Raises ReproError: a cell failed (the copy with the error is kept), or the kernel died.
    """
    from papermill.exceptions import PapermillExecutionError

    import trustllm_repro.tasks  # noqa: F401  kernels forked from here have its patterns compiled

    start = time.perf_counter()
    folder = run / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.ipynb"
    partial, log = folder / f".{name}.partial.ipynb", folder.absolute() / f".{name}.log"
    try:
        with open(log, "wb") as file:  # for what this process and its kernel write to stderr
            os.dup2(file.fileno(), 2)
        _papermill(name, parameters, partial, log)
    except PapermillExecutionError as e:
        _settle(partial, target)
        raise ReproError(
            f"notebook {name} failed in cell {e.exec_count}: {e.ename}: {e.evalue}",
            remedy=f"see {target}; fix the cause and run the command again, finished stages are "
            "kept",
        ) from None
    except RuntimeError as e:  # of nbclient and jupyter_client, whose own classes it is a base of
        if "Kernel" not in str(e):
            raise
        said = log.read_text(errors="replace")[-500:].strip()
        raise ReproError(
            f"the kernel of notebook {name} died or did not answer. {said}",
            remedy="most often memory ran out or the process was killed; run the command again",
        ) from None
    log.unlink(missing_ok=True)
    _settle(partial, target)
    write_text(target.with_suffix(".html"), _page(target))
    return time.perf_counter() - start


def _papermill(name: str, parameters: dict[str, Any], partial: Path, log: Path) -> None:
    import papermill

    with tempfile.TemporaryDirectory(prefix="trustllm-") as folder:
        # Sockets in a folder of their own: no open ports, and kernels that start at once cannot
        # choose the same ones. The system allows about 100 bytes for the path of a socket.
        local = os.name == "posix" and len(os.fsencode(folder)) < 85
        sockets = {"transport": "ipc", "ip": os.path.join(folder, "kernel")} if local else {}
        papermill.execute_notebook(
            str(notebooks_dir() / f"{name}.ipynb"),
            str(partial),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(notebooks_dir()),
            progress_bar=False,
            request_save_on_cell_execute=False,  # twice a cell, the whole notebook
            kernel_manager_class=ForkedKernels,
            config=Config({"KernelManager": sockets, "ForkedKernels": {"log_file": str(log)}}),
        )


def _settle(partial: Path, target: Path) -> None:
    """Put an executed notebook in its place, without the absolute paths papermill notes in it."""
    book = json.loads(partial.read_text(encoding="utf-8"))
    facts = book["metadata"].get("papermill", {})
    facts |= {k: target.name for k in ("input_path", "output_path") if k in facts}
    write_text(target, json.dumps(book, indent=1, ensure_ascii=False) + "\n")
    partial.unlink()


# --- pages


def _page(executed: Path) -> str:
    """An executed notebook as HTML that can be read without Jupyter, without parameter cells."""
    import nbformat

    book = nbformat.read(executed, as_version=4)
    hidden = {"parameters", "injected-parameters"}
    book.cells = [c for c in book.cells if not hidden & set(c.metadata.get("tags", []))]
    title = book.cells[0].source.splitlines()[0].lstrip("# ") if book.cells else executed.stem
    page, _ = _exporter().from_notebook_node(book, resources={"metadata": {"name": title}})
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return page.replace("</head>", f"<style>\n{css}</style>\n</head>", 1)


@cache
def _exporter() -> Any:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab", embed_images=True)
    # No mathematics is typeset and no widget shown, so nothing has to be loaded from elsewhere.
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = ""
    # It is applied to highlighted code only, which pygments has escaped.
    exporter.register_filter("clean_html", lambda text: text)
    return exporter
