"""Flink SQL, all of it in the JVM: three tumbling windows in RocksDB, exactly-once checkpoints every 5 s.

The results go nowhere. A job over a small part of the topic runs twice before the one that is measured: the first warms
the JVM, the second tells what a warm start takes, which is taken off.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from meter import WINDOWS_MS, arguments, finish, tell
from pyflink.table import EnvironmentSettings, TableEnvironment

FIRST_EVENTS = 1_000
PARTITIONS = 4
CONNECTOR = Path(sys.prefix) / "connector"


def environment(folder: str) -> TableEnvironment:
    """Return a table environment as production has it, of one slot."""
    found = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    settings = {
        "pipeline.jars": ";".join(jar.as_uri() for jar in CONNECTOR.glob("*.jar")),
        "parallelism.default": "1",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.interval": "5s",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.dir": Path(folder).as_uri(),
        "table.local-time-zone": "UTC",
    }
    for name, value in settings.items():
        found.get_config().set(name, value)
    return found


def declare(tables: TableEnvironment, name: str, kafka: str, topic: str, bound: str) -> None:
    """Declare the events as a table that ends at ``bound``."""
    tables.execute_sql(f"""
        CREATE TABLE {name} (
            card STRING, amount DOUBLE, `at` BIGINT,
            happened AS TO_TIMESTAMP_LTZ(`at`, 3),
            WATERMARK FOR happened AS happened - INTERVAL '5' SECOND
        ) WITH (
            'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
            'properties.group.id' = '{name}', 'scan.startup.mode' = 'earliest-offset', {bound}, 'format' = 'json'
        )""")


def run(tables: TableEnvironment, source: str) -> float:
    """Fold a table to its end; return the seconds that it took from its submission on."""
    statements = tables.create_statement_set()
    for length in WINDOWS_MS:
        minutes = length // 60_000
        statements.add_insert_sql(f"""
            INSERT INTO nowhere_{minutes}
            SELECT card, window_start, COUNT(*), SUM(amount)
            FROM TABLE(TUMBLE(TABLE {source}, DESCRIPTOR(happened), INTERVAL '{minutes}' MINUTE({len(str(minutes))})))
            GROUP BY card, window_start, window_end""")  # noqa: S608  # our own names
    begun_s = time.perf_counter()
    statements.execute().wait()
    return time.perf_counter() - begun_s


def main() -> None:
    """Fold the topic to its end, after a small part of it."""
    asked = arguments()
    tables = environment(tempfile.mkdtemp())
    offsets = ";".join(f"partition:{index},offset:{FIRST_EVENTS}" for index in range(PARTITIONS))
    few = f"'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = '{offsets}'"
    declare(tables, "few", asked.kafka, asked.topic, few)
    declare(tables, "whole", asked.kafka, asked.topic, "'scan.bounded.mode' = 'latest-offset'")
    for length in WINDOWS_MS:
        tables.execute_sql(f"""
            CREATE TABLE nowhere_{length // 60_000} (card STRING, started TIMESTAMP(3), n BIGINT, spent DOUBLE)
            WITH ('connector' = 'blackhole')""")
    run(tables, "few")
    start_s = run(tables, "few")
    tell(say="begin")
    all_s = run(tables, "whole")
    if all_s <= start_s:
        raise SystemExit(f"cannot measure: {asked.events} events took no longer than a start; give it more")
    finish(asked.events - PARTITIONS * FIRST_EVENTS, all_s - start_s, start_s=round(start_s, 2), all_s=round(all_s, 2))


if __name__ == "__main__":
    main()
