"""From verdicts to cells: the ledger, a run folder and its tables."""
