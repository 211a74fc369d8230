"""Who reads an answer: parsers and recorded judges, each a small pure dataclass."""
