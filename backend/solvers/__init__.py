"""Samplers as tables of coefficients, computed in float64 when a request is admitted. No torch."""
