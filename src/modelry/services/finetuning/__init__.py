"""Fine-tuning: from a base version and a file to a model of its own, as OpenAI's API has it.

Owns: which recipe a base takes, what hyperparameters mean for it, what the new model is called, the
job that does it all, and what it tells in OpenAI's words.
Does not own: files (services/files), importing (services/datasets), training (services/training).
"""
