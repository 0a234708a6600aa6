"""Planted in optimisers and clipping."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "clipping by each weight alone": Fault(
        "optim/clipping.py",
        (("largest * squares**0.5", "largest * squares"),),
        "optim/test_optim.py::test_clipping_scales_to_the_norm_asked_for_or_changes_nothing",
    ),
    "sgd: uphill": Fault(
        "optim/optimisers.py",
        (("        w -= lr * g\n", "        w += lr * g\n"),),
        "optim/test_optim.py::test_each_weight_moves_as_the_formula_says",
    ),
    "adam: bias not corrected": Fault(
        "optim/optimisers.py",
        (("(v / (1 - self.beta2**self.steps)) ** 0.5", "v ** 0.5"),),
        "optim/test_optim.py::test_each_weight_moves_as_the_formula_says",
    ),
    "gradients not zeroed": Fault(
        "optim/optimisers.py",
        (("            model.zero_grads()\n        model.bound.updates += 1\n        return norm\n", "            pass\n        model.bound.updates += 1\n        return norm\n"),),
        "optim/test_optim.py::test_each_weight_moves_as_the_formula_says",
    ),
    "resume: the optimiser begins anew": Fault(
        "optim/optimisers.py",
        (("self.state[name][...] = self.model.bound.backend.xp.asarray(state[name])", "pass"),),
        "training/test_resume.py::test_an_optimizers_state_is_all_that_it_knows",
    ),
    "resume: a halved rate is forgotten": Fault(
        "optim/optimisers.py",
        (("self.steps, self.factor = steps, factor", "self.steps = steps"),),
        "training/test_resume.py::test_an_optimizers_state_is_all_that_it_knows[sgd]",
    ),
    "optim: a step does not wait for a backward pass": Fault(
        "optim/optimisers.py",
        (("        with self.model.bound.changing:\n            return", "        if True:\n            return"),),
        "core/test_shared_models.py::test_a_step_waits_for_the_backward_pass_that_runs[step]",
    ),
}
# fmt: on
