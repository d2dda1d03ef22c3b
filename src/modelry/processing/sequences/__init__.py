"""Sequences of tokens out of next-token scores, step by step.

Owns: beam search, batches of searches that come and go, running an encoder and a step decoder.
Does not own: engine libraries (sessions are given), tokenizers, threads, options of requests.
Used by the runtime that serves sequence models and by the recipe that trains them, so that both
search alike.
"""
