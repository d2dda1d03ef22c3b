"""The processing graph: what happens to an item before the engine, and to tensors after it.

Owns: the steps, their declared parameters, the graph that runs them, and its digest.
Does not own: which steps a task takes by default (tasks), engines, batching across requests.
Extend by: one module in `processing/steps` with a tuple `STEPS`, or a `StepKind` in another
package under the entry point group `modelry.processing_steps`.
"""
