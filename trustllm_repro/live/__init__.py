"""Live runs: a model answers the benchmark, judges read the answers, tables come out."""
