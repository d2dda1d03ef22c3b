"""Training a user's own Keras model: a `.keras` file goes in, a version that is served comes out.

Owns: reading such files without trusting them, their training with Keras on torch, what they
become. Does not own: what all recipes share (training/).

The file is opened by nothing of Keras before `archive`, `architecture` and `weight_file` have
looked at every part of it: Keras resolves names of classes and functions that a file tells, and
HDF5 files can point at other files.
"""

from modelry.training.recipes.keras.recipe import KerasModel

__all__ = ["KerasModel"]
