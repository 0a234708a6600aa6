"""Planted in the proof: what it must not overlook, and what it must not refuse."""

from faults.fault import Fault

# fmt: off
FAULTS = {
    "proof: tanh has another derivative": Fault(
        "testing/proof/exact.py",
        (("return t, (ONE - t * t,)", "return t, (ONE - t,)"),),
        "evidence/test_proof.py::test_every_cell_is_proved",
    ),
    "proof: a stage is not compared": Fault(
        "testing/proof/stages.py",
        (("if case not in cases and not holds:", "if False:"),),
        "evidence/test_proof.py::test_faults_of_the_cells_are_refuted",
    ),
    "proof: kinks from one side only": Fault(
        "testing/proof/stages.py",
        (("if not case or since >= PATIENCE:", "if True:"),),
        "evidence/test_proof.py::test_kinks_are_looked_at_from_every_side",
    ),
    "proof: gradients over time are not compared": Fault(
        "testing/proof/bptt.py",
        (("return outputs, paired([(dy, true)", "return outputs, True or paired([(dy, true)"),),
        "evidence/test_proof.py::test_faults_of_time_are_refuted",
    ),
    "proof: outputs over time are not compared": Fault(
        "testing/proof/bptt.py",
        (("outputs = all(equal(a, b) for a, b in zip((y, *finals), (true, *states), strict=True))", "outputs = True"),),
        "evidence/test_proof.py::test_an_output_that_has_no_gradient_is_compared",
    ),
    "proof: no step is skipped": Fault(
        "testing/proof/bptt.py",
        (("skip = gaps(T, lengths) | past if setting.pair else None", "skip = None"),),
        "evidence/test_proof.py::test_faults_of_time_are_refuted",
    ),
    "proof: the steps skipped are the same backwards": Fault(
        "testing/proof/bptt.py",
        (("(t < lengths // 2) & (t % 2 == 0)", "(t < lengths) & (t % 2 == 0)"),),
        "evidence/test_proof.py::test_faults_of_time_are_refuted",
    ),
    "proof: one layer where two are said": Fault(
        "testing/proof/bptt.py",
        (('options={"num_layers": 2, "dropout": 0.3}', 'options={"num_layers": 1, "dropout": 0.3}'),),
        "evidence/test_proof.py::test_faults_of_gradient_checkpointing_are_refuted",
    ),
    "proof: exp(-a) is unrelated to exp(a)": Fault(
        "testing/proof/exact.py",
        (("((base, False), (P - base, True))", "((base, False),)"),),
        "evidence/test_proof.py::test_relations_between_functions",
    ),
}
# fmt: on
