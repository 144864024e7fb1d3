"""Train: the host loop over epochs, its checkpoints, its files and its end."""
