"""A judge that took no part in training the starter model, and the report it writes: `python -m training.judging`."""
