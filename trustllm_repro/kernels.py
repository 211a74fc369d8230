"""Kernel managers for headless runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from jupyter_client.manager import AsyncKernelManager

LOG = "TRUSTLLM_KERNEL_LOG"


class NetworkKernelManager(AsyncKernelManager):
    """TCP on the loopback interface, as Jupyter does; the kernel's own log goes to a file.

    What a cell prints to stderr is part of the notebook and not affected.
    """

    async def _async_start_kernel(self, **kwargs: Any) -> None:
        with open(os.environ.get(LOG, os.devnull), "ab") as log:
            await super()._async_start_kernel(**{"stderr": log, **kwargs})

    start_kernel = _async_start_kernel


class LocalKernelManager(NetworkKernelManager):
    """Unix domain sockets: no open ports, and no warning about them from ipykernel.

    Every kernel has a folder of its own for them: Jupyter's default names are the same for all
    kernels, and two that start at once would talk to each other's clients.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._folder = tempfile.mkdtemp(prefix="trustllm-")
        # The system allows about 100 bytes for the path of a socket.
        if len(os.fsencode(self._folder)) < 85:
            self.transport, self.ip = "ipc", os.path.join(self._folder, "kernel")

    def cleanup_ipc_files(self) -> None:
        super().cleanup_ipc_files()
        shutil.rmtree(self._folder, ignore_errors=True)
