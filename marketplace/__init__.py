"""What exists and who uses it: the catalogue of every feature, and the console that shows it.

Knows the definitions and the store; never who computed a value, and no log.
"""

from marketplace.catalogue import Entry, Filter, Served, entries
from marketplace.measured import measured

__all__ = ["Entry", "Filter", "Served", "entries", "measured"]
