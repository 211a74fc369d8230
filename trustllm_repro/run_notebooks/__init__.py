"""Run the notebooks of a profile, in order, and only those whose inputs have changed."""

from trustllm_repro.run_notebooks.notebook import check
from trustllm_repro.run_notebooks.run import make_plan, run_plan

__all__ = ["check", "make_plan", "run_plan"]
