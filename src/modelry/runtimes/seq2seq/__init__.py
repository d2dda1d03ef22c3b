"""Sequence-to-sequence models on ONNX Runtime: translation, summaries.

Owns: loading a description, its two graphs and its tokenizer; the thread that steps all searches
together, so that texts of several requests share each step, and new ones join at the next.
Does not own: the search itself and what the graphs must look like (processing/sequences).
"""

from modelry.runtimes.seq2seq.runtime import Seq2SeqRuntime

__all__ = ["Seq2SeqRuntime"]
