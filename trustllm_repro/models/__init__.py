"""Who answers: models from registry wheels, local folders, GGUF files, the hub, or an endpoint."""
