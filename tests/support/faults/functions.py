"""Planted in the check of any function: what it must not overlook, and what it must not call wrong."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "courses: the end of a student's time is raised where nobody hears it": Fault(
        "testing/courses/limits.py",
        (("        if not _is_deaf(frame):\n", "        if True:\n"),),
        "testing/test_limits.py::test_code_that_never_ends_is_ended[finalising]",
    ),
    "courses: the end of a student's time is raised once": Fault(
        "testing/courses/limits.py",
        (("signal.setitimer(timer, limit, AGAIN)", "signal.setitimer(timer, limit)"),),
        "testing/test_limits.py::test_code_that_never_ends_is_ended[catching]",
    ),
    "functions: a gradient is held against itself": Fault(
        "testing/functions/comparing.py",
        (("right &= bool(abs(said - d) <= allowed)", "right &= True"),),
        "testing/test_functions.py::test_every_form_is_seen",
    ),
    "functions: the same random numbers as the arguments": Fault(
        "testing/functions/checking.py",
        (("np.random.default_rng([seed, STREAM])", "np.random.default_rng(seed)"),),
        "testing/test_functions.py::test_dy_is_not_an_argument_drawn_from_the_same_seed",
    ),
    "functions: a complex step is believed everywhere": Fault(
        "testing/functions/derivatives.py",
        (("    judged = np.isfinite(near.error)\n", "    return True\n    judged = np.isfinite(near.error)\n"),),
        "testing/test_functions.py::test_what_complex_numbers_pass_wrongly_is_judged_by_differences",
    ),
    "functions: a kink is a mistake": Fault(
        "testing/functions/comparing.py",
        (("if one.leaf.path in there.gradients and", "if False and"),),
        "testing/test_functions.py::test_a_kink_is_noticed_and_kept_away_from",
    ),
    "functions: the caller's random numbers are taken": Fault(
        "testing/functions/derivatives.py",
        (("            np.random.set_state(state[0])  # noqa: NPY002\n", ""),),
        "testing/test_functions.py::test_randomness_is_frozen",
    ),
    "functions: accumulators are full of nothing": Fault(
        "testing/functions/calls.py",
        (("        self.start = start\n", ""),),
        "testing/test_functions.py::test_accumulators_must_be_added_to",
    ),
    "functions: an edit is not tried elsewhere": Fault(
        "testing/functions/repair.py",
        (("    holds = abs(said - d)", "    holds = True or abs(said - d)"),),
        "testing/test_functions.py::test_an_edit_must_hold_at_another_point",
    ),
}
# fmt: on
