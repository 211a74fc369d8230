"""Who labels a live answer: judges of refusals, toxicity, correctness and similarity."""
