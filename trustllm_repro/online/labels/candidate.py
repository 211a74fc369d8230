"""The process in which one program is run: started by execution.py, never imported.

It reads a job from its input, takes on the limits, runs the program, and says so in the file that
was its output. Standard library only, because it is started without any site packages.
"""

from __future__ import annotations

import json
import os
import resource
import sys

# What a program that only computes never does. Names of audit events, or of their families.
FORBIDDEN = (
    "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "os.spawn", "os.kill",
    "os.killpg", "os.startfile", "subprocess.", "pty.", "socket.", "ctypes.", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "os.chown", "os.utime", "shutil.", "resource.setrlimit",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def guard(folder: str):
    """An audit hook (PEP 578) that stops FORBIDDEN, and files opened for writing outside `folder`."""
    inside = os.path.realpath(folder) + os.sep

    def hook(event: str, args: tuple) -> None:
        if event.startswith(FORBIDDEN):
            raise PermissionError(f"{event} is not allowed here")
        written = event == "open" and isinstance(args[0], str | bytes) and (args[2] or 0) & WRITING
        if written and not os.path.realpath(os.fsdecode(args[0])).startswith(inside):
            raise PermissionError("no file may be written outside the folder")

    return hook


def main() -> None:
    job = json.loads(sys.stdin.buffer.read())
    code = job["program"]
    report = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the program prints goes nowhere
    for name, both in job["limits"].items():
        if hasattr(resource, name):  # not every system has all of them
            resource.setrlimit(getattr(resource, name), both)
    sys.addaudithook(guard(os.getcwd()))
    os.write(report, b"started ")
    exec(compile(code, "program", "exec"), {"__name__": "candidate"})
    # Not reached by a program that raises or exits early: it has failed.
    os.write(report, job["token"].encode())


if __name__ == "__main__":
    main()
