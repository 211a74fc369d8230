"""Tables, figures, findings, verification: everything a reader sees."""
