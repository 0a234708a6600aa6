"""Train a small GRU on a text and let it write: ``python examples/quickstart.py FILE``."""

import sys

from minirnn import GRU, SGD, Embedding, LanguageModel, Linear, Sequential, Text, cross_entropy

text = Text.read(sys.argv[1:])
model = Sequential(
    Embedding(text.vocab_size, 64),
    GRU(64, 256, num_layers=2),
    Linear(256, text.vocab_size),
).init(seed=0)
sgd, state = SGD(model, lr=1.0, clip=1.0), None
for x, y in text.batches(batch_size=32, num_steps=35):
    logits, state, backward = model.forward(x, state)
    loss, dlogits = cross_entropy(logits, y)
    backward(dlogits)
    sgd.step()  # clips by the global norm, updates, zeroes the gradients
sample = LanguageModel(model, text.vocab).generate("The ", 80, temperature=0.7, seed=0)
print(f"loss {loss:.2f}\nThe {''.join(sample)}")
