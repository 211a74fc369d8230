"""What is written to disk: ledger, provenance, and the one way to write a file."""
