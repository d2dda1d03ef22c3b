"""The steps that come with Modelry: one module per family.

Owns: pure functions over batches, and beside each its `StepKind`.
Does not own: the order of steps, signatures, error positions (graph, declaration).
Extend by: adding a module here whose tuple `STEPS` lists its kinds; nothing else changes.
"""
