"""Training a language model: the loop, checkpoints, the record of a run, several processes, plots."""
