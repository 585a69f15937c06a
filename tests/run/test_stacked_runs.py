"""Whole runs over stacked blocks: what they learn and what lies on disk."""

import numpy as np
from command import card, tiny, tiny_process

from sketch_jax.predictions import load_predictions
from sketch_jax.train.checkpoint_arrays import read_leaves

OPTIONS = "--model.name test_vit --image-size 32 --schedule.warmup-epochs 0 --optimizer.clip-norm 1".split()


def newest_parameters(directory):
    steps = [path for path in (directory / "checkpoints").iterdir() if path.name.isdigit()]
    return read_leaves(max(steps, key=lambda path: int(path.name)), ["trainable/"])


def test_a_run_over_stacked_blocks_learns_and_keeps_what_single_blocks_do(tmp_path):
    single, stacked = tmp_path / "single", tmp_path / "stacked"
    for directory, options in ((single, ()), (stacked, ("--model.scan-blocks", "True"))):
        done = tiny(directory, *OPTIONS, *options)
        assert done.returncode == 0, done.stderr
    expected, found = newest_parameters(single), newest_parameters(stacked)
    assert found.keys() == expected.keys()
    assert any("blocks_1/" in path for path in found)
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, rtol=0, atol=2e-3, err_msg=path)
    logits = [load_predictions(run / "predictions" / "test.npz").logits for run in (single, stacked)]
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=0.05)
    again = tiny_process(stacked, *OPTIONS, "--model.scan-blocks", "True")
    assert again.returncode == 0, again.stderr
    assert "all 8 steps are done already: predicting again" in again.stdout
    restored = load_predictions(stacked / "predictions" / "test.npz").logits
    np.testing.assert_array_equal(restored, logits[1])
    assert card(stacked)["status"] == "finished"


def test_blocks_that_differ_are_refused_before_anything_is_made(tmp_path):
    done = tiny(tmp_path / "run", "--model.scan-blocks", "True")
    assert done.returncode == 2
    assert "--model.scan-blocks True: the blocks of test_efficientnet are not alike" in done.stderr
    assert not (tmp_path / "run").exists()
