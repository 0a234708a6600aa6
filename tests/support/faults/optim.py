"""Planted in optimisers and clipping."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "clipping by each weight alone": Fault(
        "optim/clipping.py",
        (("largest * squares**0.5", "largest * squares"),),
        "cli/test_cli.py",
    ),
    "sgd: uphill": Fault(
        "optim/optimisers.py",
        (("        w -= lr * g\n", "        w += lr * g\n"),),
        "core/test_shared_models.py",
    ),
    "adam: bias not corrected": Fault(
        "optim/optimisers.py",
        (("(v / (1 - self.beta2**self.steps)) ** 0.5", "v ** 0.5"),),
        "core/test_shared_models.py",
    ),
    "gradients not zeroed": Fault(
        "optim/optimisers.py",
        (("            model.zero_grads()\n        model.bound.updates += 1\n        return norm\n", "            pass\n        model.bound.updates += 1\n        return norm\n"),),
        "core/test_shared_models.py",
    ),
    "resume: the optimiser begins anew": Fault(
        "optim/optimisers.py",
        (("self.state[name][...] = self.model.bound.backend.xp.asarray(state[name])", "pass"),),
        "training/test_resume.py",
    ),
    "resume: a halved rate is forgotten": Fault(
        "optim/optimisers.py",
        (("self.steps, self.factor = int(steps), factor", "self.steps = int(steps)"),),
        "training/test_resume.py",
    ),
    "optim: a step does not wait for a backward pass": Fault(
        "optim/optimisers.py",
        (("        with self.model.bound.changing:\n            return", "        if True:\n            return"),),
        "core/test_shared_models.py::test_a_step_waits_for_the_backward_pass_that_runs[step]",
    ),
}
# fmt: on
