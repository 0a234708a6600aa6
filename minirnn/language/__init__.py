"""The character language model: text, the model, how it is sampled and how it is evaluated."""
