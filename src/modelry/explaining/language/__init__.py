"""Explanations of written answers, and of how alike two texts are.

Owns: cutting conversations and texts into parts, scoring an answer without some of them, what is
told of it.
Does not own: methods and the check of an explanation (`explaining/`), how an engine scores.
"""
