"""Studies: why a version answers as it does, over the rows of a split instead of one.

Owns: the work `explain-rows`, which rows it takes, what is made of many explanations: importance,
prototypes, confusions, slices, permutation importance, partial dependence, and the check by
weights that are drawn anew.
Does not own: how one answer is explained (explaining/, in the version's own worker), how rows
become items (scoring/), what is kept of a study (services/explanation).

A process of its own runs this: rows and model files are foreign bytes. It asks the server for
every explanation and every answer, and sees no engine.
"""
