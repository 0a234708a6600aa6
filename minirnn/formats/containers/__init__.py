"""Containers that model files are made of, read within bounds: zip, pickle, Protocol Buffers, HDF5.

They know nothing of models, and import nothing of minirnn but the error for a bad file.
"""
