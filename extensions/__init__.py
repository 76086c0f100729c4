"""Hooks and plugins. Empty in this version: the first ones come with grids and batches, on hooks of our own."""
