"""Bias audits: what a model shows when a prompt leaves it open, counted with its uncertainty, and what must not vary.

`statistics` turns counts into figures with intervals, `suites` holds the prompts, `measures` looks at pictures, `plan`
and `run` make an audit out of ordinary jobs, `report` writes it down.
"""
