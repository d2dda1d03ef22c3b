"""Why one prediction came out: perturbing the input and asking the version again.

Owns: attribution methods (occlusion, RISE, leave-one-out, Shapley values), the check of each
explanation against random ones, and what is told of it: numbers in the input's own terms, a
sentence, a picture.
Does not own: how the engine is run (callers give a function), doors, permissions, metering.
Extend by: a method in the module of its kind of input, and its entry in `methods.METHODS`.

Everything here is numpy on what the version's own processing graph made of the input, so that
thousands of perturbed inputs need not be encoded, sent and decoded again.
"""
