"""Kernels that are forked from one process, in which the slow imports are made once.

No module of this package is among them: a kernel runs the code that is there when it starts.
"""

from __future__ import annotations

import gc
import os
import sys
from multiprocessing import forkserver, get_context, parent_process
from tempfile import gettempdir
from threading import Thread
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode

# Elsewhere a fork is not safe, or there is none; and the path of a socket has about 100 bytes.
# Kernels then make their own imports.
FORKS = sys.platform == "linux" and len(os.fsencode(gettempdir())) < 70
CONTEXT = get_context("forkserver" if FORKS else "spawn")
IMPORTS = [
    "ipykernel.kernelapp", "seaborn", "scipy.stats", "sklearn.metrics", "pandas.plotting",
    "pandas.io.formats.style", "pyarrow.dataset", "pydantic.main", "matplotlib.backends.backend_svg",
    "matplotlib.backends.backend_pdf", "fontTools.subset", "papermill", "nbconvert", "typer",
]  # fmt: skip
INLINE = "module://matplotlib_inline.backend_inline"


def start_imports() -> None:
    """Start the process that kernels are forked from."""
    CONTEXT.set_forkserver_preload(IMPORTS)
    if FORKS:
        forkserver.ensure_running()


class _Kernel(CONTEXT.Process):
    """The process of a kernel, with the methods of `subprocess.Popen` that its manager calls."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], log: str, env: dict[str, str]) -> None:
        super().__init__()
        self.arguments, self.log, self.env = arguments, log, env

    def run(self) -> None:
        import matplotlib
        from ipykernel.kernelapp import IPKernelApp

        os.setsid()
        os.environ.update(self.env)
        with open(self.log, "ab") as file:
            os.dup2(file.fileno(), 2)
        gc.freeze()  # what was imported need not be looked through again and again
        Thread(target=_end_with_the_caller, daemon=True).start()
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


def _end_with_the_caller() -> None:
    parent_process().join()
    os._exit(1)


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
