"""The bugs that contest systems had, and the test that prevents each."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent

PREVENTED = {
    "a perceptron was made, and another head was trained": (
        "models/test_heads.py::test_a_changed_parameter_of_the_head_changes_the_logits",
    ),
    "a head had the wrong width, or read logits": (
        "models/test_vgg.py::test_every_architecture_has_the_tree_and_widths_of_timms",
        "models/test_heads.py::test_a_changed_parameter_of_the_head_changes_the_logits",
    ),
    "prediction loaded another architecture": (
        "test_main_sources.py::test_weights_of_another_model_are_refused_with_the_tensors_that_differ",
        "test_main.py::test_a_run_in_the_directory_of_another_configuration_is_refused_and_nothing_changes",
    ),
    "weights were not loaded, and nobody saw it": (
        "test_configs.py::test_every_configuration_but_the_quickstart_names_pretrained_weights",
        "test_main_sources.py::test_pretrained_weights_are_loaded_and_reported",
        "test_main.py::test_a_run_says_what_it_will_do_before_it_starts_and_what_it_made_at_its_end",
    ),
    "what was frozen was trained": (
        "train/test_frozen_steps.py::test_trained_leaves_move_as_in_full_training_and_frozen_ones_keep_their_bits",
    ),
    "swept values never reached the model": (
        "test_foundations.py::test_json_that_does_not_fit_a_record_is_refused_with_its_place",
        "test_configs.py::test_every_field_of_the_configuration_is_read_somewhere",
    ),
    "a schedule in epochs was stepped by batches": (
        "optim/test_schedule.py::"
        "test_every_schedule_has_the_initial_rate_at_step_0_and_the_peak_at_the_end_of_the_warm_up",
        "optim/test_schedule.py::"
        "test_step_falls_where_torch_step_lr_falls_that_is_stepped_at_the_ends_of_epochs",
    ),
    "weight decay was forgotten": (
        "optim/test_decay.py::"
        "test_a_decayed_weight_shrinks_under_a_zero_gradient_and_norms_and_biases_do_not",
    ),
    "a loss took the logarithm of zero, ignored its smoothing or was another": (
        "losses/test_loss_records.py::test_the_asymmetric_loss_takes_no_logarithm_of_zero",
        "losses/test_loss_records.py::test_extreme_logits_give_finite_losses_and_gradients",
        "losses/test_softmax_losses.py::test_cross_entropy_equals_timms_with_label_smoothing",
        "losses/test_loss_records.py::test_soft_f1_at_hard_probabilities_is_one_minus_scikit_learns_macro_f1",
    ),
    "mixing did not mix labels, or weighed them by no area": (
        "augment/test_augment_mixing.py::test_targets_sum_to_one_and_name_the_image_and_its_partner_alone",
        "augment/test_augment_mixing.py::test_cutmix_pastes_one_box_and_weighs_targets_by_exactly_its_area",
    ),
    "evaluation was augmented, or normalised otherwise": (
        "data/test_pipeline.py::test_two_passes_over_the_evaluation_images_are_identical",
        "convert/test_run_to_timm.py::test_the_best_checkpoint_answers_in_timm_with_the_same_logits",
    ),
    "images and people were on both sides of the split": (
        "data/test_split_file.py::test_a_split_is_read_as_it_was_written",
        "run/test_losses_of_runs.py::test_no_person_is_on_both_sides_of_the_split",
        "run/test_duplicates_of_runs.py::"
        "test_near_duplicates_and_their_drawers_stay_together_and_are_listed_with_their_classes",
        "data/test_sampling.py::test_what_is_drawn_more_often_comes_from_the_training_rows_alone",
        "data/test_sampling.py::test_equal_weights_take_no_row_twice_and_leave_each_out_equally_often",
        "data/test_splits.py::test_folds_depend_on_the_ids_and_not_on_their_order",
    ),
    "what came in from beyond the paper was black": (
        "augment/test_augment_resample.py::test_corners_that_a_rotation_uncovers_are_white_in_every_channel",
        "augment/test_augment_projections.py::test_what_comes_in_is_white_and_blank_paper_stays_white",
        "augment/test_augment_fields.py::test_blank_paper_stays_white_and_what_comes_in_is_white",
    ),
    "a column was not there, and classes had another order": (
        "data/test_csv_table.py::test_a_missing_column_is_refused_and_says_which_there_are",
        "data/test_csv_table.py::test_a_class_list_fixes_the_order_of_names",
    ),
    "rows of the submission were lost with images that could not be read": (
        "data/test_verify.py::test_skipping_never_drops_a_test_image_but_reads_it_as_blank_paper",
        "inference/test_submission.py::"
        "test_answers_stand_in_the_order_of_the_sample_submission_whatever_the_predictions_order",
    ),
    "numbers of classes were averaged, and a view counted twice": (
        "ensemble/test_votes.py::test_soft_soft_is_the_mean_over_folds_and_models",
        "ensemble/test_votes.py::test_soft_hard_is_a_vote_of_each_models_mean_and_a_tie_goes_to_the_lowest_class",
        "inference/test_views.py::test_each_distinct_view_is_there_once_in_the_order_in_which_it_is_named",
    ),
    "unlike models were averaged": (
        "flows/test_soup.py::test_members_of_another_kind_are_refused_before_anything_is_measured",
        "flows/test_soup.py::test_members_of_another_start_are_refused_with_a_measured_barrier",
    ),
    "any word was true, and options overrode in silence": (
        "test_main.py::test_options_override_fields_and_keep_their_types",
        "test_main.py::test_bad_options_end_in_one_message_and_leave_nothing_behind",
    ),
    "a program did not start": (
        "test_main.py::test_a_run_leaves_every_file_that_the_readme_lists",
        "test_contest_bugs.py::test_every_script_and_benchmark_starts",
    ),
}
"""Names of tests by bug."""


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("bug", PREVENTED)
def test_a_bug_of_contest_systems_has_a_test(bug):
    for test in PREVENTED[bug]:
        file, name = test.split("::")
        assert name in names_in(TESTS / file), test


START = """
import contextlib, io, os, runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    sys.path[0] = os.path.dirname(script)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            assert not end.code, script
    assert "usage:" in told.getvalue(), script
"""


def test_every_script_and_benchmark_starts():
    pytest.importorskip("timm")
    scripts = sorted(map(str, [*ROOT.glob("scripts/*.py"), *ROOT.glob("benchmarks/*.py")]))
    assert len(scripts) >= 9
    done = subprocess.run([sys.executable, "-c", START, *scripts], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
