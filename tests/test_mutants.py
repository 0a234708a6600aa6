"""Tests of the tests: faults are planted in a copy of the package, one by one, and the evidence must fail on each.

Every mutant runs the evidence of the equations, time, layers, losses, optimisers and the language model, without torch,
in a process of its own, until the first failure.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minirnn

TESTS = Path(__file__).resolve().parent
PACKAGE = Path(minirnn.__file__).resolve().parent
EVIDENCE = [
    "cells",
    "activations",
    "variants",
    "masks",
    "layers",
    "noise",
    "refusals",
    "oracle",
    "gradients",
    "properties",
    "conformance",
    "losses",
    "optim",
    "padding",
    "text",
    "lm",
    "train",
]
# where a fault in this file shows first; files and the command line have evidence of their own
FIRST = {
    "cells.py": ["cells", "oracle"],
    "explain/": ["explain"],
    **{f"explain/{name}.py": ["story"] for name in ("lines", "story", "sums", "scene", "page", "typeset")},
    "explain/serve.py": ["serve"],
    "activations.py": ["activations"],
    "variants.py": ["variants", "files"],
    "protocol.py": ["variants"],
    "masks.py": ["masks"],
    "segments.py": ["segments"],
    "layers.py": ["layers", "masks", "gradients"],
    "thinning.py": ["noise"],
    "zoneout.py": ["noise"],
    "formats/torch_write.py": ["noise"],
    "fused.py": ["noise"],
    "noise.py": ["layers", "noise", "gradients"],
    "padding.py": ["properties"],
    "scan.py": ["oracle", "segments", "noise", "gradients", "properties"],
    "direction.py": ["oracle", "gradients", "properties", "segments"],
    "recurrent.py": ["oracle", "noise", "gradients", "properties"],
    "compose.py": ["oracle", "gradients", "masks"],
    "backend.py": ["gradients"],
    "base.py": ["properties"],
    "losses.py": ["losses"],
    "optim.py": ["optim", "resume"],
    "parameters.py": ["optim"],
    "text.py": ["text"],
    "lm.py": ["lm", "ranks", "resume"],
    "train.py": ["train", "resume", "ranks"],
    "ranks.py": ["ranks"],
    "checkpoint.py": ["resume"],
    "keeping.py": ["ranks", "resume"],
    "terminal.py": ["ranks", "cli"],
    "record.py": ["resume"],
    "states.py": ["resume", "stream"],
    "stream.py": ["stream"],
    "chain.py": ["stream"],
    "quantize.py": ["quantize"],
    "blocked.py": ["quantize"],
    "commands/machine.py": ["cli"],
    "commands/models.py": ["convert"],
    "commands/shared.py": ["cli"],
    "commands/together.py": ["ranks"],
    "commands/resuming.py": ["resume"],
    "commands/training.py": ["cli", "resume"],
    "formats/files.py": ["files"],
    "formats/archive.py": ["hostile_torch"],
    "formats/pickles.py": ["hostile_torch"],
    "formats/torch_read.py": ["hostile_torch"],
    "formats/torch_chain.py": ["hostile_torch"],
    "formats/native.py": ["file_costs", "files"],
    "formats/limits.py": ["file_costs"],
    "formats/hdf5/": ["keras_files", "file_costs"],
    "formats/keras/": ["keras_files", "file_costs"],
    "formats/onnx/": ["onnx_files", "onnx_bombs", "onnx_structures", "onnx_external"],
    "formats/onnx/external.py": ["onnx_external"],
    "formats/onnx/meter.py": ["onnx_structures", "onnx_bombs"],
}

# name: (file, (what stands there, what is planted), ...)
MUTANTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    # ------------------------------------------------------------ equations
    "tanh: derivative 1 - h": ("cells.py", (("(1 - h1 * h1)", "(1 - h1)"),)),
    "relu: derivative 1 everywhere": ("cells.py", (("da = np.where(a.real <= 0, a.dtype.type(0), dh1)", "da = dh1"),)),
    "relu: abs": ("cells.py", (("h1 = np.where(a.real <= 0, a.dtype.type(0), a)", "h1 = np.where(a.real <= 0, -a, a)"),)),
    "sigmoid: too steep": ("cells.py", (("0.5 * np.tanh(0.5 * a) + 0.5", "0.5 * np.tanh(a) + 0.5"),)),
    "gru: r and z swapped, consistently": (
        "cells.py",
        (
            ("r = sigmoid(p_r + q_r)  # (1)\n        z = sigmoid(p_z + q_z)", "z = sigmoid(p_r + q_r)\n        r = sigmoid(p_z + q_z)"),
            ("join(da_r, da_z, da_n), join(da_r, da_z, du)", "join(da_z, da_r, da_n), join(da_z, da_r, du)"),
        ),
    ),
    "gru: z for 1 - z, consistently": (
        "cells.py",
        (
            ("n = np.tanh(p_n + r * u)  # (4)\n        h1 = (1 - z) * n + z * h", "n = np.tanh(p_n + r * u)\n        h1 = z * n + (1 - z) * h"),
            (
                "r, z, n, u, h = saved\n        dn = dh1 * (1 - z)  # (5)\n        dz = dh1 * (h - n)  # (5)\n        dh = dh1 * z",
                "r, z, n, u, h = saved\n        dn = dh1 * z\n        dz = dh1 * (n - h)\n        dh = dh1 * (1 - z)",
            ),
        ),
    ),
    "gru: sign of dz": ("cells.py", (("r, z, n, u, h = saved\n        dn = dh1 * (1 - z)  # (5)\n        dz = dh1 * (h - n)", "r, z, n, u, h = saved\n        dn = dh1 * (1 - z)\n        dz = dh1 * (n - h)"),)),
    "gru: dq_n without r": ("cells.py", (("du = da_n * r", "du = da_n"),)),
    "gru: dr from the state": ("cells.py", (("dr = da_n * u", "dr = da_n * h"),)),
    "gru before: h used once": ("cells.py", (("dh = dh + da * r", "dh = da * r"),)),
    "gru before: reset forgotten, consistently": ("cells.py", (("a = r * h  # (3)", "a = h"), ("dr = da * h  # (3)\n        dh = dh + da * r", "dr = da * 0\n        dh = dh + da"))),
    "lstm: i and f swapped, consistently": ("cells.py", (("a_i, a_f, a_g, a_o = split", "a_f, a_i, a_g, a_o = split"), ("join(da_i, da_f, da_g, da_o)", "join(da_f, da_i, da_g, da_o)"))),
    "lstm: dc' lost": ("cells.py", (("dc1 = dc1 + dm * (1 - m * m)", "dc1 = dm * (1 - m * m)"),)),
    "lstm: tanh of c not differentiated": ("cells.py", (("dc1 = dc1 + dm * (1 - m * m)", "dc1 = dc1 + dm"),)),
    "lstm: df from the new cell": ("cells.py", (("df = dc1 * c  # (5)", "df = dc1 * m"),)),
    "lstm: direct path lost": ("cells.py", (("dc = dc1 * f  # (5)", "dc = dc1 * 0"),)),
    "lstm: g squashed by the wrong function's derivative": ("cells.py", (("da_g = dg * (1 - g * g)", "da_g = dg * g * (1 - g)"),)),
    "lstm projected: the gradient does not pass": ("cells.py", (("return None, dq, (None, dc1)", "return None, dq * 0, (None, dc1)"),)),
    "lstm projected: dc' lost": ("cells.py", (("return None, dq, (None, dc1)", "return None, dq, (None, dc1 * 0)"),)),
    "lstm projected: squashed, forward only": ("cells.py", (("_, c1 = state\n        h1 = q  # (8)", "_, c1 = state\n        h1 = np.tanh(q)"),)),
    # ------------------------------------------------------------ time
    "recurrent bias dropped": ("scan.py", (("q[:, block] += v", "q[:, block] += 0 * v"),)),
    "off by one in dy": ("scan.py", (("dstate[0] + dy[t],", "dstate[0] + dy[t - 1],"),)),
    "off by one in p": ("scan.py", (("stage.step(P[t, :", "stage.step(P[t - 1, :"),)),
    "dU from the state after the step": ("scan.py", (("self.A = [h[:-1],", "self.A = [h[1:],"),)),
    "a matrix's gradient: = for +=": ("direction.py", (("layer.add(matrix_of(stage), A.T @ rows)", "layer.grad(matrix_of(stage))[...] = A.T @ rows"),)),
    "a matrix multiplies the state, not what comes before it": ("scan.py", (("self.A[k][t] = flow[0]", "self.A[k][t] = flow[-1]"),)),
    "a projection's state as wide as the cell": ("direction.py", (("of = {n: p.backend.xp.zeros((B, n), p.dtype)", "of = {n: p.backend.xp.zeros((B, self.hidden_size), p.dtype)"),)),
    "direct path dropped": ("scan.py", (("(da if direct[0] is None else da + direct[0], *direct[1:])", "(da, *direct[1:])"),)),
    "gradient does not go back through U": ("scan.py", (("da = dq @ self.U[k].T", "da = 0 * dq @ self.U[k].T"),)),
    "state not carried past a length": ("scan.py", (("self.xp.where(k[t], old, new) for", "new for"),)),
    "gradient not carried past a length": ("scan.py", (("new + self.xp.where(k[t], d, zero) for", "new for"),)),
    "padding's gradient leaks": ("scan.py", (("self.xp.where(k[t], zero, d) for", "d for"),)),
    "per-unit gradients: = for +=": ("scan.py", (("dunits[k][i] += part.sum(0)", "dunits[k][i] = part.sum(0)"),)),
    "reverse direction does not reverse": ("scan.py", (("return a[::-1]", "return a"),)),
    "reverse direction starts at the end of the padding": ("scan.py", (("if run.flipped is None:", "if True:"),)),
    "reversal off by one": ("padding.py", (("lengths - 1 - t)", "(lengths - t) % T)"),)),
    # ------------------------------------------------------------ layers
    "weights' gradients: = for +=": ("direction.py", (("total += gradient", "total[...] = gradient"),)),
    "dU: = for +=": ("direction.py", (("dU[:, scan.columns[k]] += A.T @ rows", "dU[:, scan.columns[k]] = A.T @ rows"),)),
    "bias dropped for one-hot input": ("direction.py", (('layer.weight("W")[x] + layer.weight("b")', 'layer.weight("W")[x]'),)),
    "initial states of layers reversed": ("recurrent.py", (("[d for _, d in back] + dinitials", "dinitials + [d for _, d in back]"),)),
    "final state's gradient to the first layer": ("recurrent.py", (("dfinals[layer * n + k]", "dfinals[k]"),)),
    "lost initial-state gradient": ("direction.py", (("        return layer.turn(dx, self.run), dstate\n", "        return layer.turn(dx, self.run), tuple(d * 0 for d in dstate)\n"),)),
    "trainable state learns from the first row only": ("direction.py", (('self.add(f"{name}0", d.sum(0))', 'self.add(f"{name}0", d[0])'),)),
    "dx of only one direction": ("recurrent.py", (("                    dy += part\n", "                    dy += 0 * part\n"),)),
    "dropout: gradient not masked": ("noise.py", (("xp.where(mask, dy * scale, zero), None", "dy * scale, None"),)),
    "dropout: not rescaled": ("noise.py", (("x.dtype.type(0), 1 / (1 - p)", "x.dtype.type(0), 1.0"),)),
    "dropout: locked for all rows too": ("noise.py", (("(1 if locked else T, B, D)", "(1 if locked else T, 1 if locked else B, D)"),)),
    "dropout: never locked": ("noise.py", (("(1 if locked else T, B, D)", "(T, B, D)"),)),
    "dropout: not locked between layers": ("recurrent.py", (("run, locked=self.locked)", "run, locked=False)"),)),
    "dropout: rows counted from each rank's first": ("noise.py", (("zip((first_step, first_row, 0), shape", "zip((first_step, 0, 0), shape"),)),
    "dropout: the same mask every time": ("noise.py", (("for word in (zlib.crc32(site.encode()), call)", "for word in (zlib.crc32(site.encode()),)"),)),
    "weight dropout: gradient not masked": ("thinning.py", (('self.layer.add("U", self._masked(self.dV))', 'self.layer.add("U", self.dV)'),)),
    "weight dropout: not rescaled": ("thinning.py", (("self.scale = 1 / (1 - p)", "self.scale = 1.0"),)),
    "weight dropout: the gradient of a pass before counted again": ("thinning.py", (("        self.dV[...] = 0\n", ""),)),
    "weight dropout: one mask for all layers": ("thinning.py", (('f"{layer.prefix}U"', '"U"'),)),
    "weight dropout: in inference too": ("direction.py", (("if run.training and self.weight_dropout else", "if self.weight_dropout else"),)),
    "weight dropout: kernels read the model's U": ("fused.py", (('= self.rest, layer.place("U")[0]', '= self.rest, layer.bound.addresses(layer.prefix + "U")[0]'),)),
    "weight dropout: kernels add to the model's gradient": ("fused.py", (('self.layer.place("U")[1]', 'self.layer.bound.addresses(self.layer.prefix + "U")[1]'),)),
    "zoneout: what goes by the step alone": ("scan.py", (("new + self.xp.where(k[t], d, zero)", "self.xp.where(k[t], d, new)"),)),
    "zoneout: nothing of it in inference": ("direction.py", (("share = layer.zoneout if any(layer.zoneout) and not run.training else None", "share = None"),)),
    "zoneout: the new for the old in inference": ("scan.py", (("p * old + (1 - p) * new", "(1 - p) * old + p * new"),)),
    "zoneout: drawn by what keeps": ("zoneout.py", (("        ~kept(xp", "        kept(xp"),)),
    "zoneout: one mask for both states": ("zoneout.py", (('zoneout.{name}"', 'zoneout"'),)),
    "zoneout: one mask for both directions": ("zoneout.py", (('f"{layer.prefix}zoneout', 'f"zoneout'),)),
    "zoneout: lengths forgotten": ("zoneout.py", (("ended if zone is None else zone | ended", "ended if zone is None else zone"),)),
    "zoneout: one mask for all steps": ("zoneout.py", (("run.call, (T, B, n), p", "run.call, (1, B, n), p"),)),
    "zoneout: h's probability for c": ("zoneout.py", (("layer.widths, layer.zoneout, strict", "layer.widths, layer.zoneout[:1] * len(layer.zoneout), strict"),)),
    "zoneout: kernels that know nothing of it": ("direction.py", (("return None if any(self.zoneout) else", "return"),)),
    "zoneout: exported": ("formats/torch_write.py", (("and not layer.trainable_state and not layer.zoneout", "and not layer.trainable_state"),)),
    "segments: each with the masks of the first": ("segments.py", (("first_step=k * self.run.every", "first_step=0"),)),
    "segments: without noise at first": ("segments.py", (("first_step=k * self.run.every, again=again", "first_step=k * self.run.every, training=not again"),)),
    "linear: db: = for +=": ("layers.py", (("db += drows.sum(0)", "db[...] = drows.sum(0)"),)),
    "linear: tied gradient lost": ("layers.py", (('dW = self.tie.grad("W").T if self.tie', 'dW = self.tie.grad("W").T.copy() if self.tie'),)),
    "embedding: repeated index counted once": ("backend.py", (("out[ordered[starts]] += self.xp.add.reduceat(rows[order], starts, axis=0)", "out[ordered[starts]] += rows[order][starts]"),)),
    "last: one step early": ("layers.py", (("xp.where(skipped, 0, t).max(0)", "xp.where(skipped, 0, t - 1).max(0)"),)),
    "sequential: layers back in the order forward": ("compose.py", (("zip(reversed(pulls), reversed(dstate), strict=True)", "zip(pulls, reversed(dstate), strict=True)"),)),
    "bidirectional: halves swapped": ("compose.py", (("xp.concatenate([a, b]", "xp.concatenate([b, a]"),)),
    "bidirectional: a product's gradients swapped": ("compose.py", (("return dy * b, dy * a", "return dy * a, dy * b"),)),
    "bidirectional: not 0 at a skipped step": ("compose.py", (("y if skip is None else blank(y, skip)", "y"),)),
    "bidirectional: a mask not turned with the rows": ("scan.py", (("run._replace(skip=flip(run.skip, run))", "run"),)),
    "mask: gaps filled from behind": ("masks.py", (("argsort(t + T * self.skip", "argsort(-t + T * self.skip"),)),
    "mask: the step after for the one before": ("masks.py", (("self.xp.maximum(count - 1, 0)", "self.xp.maximum(count - 1, 0) * 0"),)),
    "mask: not 0 before the first step": ("masks.py", (("self.skip if zero else self.before)", "self.skip if zero else self.before & False)"),)),
    "mask: what skipped steps send back lost": ("masks.py", (("dy[t - 1] += self.xp.where", "dy[t - 1] += 0 * self.xp.where"),)),
    "mask: sent back twice": ("masks.py", (("            dy = blank(dy, gaps.past)\n", ""),)),
    "mask: x kept": ("layers.py", (("return Result(blank(x, skip), None", "return Result(x, None"),)),
    "mask: lengths forgotten": ("layers.py", (("skip | run.skipped", "skip"),)),
    "sequential: a mask not handed on": ("compose.py", (("run = told or run", "run = run"),)),
    # ------------------------------------------------------------ functions, and cells with options
    "gelu: the other half": ("activations.py", (("return _below(a, 0, upper, 1 - upper)", "return _below(a, 0, 1 - upper, upper)"),)),
    "elu: slope without alpha": ("activations.py", (("dy * (y + alpha), dy)", "dy * (y + 1), dy)"),)),
    "softmax: slope of each entry alone": ("activations.py", (("y * (dy - (dy * y).sum(axis=-1, keepdims=True))", "y * (dy - dy * y)"),)),
    "mish: large numbers": ("activations.py", (("a * np.tanh(_softplus(a))", "a * np.tanh(np.log(1 + np.exp(a)))"),)),
    "variant: peepholes swapped": ("variants.py", (('("p_i", "p_f", "p_o")', '("p_f", "p_i", "p_o")'),)),
    "variant: the output gate sees the old cell": ("variants.py", (('w["p_o"] * c1', 'w["p_o"] * c'),)),
    "variant: not coupled": ("variants.py", (("f = 1 - i if", "f = i if"),)),
    "variant: clipped on one side": ("variants.py", (("np.clip(a, -clip, clip)", "np.clip(a, None, clip)"),)),
    "variant: reset after the product, whatever is asked": ("variants.py", (('if self.reset == "after" else', "if True else"),)),
    "variant: trained": ("protocol.py", (('return all(hasattr(stage, "unstep")', 'return any(hasattr(stage, "step")'),)),
    "padding of dy is used": ("base.py", (("dy = blank(dy, past)", "dy = dy"),)),
    # ------------------------------------------------------------ losses, optimisers, language model
    "cross entropy: gradient of the sum": ("losses.py", (("dlogits /= N", "dlogits /= 1"),)),
    "cross entropy: mask not in the mean": ("losses.py", (("targets.size if counts is None else counts.sum()", "targets.size"),)),
    "cross entropy: no shift": ("losses.py", (("flat - flat.real.max(axis=1, keepdims=True)", "flat - 0"),)),
    "mse: half the gradient": ("losses.py", (("difference * (2 / N)", "difference * (1 / N)"),)),
    "clipping by each weight alone": ("optim.py", (("largest * squares**0.5", "largest * squares"),)),
    "frozen weights are trained": ("parameters.py", (("if name in self.frozen:", "if False:"),)),
    "sgd: uphill": ("optim.py", (("        w -= lr * g\n", "        w += lr * g\n"),)),
    "adam: bias not corrected": ("optim.py", (("(v / (1 - self.beta2**self.steps)) ** 0.5", "v ** 0.5"),)),
    "gradients not zeroed": ("optim.py", (("            model.zero_grads()\n        model.bound.updates += 1\n        return norm\n", "            pass\n        model.bound.updates += 1\n        return norm\n"),)),
    "batches: y is x": ("text.py", (("_batch(self.indices[window + 1])", "_batch(self.indices[window])"),)),
    "generation forgets its state": ("lm.py", (("y, state = self.network(np.array([[symbol]]), state)", "y, state = self.network(np.array([[symbol]]))"),)),
    "beam keeps the wrong states": ("lm.py", (("take_rows(state, rows)", "state"),)),
    "training drops the state": ("train.py", (('state = self._carried if self.sampling == "sequential" else None', "state = None"),)),
    "training repeats its batches": ("train.py", (("seed=epoch_seed(self.seed, self.epoch),", "seed=epoch_seed(self.seed, 0),"),)),
    # ------------------------------------------------------------ what is shown of a pass
    "explain: running sums in the order of x": ("explain/trace.py", (("        if self.reverse:\n            return np.asarray(np.cumsum", "        if not self.reverse:\n            return np.asarray(np.cumsum"),)),
    "explain: a gradient without what its own step's loss sends": ("explain/recording.py", (("flow = (flow[0] + self.dy[t], *flow[1:])", "pass"),)),
    "explain: a line shows what another computed": ("explain/trace.py", (("and set(event.numbers) & set(equation.numbers)", ""),)),
    "explain: a second assignment shown for the first": ("explain/watching.py", (("self.note(name, self.pending, frame.f_locals[name])", "self.note(name, self.statements[max(self.statements)], frame.f_locals[name])"),)),
    # ------------------------------------------------------------ the page that shows it
    "page: a gradient's row is that of its own step": ("explain/lines.py", (("values[order[1:]] = gradient[order[:-1]]", "values[order] = gradient[order]"),)),
    "page: sums clipped too early": ("explain/story.py", (("if phase == \"clip\":", "if phase in (\"clip\", \"backward\"):"),)),
    "page: sums in x's order": ("explain/sums.py", (("walk.sums(name)[list(walk.order)]", "walk.sums(name)"),)),
    "page: rows of a matrix under others' names": ("explain/sums.py", (("frames[:, here]", "frames[:, : len(here)]"),)),
    "page: one quantity's numbers for another's": ("explain/story.py", (("while name in self._arrays and not np.array_equal(self._arrays[name], values):", "while False:"),)),
    "page: scale on every weight": ("explain/scene.py", (("U = layer.weight(\"U\")\n", "U = layer.weight(\"W\")\n"),)),
    "page: a text that ends the script": ("explain/page.py", (('for character in "<>&\\u2028\\u2029":', "for character in \"&\":"),)),
    "page: an index left in line": ("explain/typeset.py", (("found.append((\"sub\", match[\"sub\"]))", "found.append((\"t\", match[\"sub\"]))"),)),
    "serve: for any host": ("explain/serve.py", (("given[0] not in hosts or ", ""),)),
    "serve: for any page": ("explain/serve.py", (("any(o != f\"http://{given[0]}\" for o in origins) or ", ""),)),
    "serve: on every interface": ("explain/serve.py", (("super().__init__((HOST, port), Handler)", "super().__init__((\"\", port), Handler)"),)),
    "serve: a mistake ends the answer": ("explain/serve.py", (("            found = {\"problem\": str(error)}", "            raise"),)),
    # ------------------------------------------------------------ memory for time
    "segments: all from the first state": ("segments.py", (("one.forward(self.x[stretch], self.states[k], y, known", "one.forward(self.x[stretch], self.states[0], y, known"),)),
    "segments: states' gradients stop": ("segments.py", (("            part, dstate = one.backward", "            part, _ = one.backward"),)),
    "segments: a reverse direction's in x's order": ("segments.py", (("        if self.layer.reverse:\n            return", "        if False:\n            return"),)),
    "segments: lengths forgotten": ("segments.py", (("past = None if self.run.past is None else self.run.past[stretch]", "past = None"),)),
    "segments: states not copied": ("segments.py", (("tuple(backend.xp.array(s) for s in state)", "state"),)),
    "segments: the last one computed again": ("segments.py", (("one, self.last = self.last or self._again", "one, self.last = self._again"),)),
    "segments: each step's product with its own h": ("scan.py", (("Q = (h[:-1].reshape", "Q = (h[1:].reshape"),)),
    "segments: all is kept": ("direction.py", (("segmented = run.training and 0 < run.every < len(x)", "segmented = False"),)),
    # ------------------------------------------------------------ runs that stop and go on
    "resume: dropout begins anew": ("train.py", (('p.calls, p.updates = about["calls"], p.updates + 1', "p.updates += 1"),)),
    "resume: masks are drawn anew": ("train.py", (("self._masks, self._carried, self._skipped = masks, carried,", "self._carried, self._skipped = carried,"),)),
    "resume: the state begins anew": ("train.py", (("self._masks, self._carried, self._skipped = masks, carried,", "self._masks, self._carried, self._skipped = masks, None,"),)),
    "resume: a batch is taken twice": ("train.py", (("            start=self.batch,\n", "            start=max(0, self.batch - 1),\n"),)),
    "resume: the optimiser begins anew": ("optim.py", (('self.state[name][...] = self.model.bound.backend.xp.asarray(state[name])', "pass"),)),
    "resume: a halved rate is forgotten": ("optim.py", (("self.steps, self.factor = int(steps), factor", "self.steps = int(steps)"),)),
    "training: a skipped step's gradient stays": ("train.py", (("        network.zero_grads()\n", ""),)),
    "training: skips without end": ("train.py", (("if self._skipped == HOPELESS:", "if False:"),)),
    "training: overlapping windows count all errors": ("lm.py", (("elif stride and stride < len(x) and state is not None:", "elif False:"),)),
    "training: errors stop where the next window begins": ("lm.py", (("back_first(dlogits[:stride], dstate)", "back_first(dlogits[:stride])"),)),
    "checkpoint: damage not noticed": ("checkpoint.py", (('!= metadata.get("digest")', '!= metadata.get("digest") and False'),)),
    "checkpoint: the newest removed": ("checkpoint.py", (("sound[self.keep :]", "sound[: -self.keep]"),)),
    "checkpoint: what a kill left stays": ("checkpoint.py", (("                left.unlink(missing_ok=True)\n", "                pass\n"),)),
    "checkpoint: of a diverged model": ("checkpoint.py", (("if not np.isfinite(a).all():", "if False:"),)),
    "keeping: the last for the best": ("keeping.py", (("if perplexity < self.best and", "if"),)),
    "keeping: patience does not end": ("keeping.py", (("self.worse >= self.patience", "self.worse > 10 * self.patience"),)),
    "keeping: a full disk ends training": ("keeping.py", (("except OSError as error:", "except ZeroDivisionError as error:"),)),
    "record: lines of steps that come again": ("record.py", (('if line["step"] <= step] if', 'if line["step"]] if'),)),
    "cli: goes on with another network": ("commands/resuming.py", (("if options[name] != begun.get(name):", "if False:"),)),
    "cli: goes on with another text": ("commands/training.py", (('if saved.text != more["text"]:', "if False:"),)),
    "ranks: a row is computed twice": ("ranks.py", (("return slice(batch_size * self.rank // self.size,", "return slice(max(0, batch_size * self.rank // self.size - 1),"),)),
    "ranks: each takes its own gradient": ("ranks.py", (("self._comm.Allreduce(None, grads)  # None: in place", "pass"),)),
    "ranks: a sum stays on the host": ("ranks.py", (("grads[...] = backend.xp.asarray(copied)", "pass"),)),
    "ranks: each says its own loss": ("ranks.py", (("return float(whole[0])", "return loss"),)),
    "ranks: drift not noticed": ("ranks.py", (("        if others:", "        if False:"),)),
    "ranks: each with all threads": ("ranks.py", (("len(here[1]) // everywhere.count(here)", "len(here[1])"),)),
    "ranks: all on one GPU": ("ranks.py", (("before % runtime.getDeviceCount()", "0"),)),
    "ranks: another MPI's mpiexec not noticed": ("ranks.py", (("    for name in SIZES:", "    for name in ():"),)),
    "ranks: errors divided by the rank's own targets": ("lm.py", (("cross_entropy(logits, y, mask, total=total)", "cross_entropy(logits, y, mask)"),)),
    "ranks: masks of the batch's first rows": ("lm.py", (("rows.indices(x.shape[1])[0]", "0"),)),
    "ranks: only the first rank's state is kept": ("train.py", (("for k, share in enumerate(zip(*shares, strict=True))", "for k, share in enumerate(zip(shares[0]))"),)),
    "ranks: all go on with the first rows' state": ("train.py", (("a[:, self._rows].copy()", "a[:, : self._rows.stop - self._rows.start].copy()"),)),
    "ranks: every rank writes": ("keeping.py", (("if self.training.ranks.rank:", "if False:"),)),
    "ranks: one believes in a best that was not kept": ("keeping.py", (("if ranks.agree(self._try(lambda: save(lm, self.folder.best))):", "if self._try(lambda: save(lm, self.folder.best)):"),)),
    "ranks: a signal ends one of them": ("terminal.py", (("run.signal = ranks.largest(signals.caught)\n                if", "run.signal = signals.caught\n                if"),)),
    "ranks: interrupted, one goes on to save": ("terminal.py", (("if ranks.size > 1:", "if False:"),)),
    "together: an error is not said": ("commands/together.py", (("console.quiet = False", "pass"),)),
    "together: all say everything": ("commands/together.py", (("        keep_quiet()", "        pass"),)),
    "together: no rank is ended": ("commands/together.py", (("ranks.abort(2)", "pass"),)),
    "together: last words of long ago": ("commands/together.py", (("if words != last:", "if not last:"),)),
    "together: last words of the living": ("commands/together.py", (('tell("")', "pass"),)),
    "cli: a run is begun again": ("commands/resuming.py", (("elif folder and folder.steps():", "elif False:"),)),
    # ------------------------------------------------------------ files and the command line
    "load: NaN accepted": ("formats/files.py", (("        if not np.isfinite(array).all():\n", "        if False:\n"),)),
    "load: shapes not compared": ("formats/native.py", (("if name not in expected or expected[name][0] != shapes.get(name):", "if (name in expected) != (name in shapes):"),)),
    "opening: a list of entries of any length is read": ("formats/archive.py", (("if count > MOST_ENTRIES or size > LARGEST_DIRECTORY:", "if False:"),)),
    "torch: a storage read for every tensor in it": ("formats/torch_read.py", (("if left[entry] <= 0:", "if True:"),)),
    "torch: what a pickle makes is not counted": ("formats/pickles.py", (("if self.held > MOST_HELD + len(self.data):", "if False:"),)),
    "torch: any integer is a key": ("formats/pickles.py", (("(type(key) is int and abs(key) < LARGEST_KEY)", "type(key) is int"),)),
    "opening: a header of any size is parsed": ("formats/limits.py", (("        if size > LARGEST_HEADER:\n", "        if False:\n"),)),
    "save: deeper than can be loaded": ("formats/native.py", (("    if depth > DEEPEST:\n        raise ValueError(f\"a model file may", "    if False:\n        raise ValueError(f\"a model file may"),)),
    "load: true for a number": ("formats/native.py", (("if isinstance(value, bool) is not (name in FLAGS):", "if False:"),)),
    "torch: shown whole": ("formats/pickles.py", (("if type(value) in _SCALARS else type(value).__name__", "if True else ''"),)),
    "torch: no numbers in too many places": ("formats/torch_read.py", (("return prod(n or 1 for n in shape) > LARGEST_SIZE", "return False"),)),
    "torch: steps of a name taken off one by one": ("formats/torch_chain.py", (("    paths = [path[alike:] for path in paths]\n", "    for _ in range(alike):\n        paths = [path[1:] for path in paths]\n"),)),
    "torch: entries may overlap": ("formats/archive.py", (("if not free <= entry.start <= limit - 30:", "if not entry.start <= limit - 30:"),)),
    "save: not atomic": ("formats/files.py", (('temporary = path.with_name(f".{secrets.token_hex(8)}.part")', "temporary = path"),)),
    "save: frozen forgotten": ("formats/native.py", (('"frozen": sorted(parameters.frozen)', '"frozen": []'),)),
    "save: a cell's options forgotten": ("formats/native.py", (('return {"kind": kind, **cell.config()}', 'return {"kind": kind}'),)),
    "load: any class for a cell": ("formats/native.py", (("    if kind not in VARIANTS:\n", "    if False:\n"),)),
    "load: a cell's functions not looked up": ("variants.py", (("Function(**value) if name in functions else value", "value"),)),
    "cli: errors exit with 1": ("commands/shared.py", (("            sys.exit(2)", "            sys.exit(1)"),)),
    "cli: clip ignored": ("commands/training.py", (('clip=options["clip"] or None', "clip=None"),)),
    "cli: sampling ignored": ("commands/training.py", (('sampling=options["sampling"] or', 'sampling="random" or'),)),
    "cli: interrupted model not saved": ("commands/training.py", (("        minirnn.save(lm, out)\n", "        run.signal or minirnn.save(lm, out)\n"),)),
    "cli: check never fails": ("commands/machine.py", (("    if failed:\n        sys.exit(1)", "    if failed:\n        sys.exit(0)"),)),
    # ------------------------------------------------------------ Keras' files, and HDF5
    "keras: r and z as Keras has them": ("formats/keras/weights.py", (('return [1, 0, 2] if kind == "GRU"', 'return [0, 1, 2] if kind == "GRU"'),)),
    "keras: a GRU's second bias in both": ("formats/keras/weights.py", (("            both[1, 2] = 0  # stands apart, as bn\n", "            pass\n"),)),
    "keras: cuDNN's gates not turned": ("formats/keras/weights.py", (('"U": kernel(stored[1], lambda k: k.T)', '"U": kernel(stored[1], lambda k: k)'),)),
    "keras: cuDNN's input in C's order": ("formats/keras/weights.py", (('k.T.reshape(k.shape, order="F")', "k.T.reshape(k.shape)"),)),
    "keras: a weight of any shape": ("formats/keras/weights.py", (("if dataset.shape not in shapes:", "if False:"),)),
    "keras: hard sigmoid always Keras 3's": ("formats/keras/functions.py", (("0.2 if keras < 3 else 1 / 6", "1 / 6"),)),
    "keras: hard sigmoid always Keras 2's": ("formats/keras/functions.py", (("0.2 if keras < 3 else 1 / 6", "0.2"),)),
    "keras: every merge a sum": ("formats/keras/layers.py", (("Bidirectional(one.layer, other.layer, merge)", 'Bidirectional(one.layer, other.layer, "sum")'),)),
    "keras: go_backwards forgotten": ("formats/keras/layers.py", (("            placed.insert(0, Placed(Reverse()))\n", "            pass\n"),)),
    "keras: mask_zero forgotten": ("formats/keras/layers.py", (("mask=0 if zero else None", "mask=None"),)),
    "keras: a weight left over": ("formats/keras/stores.py", (("if array.name not in used and", "if False and"),)),
    "keras: more weights than the file": ("formats/keras/reading.py", (("if total > root.source.size or", "if"),)),
    "keras out: a GRU's biases exchanged": ("formats/keras/weights.py", (('np.stack([arrays["bias"], inner])', 'np.stack([inner, arrays["bias"]])'),)),
    "keras out: all steps for the last": ("formats/keras/describing.py", (("whole = last is None or not top", "whole = True"),)),
    "keras out: Reverse forgotten": ("formats/keras/describing.py", (("backwards=type(before) is Reverse", "backwards=False"),)),
    "keras out: directions exchanged": ("formats/keras/describing.py", (("[here[:1], here[1:]]", "[here[1:], here[:1]]"),)),
    "keras out: frozen forgotten": ("formats/keras/describing.py", (("trains = not owned or not", "trains = True or not"),)),
    "keras out: any hard sigmoid": ("formats/keras/functions.py", (("if isclose(f.constants[0], slopes[version][0], rel_tol=1e-7):", "if True:"),)),
    "keras out: a mask turned around": ("formats/keras/describing.py", (("        if self.turned:\n", "        if False:\n"),)),
    "keras out: NaN written": ("formats/keras/writing.py", (("if not np.isfinite(array).all():", "if False:"),)),
    "hdf5: an array larger than the file": ("formats/hdf5/storage.py", (("if self.nbytes > self.expansion * self.source.size:", "if False:"),)),
    "hdf5: chunks of any size": ("formats/hdf5/chunks.py", (("if whole > 4 * self.size * prod(self.shape) + LARGEST_SMALL:", "if False:"),)),
    "hdf5: any number of bytes made up": ("formats/hdf5/source.py", (("        if self._unwritten < 0:\n", "        if False:\n"),)),
    "hdf5: a zip's worth forgotten": ("formats/hdf5/source.py", (("worth = self.size if packed is None else min(packed, self.size)", "worth = self.size"),)),
    "keras: Windows' names as they are": ("formats/keras/stores.py", (("self.names.get(place.removesuffix('/vars'), place.removesuffix('/vars'))", "place.removesuffix('/vars')"),)),
    "hdf5: an array past the file's end": ("formats/hdf5/source.py", (("if address + length > self.size:", "if False:"),)),
    "hdf5: shuffled bytes left so": ("formats/hdf5/chunks.py", (("data = data.reshape(self.size, -1).T.ravel()", "pass"),)),
    "hdf5: a chunk in its neighbour's place": ("formats/hdf5/chunks.py", (("slice(o, o + n) for o, n in zip(offset, self.chunk", "slice(0, n) for o, n in zip(offset, self.chunk"),)),
    "hdf5: a heap's object one byte late": ("formats/hdf5/heaps.py", (("self.source.read(block + offset - base, length", "self.source.read(block + offset - base + 1, length"),)),
    # ------------------------------------------------------------ files of ONNX
    "onnx: gates of an LSTM in another order": ("formats/onnx/recurrences.py", (("else (0, 2, 3, 1)", "else (0, 2, 1, 3)"),)),
    "onnx: gates of a GRU as they come": ("formats/onnx/recurrences.py", (('"GRU": (1, 0, 2)', '"GRU": (0, 1, 2)'),)),
    "onnx: peepholes in another order": ("formats/onnx/recurrences.py", (('("p_i", "p_o", "p_f")', '("p_i", "p_f", "p_o")'),)),
    "onnx: the second bias forgotten": ("formats/onnx/recurrences.py", (("return ordered(outer + inner)", "return ordered(outer)"),)),
    "onnx: reset before the product, whatever is asked": ("formats/onnx/recurrences.py", (('reset = "after" if self.reset_after else', 'reset = "before" if self.reset_after else'),)),
    "onnx: lengths ignored": ("formats/onnx/recurrences.py", (("lens = None if (lens == T).all() else lens", "lens = None"),)),
    "onnx: a reverse direction not turned back": ("formats/onnx/recurrences.py", (("ys.append(turned(y, lens) if reverse else y)", "ys.append(y)"),)),
    "onnx: constants of functions not taken in turn": ("formats/onnx/recurrences.py", (("next(constants[w], v)", "v"),)),
    "onnx: input_forget ignored": ("formats/onnx/recurrences.py", (('op == "LSTM" and node.flag("input_forget")', 'op == "LSTM" and node.flag("input_forget") and False'),)),
    "onnx: negative integers": ("formats/onnx/wire.py", (("return value - (1 << 64) if value >> 63 else value", "return value"),)),
    "onnx: integers of more than one byte": ("formats/onnx/wire.py", (("(part & 0x7F).astype(np.uint64) << (7 * place)", "(part & 0x7F).astype(np.uint64) << (8 * place)"),)),
    "onnx: bfloat16 as float16": ("formats/onnx/tensors.py", (("    if code == FLOAT16:\n", "    if code in (FLOAT16, BFLOAT16):\n"),)),
    "onnx: numbers from any folder": ("formats/onnx/external.py", (('    if elsewhere or name in ("", ".", ".."):\n', "    if False:\n"),)),
    "onnx: a link followed": ("formats/onnx/external.py", (("            check_plain(what, name, path.lstat())\n", ""), ('"O_NOFOLLOW", ', ""))),
    "onnx: a pipe waited for": ("formats/onnx/external.py", (("    if not stat.S_ISREG(about.st_mode):\n", "    if False:\n"),)),
    "onnx: more bytes than another file has": ("formats/onnx/external.py", (("                if end > holds:\n", "                if False:\n"), ("                    if not more:\n", "                    if not more:\n                        break\n                    if False:\n"))),
    "onnx: one place read for every tensor in it": ("formats/onnx/external.py", (("        if place not in self._parts:\n", "        if True:\n"), ("if self._held.get(name, 0) + size > holds or", "if"))),
    "onnx: numbers elsewhere from the start": ("formats/onnx/external.py", (("                file.seek(offset)\n", ""),)),
    "onnx: an empty array counts for nothing": ("formats/onnx/meter.py", (("return math.prod(max(1, n) for n in shape)", "return math.prod(shape)"),)),
    "onnx: the steps of a Scan for nothing": ("formats/onnx/loops.py", (("        meter.spend(T * around(body))\n", ""),)),
    "onnx: names for nothing": ("formats/onnx/graph.py", (("    return CALL + NAME * (len(node.inputs) + len(node.outputs))\n", "    return CALL\n"),)),
    "onnx: lists of any length": ("formats/onnx/operands.py", (("    if count > most:\n", "    if False:\n"),)),
    "onnx: shared memory counted for each": ("formats/onnx/meter.py", (("        total += max(0, last - max(first, end))\n", "        total += last - first\n"),)),
    "onnx: room for what is there already": ("formats/onnx/meter.py", (("ROOM + 2 * wide - max(0, constants - wide)", "ROOM + 2 * constants"),)),
    "onnx: texts of any length": ("formats/onnx/wire.py", (("        if self.text_left < 0:\n", "        if False:\n"),)),
    "onnx: final states of any number": ("formats/onnx/tracing_moves.py", (("    if sum(len(form.rows) for form in given) > MOST_ROWS:\n", "    if False:\n"),)),
    "onnx: constants of any size looked at": ("formats/onnx/forms.py", (("form.size <= MOST_LOOKED_AT and ", ""),)),
    "onnx: vocabularies of any length": ("formats/onnx/chain.py", (('    if len(about["vocabulary"]) > LONGEST_VOCABULARY:\n', "    if False:\n"),)),
    "onnx: B not transposed": ("formats/onnx/computing.py", (('node.flag("transA"), node.flag("transB")', 'node.flag("transA"), node.flag("transB") and False'),)),
    "onnx: the older Softmax over one axis": ("formats/onnx/computing.py", (("    if old:\n            rows", "    if False:\n            rows"),)),
    "onnx: a clip on one side": ("formats/onnx/computing.py", (("((low, np.maximum), (high, np.minimum))", "((low, np.maximum),)"),)),
    "onnx: the last of equal entries first": ("formats/onnx/indexing.py", (("order = x.shape[k] - 1 - np.flip(order, k)", "order = np.flip(np.argsort(x, axis=k, kind='stable'), k)"),)),
    "onnx: a Scan in one direction": ("formats/onnx/loops.py", (("whole[-1 - t if back else t] = a", "whole[t] = a"),)),
    "onnx: layers not held against the graph": ("formats/onnx/chain.py", (("if given.shape != expected.shape or not np.abs(given - expected).max(initial=0) <= room:", "if False:"),)),
    "onnx: a node before what it reads": ("formats/onnx/reading.py", (("if name and name not in known:\n                    raise ModelFileError(f\"{node} reads", "if False:\n                    raise ModelFileError(f\"{node} reads"),)),
    "onnx: results not counted": ("formats/onnx/meter.py", (("            self.room -= size\n", ""),)),
    "onnx: time not counted": ("formats/onnx/meter.py", (("        self.time -= math.ceil(ns)\n", ""),)),
    "onnx: temporary arrays not counted": ("formats/onnx/meter.py", (("if count * itemsize * copies > self.room:", "if count * itemsize > self.room:"),)),
    "onnx: any number of nodes": ("formats/onnx/reading.py", (("        if self.nodes_left < 0:\n", "        if False:\n"),)),
    "onnx: chains of any length": ("formats/onnx/forms.py", (("if len(self.parts) == MOST_PARTS:", "if False:"),)),
    "onnx: inputs of any size drawn": ("formats/onnx/chain.py", (("        if sum(map(math.prod, [shape, *shapes.values()])) > MOST_DRAWN:\n", "        if False:\n"),)),
    # ------------------------------------------------------------ kernels
    "kernel tanh: derivative 1 - h": ("kernels/cpu/steps.py", (("da = dh1 * (1 - h1 * h1)", "da = dh1 * (1 - h1)"),)),
    "kernel relu: derivative 1 everywhere": ("kernels/cpu/steps.py", (("da = where_positive(a, dh1)", "da = dh1"),)),
    "kernel gru: sign of dz": ("kernels/cpu/steps.py", (("dz = dh1 * (load(h, j, n) - g)", "dz = dh1 * (g - load(h, j, n))"),)),
    "kernel gru: recurrent bias forgotten": ("kernels/cpu/scans.py", (("numbers(a.b, like), numbers(a.v, like), numbers(a.y, like)", "numbers(a.b, like), numbers(a.b, like), numbers(a.y, like)"),)),
    "kernel lstm: dc' lost": ("kernels/cpu/steps.py", (("dc1 = load(dc, j, n) + dm * (1 - m * m)", "dc1 = dm * (1 - m * m)"),)),
    "kernel sigmoid: too steep": ("kernels/cpu/activations.py", (("return 0.5 * tanh_of_half(a) + 0.5", "return 0.5 * tanh(a) + 0.5"),)),
    "kernel: dU from the state after the step": ("kernels/cpu/scans.py", (("else start * B + edge - B) * Y)", "else start * B + edge) * Y)"),)),
    "kernel: the first chunk's gradients lost": ("kernels/cpu/scans.py", (("in range((T - 1) // d.chunk * d.chunk, -1, -d.chunk)", "in range((T - 1) // d.chunk * d.chunk, 0 if T > d.chunk else -1, -d.chunk)"),)),
    "kernel known: the first step's product with h of a row before": ("kernels/cpu/scans.py", (("begins = t0 == 0 and bool(after) == (a.reverse != 0)", "begins = t0 == 0 and not after"),)),
    "kernel: rows go on past their lengths": ("kernels/cpu/scans.py", (("if not ended(a.lengths, first + r, t):", "if True:"),)),
    "kernel: a given state taken for zeros": ("kernels/cpu/scans.py", (("terms = H if t or not a.rest else 0", "terms = H if t else 0"),)),
    "kernel: the last of k dropped": ("kernels/cpu/tiles.py", (("sums = loop(whole, k_end, 1, sums)", "sums = loop(whole, whole, 1, sums)"),)),
    "kernel: weights packed one row late": ("kernels/cpu/packing.py", (("store(load(source, i * ldb, left), target", "store(load(source, (i + 1) % k * ldb, left), target"),)),
    "kernel: the last of a transposed block not turned": ("kernels/cpu/packing.py", (("while s < width:", "while 2 * s < width:"),)),
    "kernel single: a GRU's step with the wrong bias": ("kernels/cpu/scans.py", (("H, n, at(v, j - joint), 0, at(u, j - joint)", "H, n, at(b, j), 0, at(u, j - joint)"),)),
    "kernel: one-hot gradients: = for +=": ("kernels/cpu/rows.py", (("sum_rows(target, source, target, n)", "copy_row(source, target, n)"),)),
    "kernel cross entropy: gradient of the sum": ("kernels/cpu/losses.py", (("by = scale / sum_of_row", "by = (scale / scale) / sum_of_row"),)),
    "kernel linear: bias forgotten": ("kernels/cpu/products.py", (("if a.b == 0:", "if True:"),)),
    "kernel adam: not scaled": ("kernels/cpu/updates.py", (("gradient = load(g, j, None) * scale +", "gradient = load(g, j, None) +"),)),
    "kernel sgd: uphill": ("kernels/cpu/updates.py", (("rate = rate * (clip / norm)", "rate = -rate * (clip / norm)"),)),
    "kernel threads: nobody waits at a barrier": ("kernels/cpu/team.py", (("while look(arrivals) < target:", "while look(arrivals) < 0:"),)),
    "kernel stream: one state for all rows": ("kernels/cpu/streams.py", (("run(g, at(q, joint), at(h, r * H), cr,", "run(g, at(q, joint), at(h, 0), cr,"),)),
    "kernel stream: the gates' part of U forgotten": ("kernels/cpu/streams.py", (("add_row(at(q, k + left), at(g, k + left), right - left)", "add_row(at(q, k + left), at(g, k + left), 0)"),)),
    "kernel stream: states do not change places": ("kernels/cpu/streams.py", (("links[k, H0], links[k, H1] = links[k, H1], links[k, H0]", "links[k, H0], links[k, H1] = links[k, H0], links[k, H1]"),)),
    "kernel blocks: a row's factor forgotten": ("kernels/cpu/blocks.py", (("builder.fmul(each, factor)", "builder.fmul(each, splat(builder, ir.Constant(vec.element, 1.0), vec))"),)),
    "kernel blocks: only the first block's columns": ("kernels/cpu/blocks.py", (("place, n = b + p * apart, p * COLUMNS", "place, n = b + first * apart, p * COLUMNS"),)),
    "kernel blocks: infinity taken for a number": ("kernels/cpu/blocks.py", (("return most / limit + total(check)", "return most / limit"),)),
    # ------------------------------------------------------------ streams, and weights in fewer bits
    "stream: a fork begins anew": ("stream.py", (("        other.state = self.state\n", ""),)),
    "stream: the model itself for a snapshot": ("stream.py", (("None if self.chain.whole else model.to()", "None if self.chain.whole else model"),)),
    "stream: the state before for the one after": ("stream.py", (("            self._turn ^= 1\n", ""),)),
    "stream: many streams' states not given back": ("stream.py", (("places[k][i][...] = place[start:stop]", "_ = place[start:stop]"),)),
    "stream: output of whatever shape": ("stream.py", (("and out.shape == self._out_shape and", "and"),)),
    "stream: a GRU's second bias forgotten": ("chain.py", (('v[-H:] = weights["bn"]', "v[-H:] = 0"),)),
    "quantize: a row's scale for an embedding's column": ("quantize.py", (('turned=spec.role == "embedding",\n                product=product_of(old.backend)', 'turned=False,\n                product=product_of(old.backend)'),)),
    "quantize: not finite is finite": ("quantize.py", (("if not np.isfinite(values).all():", "if False:"),)),
    "quantize: rounded down": ("blocked.py", (("np.round(np.divide", "np.floor(np.divide"),)),
    "quantize: one line for its neighbour": ("blocked.py", (("self.blocks[:, index // 2, :, index % 2]", "self.blocks[:, index // 2, :, 1 - index % 2]"),)),
    "quantize: transposed without its scales": ("blocked.py", (("(scale[:, None] if self.turned else scale)", "(1 if self.turned else scale)"),)),
    "convert: written in the file's own format": ("commands/models.py", (("import_module(SAVERS[to]).save(model", "import_module(SAVERS[format_of(source)]).save(model"),)),
    "inspect: a quantised weight's dtype": ("commands/models.py", (('{"int8": "int8", "f16": "float16"}.get(kind) or', ""),)),
    # ------------------------------------------------------------ the backends of a GPU, and their kernels
    "device: dU from the state after the step": ("cudapass.py", (("self.y[earlier].reshape", "self.y[later].reshape"),)),
    "device: what the product sends back lost": ("cudapass.py", (("back=back,", "back=None,"),)),
    "device: gru's two gradients taken for one": ("cudapass.py", (('if self.cell == "GRUCell" else dP', "if False else dP"),)),
    "device: a reverse direction goes forward": ("cudapass.py", (("if self.reverse else range(T)", "if False else range(T)"),)),
    "device: rows taken for neighbours": ("cudapass.py", (("a.strides[0] // item if", "a.shape[1] if"),)),
    "device: one-hot gradients: = for +=": ("backend.py", (("out += marks @", "out[...] = marks @"),)),
    "device: an infinite norm is finite": ("ondevice.py", (("finite = xp.isfinite(norm)", "finite = norm == norm"),)),
    "device: a step waits": ("ondevice.py", (("    first[...] = xp.where(", "    bool(finite)\n    first[...] = xp.where("),)),
    "device: a skipped step decays the weights": ("optim.py", (("a[...] = xp.where(taken, a, old)", "a[...] = a"),)),
    "device kernel lstm: f saved for i": ("kernels/cuda/cells.cuh", (("G[j] = S(i);", "G[j] = S(f);"),)),
    "device kernel gru: sign of dz": ("kernels/cuda/cells.cuh", (("dh1 * (F(h[j]) - n);", "dh1 * (n - F(h[j]));"),)),
    "device kernel: rows go on past their lengths": ("kernels/cuda/scan.cu", (("lengths && t >= lengths[row]", "false"),)),
    "device kernel: only a row's first tile": ("kernels/cuda/scan.cu", (("F dh1 = F(dh[own + j]);", "if (blockIdx.x % tiles) return;\n    F dh1 = F(dh[own + j]);"),)),
    "device kernel: a skipped step is taken": ("kernels/cuda/updates.cu", (("if (*scale >= 0) w[k] -=", "w[k] -="),)),
    "device kernel adam: not scaled": ("kernels/cuda/updates.cu", (("g[k] * F(*scale) + w[k] * F(decay)", "g[k] + w[k] * F(decay)"),)),
    "leases: lent twice": ("kernels/cpu/leases.py", (("self._lent += size", "self._lent += size\n        self._returned.append(block)"),)),
}  # fmt: skip

# where a fault in a kernel shows: a few tests compile in a fraction of the time that all take
CELL = {
    "tanh": "the_kernels_of_each_cell and tanh",
    "relu": "the_kernels_of_each_cell and relu",
    "gru": "the_kernels_of_each_cell and gru",
    "lstm": "the_kernels_of_each_cell and lstm",
    "sigmoid": "the_kernels_of_each_cell and gru",
    "cross entropy": "a_training_step",
    "linear": "a_training_step",
    "adam": "a_training_step",
    "sgd": "a_training_step",
    "threads": "layers_give_the_same_bits",
    "single": "step_by_step",
    "known": "computed_again and numba",
    "stream": "whole_sequence_says and (gru or lstm)",
    "blocks": "whole_sequence_says and lstm or not_finite",
}
# where, if not in the conformance of backends
ELSEWHERE = {
    "known": "segments",
    "threads": "threads_and_memory",
    "single": "threads_and_memory",
    "stream": "stream",
    "blocks": "stream",
}


def run_evidence(
    folder: Path, evidence: list[str], backend: str = "numpy", select: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run this evidence over the package in ``folder``, until the first failure."""
    return subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", select),
            *("-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(TESTS.parent)),
            *(str(TESTS / ("gpu" if name == "device" else "") / f"test_{name}.py") for name in evidence),
        ],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "PYTHONPATH": str(folder),
            "HYPOTHESIS_PROFILE": "mutants",
            "OMP_NUM_THREADS": "1",
            "MINIRNN_BACKEND": backend,
        }
        | ({"MINIRNN_CACHE_DIR": str(folder / "cache")} if backend == "numba" else {}),
        cwd=folder,
        check=False,
    )


def copy_package(folder: Path) -> Path:
    return Path(shutil.copytree(PACKAGE, folder / "minirnn", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_evidence_passes_on_an_unchanged_copy_and_tests_that_copy(tmp_path: Path) -> None:
    copied = copy_package(tmp_path)
    where = subprocess.run(
        [sys.executable, "-c", "import minirnn; print(minirnn.__file__)"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
        cwd=tmp_path,
    )
    assert Path(where.stdout.strip()) == copied / "__init__.py"
    done = run_evidence(
        tmp_path,
        [
            *EVIDENCE,
            "segments",
            "stream",
            "quantize",
            "resume",
            "ranks",
            "cli",
            "files",
            "convert",
            "keras_files",
            "onnx_files",
            "onnx_bombs",
            "onnx_structures",
            "onnx_external",
        ],
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_fault_has_its_place() -> None:
    """Those too that do not run today: code moves."""
    for name, (file, changes) in MUTANTS.items():
        source = (PACKAGE / file).read_text(encoding="utf-8")
        for old, new in changes:
            assert source.count(old) == 1, f"{name}: {file} has {source.count(old)} places like {old!r}"
            source = source.replace(old, new)


# a kernel is compiled anew for every fault in it, about 20 s, and of others' files there are many: unless all are asked
# for, these stand for the others
SOME = {
    "kernel gru: sign of dz",
    "kernel: dU from the state after the step",
    "kernel: rows go on past their lengths",
    "kernel: the last of k dropped",
    "kernel cross entropy: gradient of the sum",
    "kernel stream: one state for all rows",
    "keras: r and z as Keras has them",
    "keras: cuDNN's gates not turned",
    "keras: hard sigmoid always Keras 3's",
    "keras out: a GRU's biases exchanged",
    "keras out: all steps for the last",
    "hdf5: an array larger than the file",
    "onnx: gates of an LSTM in another order",
    "onnx: lengths ignored",
    "onnx: a Scan in one direction",
    "onnx: layers not held against the graph",
    "onnx: results not counted",
    "onnx: an empty array counts for nothing",
    "onnx: a link followed",
}
OTHERS = [
    name
    for name, (file, _) in MUTANTS.items()
    if not file.startswith(("kernels/cpu/", "formats/keras/", "formats/hdf5/", "formats/onnx/"))
]
# of the others every fifth; all of them take more than half an hour
PLANTED = list(MUTANTS) if "MINIRNN_ALL_MUTANTS" in os.environ else [*OTHERS[::5], *sorted(SOME - {*OTHERS[::5]})]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_caught(name: str, tmp_path: Path) -> None:
    file, changes = MUTANTS[name]
    path = copy_package(tmp_path) / file
    source = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert source.count(old) == 1, f"{file} has {source.count(old)} places like {old!r}"
        source = source.replace(old, new)
    path.write_text(source, encoding="utf-8")
    if name.startswith("device"):
        done = run_evidence(tmp_path, ["device"])
    elif file.startswith("kernels/"):
        what = name.removeprefix("kernel ").split(":")[0]
        done = run_evidence(tmp_path, [ELSEWHERE.get(what, "conformance")], "numba", CELL.get(what, CELL["tanh"]))
    else:
        first = FIRST.get(file) or FIRST.get(f"{file.rpartition('/')[0]}/", [])
        done = run_evidence(tmp_path, [*first, *(name for name in EVIDENCE if name not in first)])
    assert done.returncode == 1, (
        f"{name}: not caught, exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-500:]}"
    )
    assert " failed" in done.stdout
