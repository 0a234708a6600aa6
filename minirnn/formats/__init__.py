"""Model files. ``native`` is minirnn's own: safetensors with the network described in its metadata."""
