"""Who does it: the roles of a running system, the log they live on, and the client that asks them. Thin and async.

Knows: Kafka, Faust, the event loop, deadlines, metrics. Never knows: window arithmetic, Redis commands, settings.
Start with `agents.transport`, `agents.runner`, `agents.host`, `agents.featurize` and `agents.client`.
"""
