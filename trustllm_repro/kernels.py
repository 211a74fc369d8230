"""Kernel managers for headless runs."""

from __future__ import annotations

from jupyter_client.manager import AsyncKernelManager


class NetworkKernelManager(AsyncKernelManager):
    """The default: TCP on the loopback interface."""


class LocalKernelManager(AsyncKernelManager):
    """Unix domain sockets: no open ports, and no warning about them from ipykernel."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.transport = "ipc"
