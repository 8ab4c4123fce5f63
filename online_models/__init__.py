"""How models learn, and how they are judged: learners, the executor, releases, baselines and health.

Pure: no network, no wall clock, no event loop. Vectors, scores and labels are plain values; bytes of artefacts come in
and go out as arguments. Never here: topics, the online store, entity ids, who asked.

Five names to start with: `learners.Scorer`, `executor.Executor`, `releases.Manifest`, `baseline.Baseline`,
`health.advance`.
"""
