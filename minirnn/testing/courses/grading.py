"""``grade``: every function in a file that a course asks for, steps before sequences."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from minirnn.testing.courses import cmu, cs231n, ctc, d2l, owncells, specialisation
from minirnn.testing.courses.exercises import Exercise, function_in
from minirnn.testing.courses.findings import Grade, Result
from minirnn.testing.courses.judging import Pair, judge_backward, judge_forward, passes
from minirnn.testing.courses.outputs import hopeless
from minirnn.testing.courses.standing import calls, standing_in
from minirnn.testing.functions.mending import LATEST
from minirnn.testing.own import module_from

Progress = Callable[[str], None]
SECONDS = 4.0  # of processor time, after which lines are looked for no longer
EXERCISES: Sequence[Exercise] = (*cs231n.EXERCISES, *specialisation.EXERCISES)


def silent(_function: str) -> None:
    """Progress that nobody sees."""


def grade(file: str | Path, *, progress: Progress = silent) -> Grade:
    """The grade of a file of Python, which is run; ``progress`` is called with the name of each function.

    FileNotFoundError or ValueError, in one sentence, where the file does not run, or has nothing a course asks for.
    """
    module = module_from(str(file))
    started = LATEST.set(time.process_time() + SECONDS)
    try:
        results = _results(module, str(file), progress)
    finally:
        LATEST.reset(started)
    if not results:
        raise ValueError(
            f"{file} must have functions that a course asks for, such as rnn_step_forward or rnn_cell_forward, or a "
            f"cell with step and unstep; it has none"
        )
    return Grade(str(file), tuple(results))


def _results(module: ModuleType, file: str, progress: Progress) -> list[Result]:
    results: list[Result] = []
    for exercise in EXERCISES:
        if _is_there(module, exercise):
            progress(exercise.forward)
            results += _graded(module, exercise, file, results)
    for others in (cmu.graded, ctc.graded, d2l.graded, owncells.graded):
        results += others(module, file, progress)
    return results


def _is_there(module: ModuleType, exercise: Exercise) -> bool:
    """Whether the exercise was handed in: a function of two courses is known by how many arguments it takes."""
    if function_in(module, exercise.forward, exercise.count) is not None:
        return True
    # a backward pass alone: two courses have these names, and the step says which
    shared = sum(exercise.forward == other.forward for other in EXERCISES) > 1
    if hasattr(module, exercise.forward) and not shared:
        return True
    alone = exercise.form == "cache" and hasattr(module, exercise.backward) and not hasattr(module, exercise.forward)
    return alone and (not shared or hasattr(module, exercise.step))


def _graded(module: ModuleType, exercise: Exercise, file: str, before: Sequence[Result]) -> list[Result]:
    """The results of both functions of an exercise."""
    course, forward = exercise.course, function_in(module, exercise.forward, exercise.count)
    backward = getattr(module, exercise.backward, None)
    if forward is None:
        wrong = hasattr(module, exercise.forward)
        note = f"it must take {exercise.count} arguments" if wrong else f"there is no {exercise.forward} in the file"
        missing = Result(exercise.forward, course, "missing", notes=(note,))
        if exercise.form == "loss":
            return [missing]
        return [missing, Result(exercise.backward, course, "not judged", blamed=exercise.forward)]
    pair = Pair(forward, backward if callable(backward) else None, file)
    step = next((one for one in EXERCISES if one.course == course and one.forward == exercise.step), None)
    blamed = _blamed(pair, step, before)
    with ExitStack() as stack:
        if step is not None and blamed:
            stack.enter_context(standing_in(module, step))
        ahead, mended = judge_forward(exercise, pair)
        if exercise.form == "loss":
            return [_of_loss(exercise, pair, ahead, mended)]
        if pair.backward is None:
            note = f"there is no {exercise.backward} in the file"
            return [_with_blame(ahead, blamed), Result(exercise.backward, course, "missing", notes=(note,))]
        if mended is not None:  # it may be right for what the course asks for
            again = judge_backward(exercise, pair._replace(forward=mended, formula=True))
            behind = _with_blame(again, exercise.forward) if again.ok else judge_backward(exercise, pair)
        elif not ahead.ok and not passes(exercise, pair, exercise.usual):  # which of the two is wrong nobody knows
            behind = Result(exercise.backward, course, "not judged", blamed=exercise.forward)
        else:
            behind = judge_backward(exercise, pair._replace(formula=ahead.ok))
    if hopeless(ahead):
        behind = Result(exercise.backward, course, "not judged", blamed=exercise.forward)
    return [_with_blame(ahead, blamed), _with_blame(behind, behind.blamed or blamed)]


def _blamed(pair: Pair, step: Exercise | None, before: Sequence[Result]) -> str:
    """The wrong step that a sequence calls, in its forward or its backward pass."""
    if step is None:
        return ""
    wrong = {result.function for result in before if not result.ok and result.course == step.course}
    for name in (step.forward, step.backward):
        if name in wrong and (calls(pair.forward, name) or calls(pair.backward, name)):
            return name
    return ""


def _with_blame(result: Result, blamed: str) -> Result:
    """A result of a sequence that was judged with a right step in the place of a wrong one."""
    if not blamed:
        return result
    looks = any("Noted" in finding.words for finding in result.findings)
    if looks:  # it uses the step's cache itself
        return Result(result.function, result.course, "not judged", blamed=blamed)
    return Result(result.function, result.course, result.status, result.findings, result.smallest, blamed, result.notes)


def _of_loss(exercise: Exercise, pair: Pair, ahead: Result, mended: Callable[..., Any] | None) -> Result:
    """One result for a loss and its gradient, which one function returns."""
    if hopeless(ahead):
        return ahead
    pair = pair._replace(formula=ahead.ok) if mended is None else pair._replace(forward=mended, formula=True)
    behind = judge_backward(exercise, pair)
    if ahead.ok:
        return behind
    findings = (*ahead.findings, *behind.findings)
    return Result(ahead.function, ahead.course, "wrong", findings, ahead.smallest, notes=behind.notes)
