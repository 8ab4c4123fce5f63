"""Processes, a store and a log that fail in every way that real ones do, one step at a time, by a seed.

The roles, runners, chains, engines and codecs are the real ones; only what lies between processes is simulated: calls
to the store (`connection`), sends to the log (`sending`), which process has which partition (`process`), and who acts
next (`world`). A schedule is a function of its seed. ``python -m tests.simulation --seed N`` runs one again.
"""
