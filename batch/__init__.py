"""What needs the past: training sets, offline training, releases, and the proof that nothing was lost.

Everything here reads history through `batch.history.History`, computes features with the same engine as the live roles,
and returns what is to be published instead of publishing it. Never here: live consumers, replies, rebalances.

Five names to start with: `history.History`, `build_training_set.TrainingSet`, `train_offline_model.train_offline`,
`write_release.write_release`, `train.train`.
"""
