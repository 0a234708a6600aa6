"""Planted in texts, the language model and its evaluation."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "batches: y is x": Fault(
        "language/text.py",
        (("_batch(self.indices[window + 1])", "_batch(self.indices[window])"),),
        "language/test_text.py::test_random_windows_are_whole_and_each_is_read_at_most_once",
    ),
    "generation forgets its state": Fault(
        "language/model.py",
        (("y, state = self.network(np.array([[symbol]]), state)", "y, state = self.network(np.array([[symbol]]))"),),
        "language/test_lm.py::test_greedy_generation_takes_the_likeliest_known_symbol_each_time",
    ),
    "beam keeps the wrong states": Fault(
        "language/model.py",
        (("take_rows(state, rows)", "state"),),
        "language/test_lm.py::test_each_beam_has_the_log_p_of_its_steps_and_they_are_distinct_and_in_order",
    ),
    "text: a lone carriage return stays": Fault(
        "language/text.py",
        (("newlines.decode(text, final=not data)", 'text.replace("\\r\\n", "\\n")'),),
        "language/test_evaluation.py::test_a_file_that_is_read_in_pieces_is_the_same_text",
    ),
    "text: no room for the mask": Fault(
        "language/text.py",
        (("+ 2, smallest(len(self)))", "+ 2, smallest(len(self) - 1))"),),
        "language/test_evaluation.py::test_indices_take_the_smallest_dtype_that_has_the_masks_too",
    ),
    "evaluation: an overflow warns": Fault(
        "language/evaluation.py",
        (('np.errstate(over="ignore", invalid="ignore")', 'np.errstate(invalid="ignore")'),),
        "language/test_evaluation.py::test_a_model_that_diverged_has_no_perplexity_and_warns_of_nothing",
    ),
    "evaluation: a warm-up counts": Fault(
        "language/evaluation.py",
        (("valid & (step >= rows.skip)", "valid"),),
        "language/test_evaluation.py::test_a_sample_counts_what_comes_after_its_warm_up_and_nothing_else",
    ),
    "training: overlapping windows count all errors": Fault(
        "language/model.py",
        (("elif stride and stride < len(x) and state is not None:", "elif False:"),),
        "training/test_resume.py::test_overlapping_windows_send_errors_back_further_than_they_count_them",
    ),
    "training: errors stop where the next window begins": Fault(
        "language/model.py",
        (("back_first(dlogits[:stride], dstate)", "back_first(dlogits[:stride])"),),
        "training/test_resume.py::test_overlapping_windows_send_errors_back_further_than_they_count_them",
    ),
    "ranks: errors divided by the rank's own targets": Fault(
        "language/model.py",
        (("cross_entropy(logits, y, mask, total=total)", "cross_entropy(logits, y, mask)"),),
        "training/test_ranks.py::test_ranks_take_the_steps_of_one_process",
    ),
    "ranks: masks of the batch's first rows": Fault(
        "language/model.py",
        (("rows.indices(x.shape[1])[0]", "0"),),
        "training/test_ranks.py::test_ranks_take_the_steps_of_one_process",
    ),
}
# fmt: on
