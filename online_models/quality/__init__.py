"""How well each learner does as served, by prediction time: what is counted, and how the counts become measures.

======================  ======================================================================================
`quality.pairs`         scores beside their labels, as integers and exact sums: parts merge to the whole
`quality.buckets`       the state of the fold: a cell per bucket of prediction time, and what is contained in it
`quality.measures`      log loss, AUC, Brier score, calibration, errors, of pairs that may be weighted
`quality.arrivals`      how long labels take, and what that says of the predictions whose labels are still to come
`quality.report`        windows, fading, coverage, provisional or final: what `headrace models show` shows
======================  ======================================================================================
"""
