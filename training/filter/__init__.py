"""Trains the layers of the prompt filter that learn: the classifier and the language model in `models/filter`."""
