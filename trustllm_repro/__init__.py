"""Reproduction of TrustLLM and of Online Safety Analysis for LLMs, driven by notebooks."""

__version__ = "0.1.0"
