"""Real processes, real Kafka and Redis, real signals: `python -m tests.chaos`, and a quick part of it under pytest."""
