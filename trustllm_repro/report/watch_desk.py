"""25_watch at work: model and monitors loaded when they are needed, a page, and a widget."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustllm_repro.errors import INSTALL, ReproError
from trustllm_repro.report import html, online
from trustllm_repro.report.watch import svg

if TYPE_CHECKING:
    from trustllm_repro.online.watching import Watched

RISKS = (0.01, 0.05, 0.1, 0.2)


class Desk:
    """Watches prompts with the parameters of the notebook.

    Args:
        run: run folder, whose stored answers monitors are fitted to.
    """

    def __init__(self, run: Path, parameters: dict[str, Any]) -> None:
        self.run, self.parameters = run, parameters
        self._guards: dict[tuple[str, float], Any] = {}
        self._collector: Any = None

    def watch(
        self, prompt: str, monitor: str, risk: float, say: Callable[[Watched], None] | None = None
    ) -> Watched:
        """Raises what online.watching.ready and watch, and models.find.find_model raise."""
        online.no_widgets()
        from trustllm_repro.online import watching
        from trustllm_repro.online.generations.tasks import TASKS
        from trustllm_repro.online.studies.run import Job, collector_of

        p = self.parameters
        if self._collector is None:
            job = Job(p["model"], self.run, (p["task"],), dtype=p["dtype"], device=p["device"])
            self._collector = collector_of(job)
        if (monitor, risk) not in self._guards:
            task = TASKS[p["task"]]
            self._guards[monitor, risk] = watching.ready(self._collector, task, monitor, risk)
        guard = self._guards[monitor, risk]
        return watching.watch(self._collector.model, guard, prompt, p["max_new_tokens"], say)

    def picture(self, watched: Watched, monitor: str, risk: float) -> str:
        """SVG of an answer."""
        p = self.parameters
        return svg(watched, f"{p['model']}, watched by: {monitor} ({p['task']})", risk)

    def page(self) -> str:
        """The prompt of the parameters, watched; or why it cannot be. HTML."""
        p = self.parameters
        try:
            watched = self.watch(p["prompt"], p["monitor"], p["risk"])
        except ModuleNotFoundError as e:
            return html.note(f"the package {e.name} is not installed; remedy: {INSTALL}")
        except ReproError as e:
            return html.note(str(e))
        return self.picture(watched, p["monitor"], p["risk"])

    def widget(self) -> Any:
        """Prompt, monitor and risk to choose, and the answer as it appears. Needs ipywidgets."""
        import ipywidgets as w

        from trustllm_repro.online.watching import watchers

        p = self.parameters
        risks = sorted({*RISKS, p["risk"]})
        prompt = w.Textarea(p["prompt"], description="prompt", layout=w.Layout(width="640px"))
        monitor = w.Dropdown(options=list(watchers()), value=p["monitor"], description="monitor")
        risk = w.Dropdown(options=[(f"{r:.0%}", r) for r in risks], value=p["risk"],
                          description="risk")  # fmt: skip
        button, out = w.Button(description="Watch", button_style="primary"), w.HTML()

        def show(watched: Watched) -> None:
            out.value = self.picture(watched, monitor.value, risk.value)

        def click(_: Any) -> None:
            button.disabled = True
            try:
                show(self.watch(prompt.value, monitor.value, risk.value, show))
            except ReproError as e:
                out.value = html.note(str(e))
            finally:
                button.disabled = False

        button.on_click(click)
        return w.VBox([prompt, w.HBox([monitor, risk, button]), out])


def attended(interactive: str) -> bool:
    """Whether a widget is of use: somebody sits before this kernel, and ipywidgets is there.

    Args:
        interactive: "yes", "no", or "auto": a kernel that JupyterLab or VS Code started.
    """
    if interactive == "auto":
        started = "JPY_SESSION_NAME" in os.environ or "VSCODE_PID" in os.environ
        interactive = "yes" if started else "no"
    if interactive == "no":
        return False
    try:
        import ipywidgets  # noqa: F401
    except ImportError:
        return False
    return True
