"""Laws that every implementation of a contract passes: one file per contract."""
