"""Model files: minirnn's own, and those of torch, Keras and ONNX.

``load`` and ``export`` are the public ways in and out.  ``opening`` knows a file by its content, bounds it and refuses
what is no model; ``filling`` puts weights into a network, each checked; ``models`` checks a model before it is written.
``native`` is minirnn's own format: safetensors with the network described in its metadata.  ``torch``, ``keras`` and
``onnx`` have a room each; ``containers`` reads what their files are made of.
"""
