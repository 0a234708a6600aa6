"""Planted in the command line."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "convert: strict writes what is lossy": Fault(
        "cli/models.py",
        (("    if strict and lacking:\n", "    if False:\n"),),
        "cli/test_convert.py::test_what_a_format_has_no_place_for_is_listed_and_with_strict_an_error[.pt]",
    ),
    "convert: strict assumes": Fault(
        "cli/models.py",
        (("            if strict:\n", "            if False:\n"),),
        "cli/test_convert.py::test_with_strict_nothing_is_assumed",
    ),
    "convert: noise is lost without a word": Fault(
        "formats/lost.py",
        (("            for name in LACKS[form]:\n", "            for name in ():\n"),),
        "cli/test_convert.py::test_what_a_format_has_no_place_for_is_listed_and_with_strict_an_error[.onnx]",
    ),
    "convert: a GRU's candidate counts as merged": Fault(
        "formats/torch/loading.py",
        (("apart = 2 * H if rows == 3 * H else rows", "apart = rows"),),
        "cli/test_convert.py::test_biases_that_are_merged_are_listed",
    ),
    "inspect: nothing of what is not opened": Fault(
        "formats/inside.py",
        (('            lines += _pickled(file.read(LARGEST_LOOK))\n', '            pass\n'),),
        "cli/test_convert.py::test_of_a_file_that_is_not_opened_what_is_in_it_is_printed[a pickle]",
    ),
    "cli: a run without checkpoint begins another": Fault(
        "cli/resuming.py",
        (('        return Saved(about["options"], about["text"])\n', "        return None\n"),),
        "training/test_resuming.py::test_what_may_be_changed_may_be_changed_and_nothing_else",
    ),
    "cli: goes on with another network": Fault(
        "cli/resuming.py",
        (("if value != begun.get(name):", "if False:"),),
        "training/test_resuming.py::test_what_may_be_changed_may_be_changed_and_nothing_else",
    ),
    "cli: goes on with another text": Fault(
        "cli/training.py",
        (('if saved.text != more["text"]:', "if False:"),),
        "training/test_resuming.py::test_a_text_that_is_not_there_or_another_one_is_refused",
    ),
    "ranks: a signal ends one of them": Fault(
        "cli/terminal.py",
        (("run.signal = ranks.largest(signals.caught)\n                if", "run.signal = signals.caught\n                if"),),
        "training/test_ranks.py::test_a_signal_to_one_rank_ends_all_in_one_step",
    ),
    "ranks: interrupted, one goes on to save": Fault(
        "cli/terminal.py",
        (("if ranks.size > 1:", "if False:"),),
        "training/test_ranks.py::test_a_rank_that_is_interrupted_at_once_ends_all_and_saves_nothing",
    ),
    "together: an error is not said": Fault(
        "cli/together.py",
        (("console.quiet = False", "pass"),),
        "training/test_ranks.py::test_a_rank_that_raises_says_so_and_ends_all[a sentence-1]",
    ),
    "together: all say everything": Fault(
        "cli/together.py",
        (("        keep_quiet()", "        pass"),),
        "training/test_ranks.py::test_a_rank_that_raises_says_so_and_ends_all",
    ),
    "together: no rank is ended": Fault(
        "cli/together.py",
        (("ranks.abort(2)", "pass"),),
        "training/test_ranks.py::test_a_rank_that_raises_says_so_and_ends_all",
    ),
    "together: last words of long ago": Fault(
        "cli/together.py",
        (("if words != last:", "if not last:"),),
        "training/test_ranks.py::test_a_first_rank_that_is_killed_leaves_its_last_words",
    ),
    "together: last words of the living": Fault(
        "cli/together.py",
        (('tell("")', "pass"),),
        "training/test_ranks.py::test_a_first_rank_that_is_killed_leaves_its_last_words[words4-]",
    ),
    "cli: a run is begun again": Fault(
        "cli/resuming.py",
        (("elif folder and folder.steps():", "elif False:"),),
        "training/test_resume.py::test_a_directory_with_a_run_is_not_begun_again",
    ),
    "cli: errors exit with 1": Fault(
        "cli/shared.py",
        (("            sys.exit(2)", "            sys.exit(1)"),),
        "cli/test_cli.py::test_a_model_replaces_neither_its_text_nor_what_is_no_file",
    ),
    "cli: clip ignored": Fault(
        "cli/options.py",
        (("OPTIMIZERS[self.optimizer], self.clip or None", "OPTIMIZERS[self.optimizer], None"),),
        "cli/test_cli.py::test_options_of_train_reach_what_they_name",
    ),
    "cli: sampling ignored": Fault(
        "cli/options.py",
        (("sampling=self.sampling or", 'sampling="random" or'),),
        "cli/test_cli.py::test_options_of_train_reach_what_they_name",
    ),
    "cli: interrupted model not saved": Fault(
        "cli/training.py",
        (("        save(lm, out)\n", "        run.signal or save(lm, out)\n"),),
        "cli/test_cli.py::test_ctrl_c_saves_what_there_is_and_says_where",
    ),
    "cli: check never fails": Fault(
        "cli/machine.py",
        (("    if failed:\n        sys.exit(1)", "    if failed:\n        sys.exit(0)"),),
        "cli/test_cli.py::test_check_fails_on_a_wrong_gradient",
    ),
    "convert: written in the file's own format": Fault(
        "cli/models.py",
        (("import_module(SAVERS[to]).save(model", "import_module(SAVERS[format_of(source)]).save(model"),),
        "cli/test_convert.py::test_the_suffix_says_the_format_and_the_numbers_stay[.pt-torch]",
    ),
    "inspect: a quantised weight's dtype": Fault(
        "cli/models.py",
        (('DTYPES.get(kind) or', ""),),
        "cli/test_convert.py::test_inspect_of_every_format[native-.safetensors-small_file]",
    ),
}
# fmt: on
