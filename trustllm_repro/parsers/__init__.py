"""From an answer to a verdict: the grammar of choices, and the published scripts' own parsers."""
