"""Looking into a pass: every quantity by name and time, and the equation that made it.

equations.py   the numbered lines of a cell's docstring
watching.py    what a function assigns, statement by statement
recording.py   a pass of the plain equations that keeps what it computes
trace.py       both passes of a model, looked into
unrolled.py    a layer unrolled in time, as a picture for a notebook
scene.py       a text, a network that reads it, and one step of training
lines.py       a cell's derivation, and around it the products, the loss and the clip, with their numbers
spelling.py    how names and characters are shown
"""
