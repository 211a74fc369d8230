"""Run the notebooks of a profile, in order, and only those whose inputs have changed."""

from trustllm_repro.run_notebooks.notebook import check
from trustllm_repro.run_notebooks.plan import make_plan
from trustllm_repro.run_notebooks.run import run_plan

__all__ = ["check", "make_plan", "run_plan"]
