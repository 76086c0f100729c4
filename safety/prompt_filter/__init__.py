"""Reads a prompt as a person would and says which categories it touches, how surely, and why. Pure text.

Four layers, each reported by name: lists of terms in context (rules.py), which see through mechanical disguises
(normalise.py, decoding.py); a trained classifier (classifier.py); a measure of how oddly the text is written
(fluency.py), which only makes the others look harder; and names of living people (names.py). None of them understands
what it reads: paraphrase and metaphor pass, and pictures are inspected for that reason too.
"""
