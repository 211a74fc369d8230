"""Kernels that are forked from one process, in which the slow imports are made.

A kernel of its own spends seconds on imports that all notebooks share. No module of this package
is among them: a kernel runs the code that is there when it starts.
"""

from __future__ import annotations

import os
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "ipykernel.kernelapp", "nbconvert", "papermill", "matplotlib.backends.backend_pdf",
        "matplotlib.backends.backend_svg", "pandas.io.formats.style", "pandas.plotting",
        "pyarrow.dataset", "pydantic.main", "fontTools.subset", "scipy.stats", "seaborn",
        "sklearn.metrics", "typer",
    ]
)  # fmt: skip
INLINE = "module://matplotlib_inline.backend_inline"


class _Kernel(FORKS.Process):
    """The process of a kernel, with the methods of `subprocess.Popen` that its manager calls."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], log: str, env: dict[str, str]) -> None:
        super().__init__()
        self.arguments, self.log, self.env = arguments, log, env

    def run(self) -> None:
        import matplotlib
        from ipykernel.kernelapp import IPKernelApp

        # This is read when matplotlib is imported, which was before there was a kernel.
        matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND") or INLINE
        os.setsid()
        os.environ.update(self.env)
        with open(self.log, "ab") as file:
            os.dup2(file.fileno(), 2)
        Thread(target=_end_with_the_caller, daemon=True).start()
        IPKernelApp.launch_instance([f"--IPKernelApp.parent_handle={os.getppid()}", *self.arguments])

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
    """Starts kernels by a fork; what they write to stderr goes to the file `log`."""

    log_file = Unicode().tag(config=True)

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        arguments = kernel_cmd[kernel_cmd.index("-f") :]
        process = _Kernel(arguments, self.log_file, kw["env"])
        process.start()
        self.provisioner.process = process
        self.provisioner.pid = self.provisioner.pgid = process.pid
