"""Registered ONNX files as something to train further: read, cut, followed by gradients, written.

Owns: a graph's parts (`graph`, `cutting`), running the part that stays (`trunk`), the part that
learns as a torch module (`twin`, `operators`), the file of both (`writing`). Does not own: which
rows, which loss, which task; recipes do.
"""
