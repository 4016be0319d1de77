"""Compare anomaly maps with lesions: one evaluator for every detector.

    cases, validation_set            what is evaluated: a dataset, a table, or the built-in cases
    ground_truth, images             scan, brain and lesions of a case on one grid
    detectors, map_folder,           where maps come from: files, installed packages, the scores
    model_scores, baselines          of a weight file, and baselines without training
    protocols, thresholds            how maps are processed, and where a threshold comes from
    case_metrics, sweep, statistics  the numbers of a case; over cases
    compare, validation_comparison   the evaluator, and its use on the built-in cases
    report                           tables, a page, lines on a terminal

:mod:`~dal_fast.evaluation.agreement` and :mod:`~dal_fast.evaluation.checks` examine the method
itself, :mod:`~dal_fast.evaluation.calibration` the thresholds that a weight file holds, and
:mod:`~dal_fast.evaluation.lmdb_slices` reads the training data of UAD-IMAG.
"""
