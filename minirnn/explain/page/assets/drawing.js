// The unrolled network and the chart of gradient flow.

const PITCH = 74, LEFT = 46, BOX = { y: 62, height: 60, width: 44 };

function arrow(kind, path) {
  return draw("path", { class: `arrow ${kind}`, d: path, "marker-end": "url(#head)" });
}

// One box for each step; what is lit is changed by `light`.
function network(story, choose) {
  const width = 2 * LEFT + story.T * PITCH, bottom = BOX.y + BOX.height;
  const svg = draw("svg", { width, height: 188, viewBox: `0 0 ${width} 188`, "aria-hidden": "true" });
  svg.append(
    draw("defs", {}, draw("marker", { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
      draw("path", { d: "M0 0.8L8 4L0 7.2z", fill: "context-stroke" }))),
  );
  const steps = story.steps.map((step, t) => {
    const x = LEFT + t * PITCH + PITCH / 2, left = x - BOX.width / 2, right = x + BOX.width / 2;
    const strips = story.strips.map((key, side) => {
      const values = story.values[key][t], tall = (BOX.height - 12) / values.length;
      return values.map((value, i) => draw("rect", {
        x: x + (side ? 3 : -17), y: BOX.y + 6 + i * tall, width: 14, height: Math.max(0.5, tall - (tall > 3 ? 1 : 0)),
        class: "unit", "data-heat": heat(value, story.peaks[key]),
      }));
    });
    const parts = {
      up: arrow("", `M${x - 9} ${bottom + 22}V${bottom + 3}`),
      out: arrow("", `M${x - 9} ${BOX.y - 1}V${BOX.y - 19}`),
      on: arrow("", `M${right} ${BOX.y + 16}H${right + PITCH - BOX.width - 2}`),
      loss: arrow("back", `M${x + 9} ${BOX.y - 20}V${BOX.y - 3}`),
      back: arrow("back", `M${left - 1} ${bottom - 16}H${left - PITCH + BOX.width + 2}`),
      down: arrow("back", `M${x + 9} ${bottom + 1}V${bottom + 20}`),
    };
    const group = draw("g", { class: "step" },
      draw("rect", { x: x - PITCH / 2, y: 0, width: PITCH, height: 188, fill: "transparent" }),
      draw("title", {}, `t = ${t}: reads ${step.x}, should say ${step.target}, says ${step.said}`),
      draw("text", { x: x - 15, y: 13, class: "soft word" }, "says"), draw("text", { x: x + 15, y: 13, class: "soft word" }, "next"),
      draw("text", { x: x - 15, y: 33, class: "character said" }, step.said),
      draw("text", { x: x + 15, y: 33, class: "character" }, step.target),
      draw("rect", { class: "box", x: left, y: BOX.y, width: BOX.width, height: BOX.height, rx: 7 }),
      ...strips.flat(), ...Object.values(parts),
      draw("text", { x, y: bottom + 40, class: "character" }, step.x),
      draw("path", { class: "cursor", d: `M${x - 19} ${bottom + 53}l-7 -4v8z` }),
      draw("text", { x, y: bottom + 57, class: "soft number" }, String(t)),
    );
    group.addEventListener("click", () => choose(t));
    svg.append(group);
    return { group, parts, strips };
  });
  const first = LEFT + PITCH / 2 - BOX.width / 2;
  svg.append(arrow("on", `M${first - 28} ${BOX.y + 16}H${first - 2}`), draw("text", { x: first - 36, y: BOX.y + 20, class: "soft" }, "0"), draw("text", { x: 10, y: bottom + 57, class: "soft" }, "t"));
  return { svg, steps };
}

// Which steps have a state, a gradient that arrived, one that was sent on, and gradients of weights.
function light(drawn, now) {
  drawn.steps.forEach(({ group, parts, strips }, t) => {
    const on = {
      up: now.started(t), out: now.predicted(t), on: now.state(t),
      loss: now.arrived(t), back: now.sent(t), down: now.added(t),
    };
    group.classList.toggle("now", t === now.t);
    for (const [name, path] of Object.entries(parts)) {
      path.classList.toggle("on", on[name]);
      path.classList.toggle("lit", on[name] && t === now.t);
    }
    [on.on, on.loss].forEach((known, side) => {
      for (const unit of strips[side]) unit.setAttribute("class", known ? `unit ${unit.dataset.heat}` : "unit");
    });
  });
}

// The chart, at the width that it has; heights and ticks were computed with the rest.
function flow(story, now, width, choose) {
  const height = 168, left = 52, right = 14, top = 12, foot = height - 34;
  const x = (t) => left + ((t + 0.5) * (width - left - right)) / story.T;
  const y = (share) => foot - share * (foot - top);
  const { heights, ticks } = story.chart;
  const svg = draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spoken(story, now) });
  for (const [label, share] of ticks) {
    svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(share), y2: y(share) }), draw("text", { class: "tick", x: left - 6, y: y(share) + 4 }, label));
  }
  const every = Math.max(1, Math.ceil(26 / ((width - left - right) / story.T)));
  story.steps.forEach((_, t) => {
    if (t === now.t || (t % every === 0 && (now.t < 0 || Math.abs(t - now.t) >= every))) svg.append(draw("text", { class: t === now.t ? "" : "soft", x: x(t), y: foot + 16 }, String(t)));
  });
  svg.append(draw("text", { class: "soft", x: (left + width - right) / 2, y: height - 3 }, "t"));
  if (now.t >= 0) svg.append(draw("line", { class: "cursor-line", x1: x(now.t), x2: x(now.t), y1: top - 8, y2: foot + 2 }));
  for (let t = 1; t < story.T; t++) {
    if (heights[t] === null || heights[t - 1] === null) continue;
    svg.append(draw("line", { class: now.arrived(t - 1) ? "curve known" : "curve", x1: x(t - 1), y1: y(heights[t - 1]), x2: x(t), y2: y(heights[t]) }));
  }
  heights.forEach((share, t) => {
    const point = draw("circle", { class: `point${now.arrived(t) ? " known" : ""}${t === now.t ? " now" : ""}`, cx: x(t), cy: share === null ? foot : y(share), r: t === now.t ? 5 : 3.2 });
    point.addEventListener("click", () => choose(t));
    svg.append(point);
  });
  return svg;
}

function spoken(story, now) {
  const at = (t) => `t = ${t}: ${written(story.steps[t].norm, 3)}`;
  const ends = story.T > 1 ? `${at(story.T - 1)}, ${at(0)}` : at(0);
  return `Norm of the loss's gradient with respect to the state, on a log scale; ${ends}${now.t >= 0 ? `; here, at ${at(now.t)}` : ""}`;
}
