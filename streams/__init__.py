"""What flows and what is remembered: records, features, joins, and the online store with its chain of marks.

Knows: definitions, event time, positions. Never knows: which process runs it, an event loop, a wall clock, models.
Start with `streams.records`, `streams.engine`, `streams.chain`, `streams.store` and `streams.reading`.
"""
