// What the page shows, drawn again whenever budget or hidden proportion are moved.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const LEAST = 10, MOST = 1e6; // ends of the budget's slider; any budget can be typed
const MOST_DRAWN = 3e5; // more weights of a block are shown as an even shade
const SIZES = [{name: "nHidden", colour: "#20639b"}];
const DENSITIES = [{name: "hh", colour: "#20639b", text: "hh"}, {name: "outer", colour: "#d1495b", text: "the other blocks"}];
const SCORES = [{name: "score", colour: "#20639b"}];
const element = (id) => document.getElementById(id);
const grouped = (number) => number.toLocaleString("en-US");
const short = (number) => (number >= 0.001 ? number.toFixed(4) : number.toExponential(2));

function start() {
  const {env, nInputs, nOutputs, budget, hiddenProportion} = DATA;
  element("about").textContent = `${env ? env + ": " : ""}${grouped(nInputs)} inputs, ${grouped(nOutputs)} outputs. ` +
    "The budget is the number of trainable weights of each of the two networks; p is the share of them between hidden units.";
  element("budget").value = budget;
  element("p").value = hiddenProportion;
  element("budget-slider").addEventListener("input", (event) => {
    const exact = LEAST * (MOST / LEAST) ** (event.target.value / 1000);
    element("budget").value = Number(exact.toPrecision(2));
    update();
  });
  element("p-slider").addEventListener("input", (event) => { element("p").value = event.target.value; update(); });
  for (const name of ["budget", "p"]) element(name).addEventListener("input", update);
  window.addEventListener("resize", update);
  update();
}

function update() {
  const budget = Number(element("budget").value), p = Number(element("p").value);
  const result = element("result");
  const fits = Number.isInteger(budget) && budget >= 1 && budget <= 1e9 && p > 0 && p < 1;
  const found = fits ? specifyVaried(DATA.nInputs, DATA.nOutputs, budget, p) : {};
  if (fits) {
    element("budget-slider").value = 1000 * Math.log(budget / LEAST) / Math.log(MOST / LEAST);
    element("p-slider").value = p;
  }
  result.className = found.actor ? "" : "misfit";
  if (!fits) result.textContent = "A whole budget from 1 to 1,000,000,000 and a p between 0 and 1 are needed.";
  else if (found.misfit) result.textContent = `No ${found.misfit} of ${grouped(budget)} weights has p = ${p}.`;
  else {
    const {actor, critic} = found;
    result.textContent = `${grouped(actor.nHidden)} hidden units (critic ${grouped(critic.nHidden)}), density of hh ` +
      `${short(actor.densities.hh)}, of the other blocks ${short(outerDensity(actor))}`;
  }
  element("prediction").textContent = found.actor ? predictionInWords(budget, found.actor) : "";
  for (const name of ["actor", "critic"]) element(name).innerHTML = found[name] ? table(found[name]) : "";
  drawBlocks(found.actor);
  if (fits) drawCharts(budget, p, found.actor);
}

/** What the parent says of a network, beside its sizes. */
function predictionInWords(budget, actor) {
  const parent = DATA.parent;
  if (!parent) return "";
  const ignorance = ignoranceOf(parent, budget);
  if (ignorance) return `No score is predicted: ${ignorance}.`;
  const score = predictedScore(parent, budget, actor);
  const [low, high] = intervalOf(parent, score).map((end) => end.toFixed(2));
  return `Predicted score ${score.toFixed(2)}, ${100 * parent.coverage}% interval ${low} to ${high}`;
}

/** Who predicts, and what the numbers mean. */
function aboutParent(budget) {
  const parent = DATA.parent;
  if (!parent) return "What the parent predicts depends on the task: write this page with --env in place of sizes.";
  const who = `The parent ${parent.version}, which has learned from ${parent.nTasks} ${parent.nTasks === 1 ? "task" : "tasks"}`;
  const ignorance = ignoranceOf(parent, budget);
  if (ignorance) return `${who}, knows too little to predict: ${ignorance}. What auto stands for is then decided by a rule: ${parent.rule}.`;
  return `${who}, predicts for a training of ${grouped(parent.steps)} steps. A score of 1 is that of the best network of the ` +
    `task, 0 that of an untrained one. The shade is the interval: it holds the mean score of a network of a new task ` +
    `with a probability of ${100 * parent.coverage}%, if the task is one like those that are known.` +
    (parent.noLead ? ` What auto stands for is decided by a rule, ${parent.rule}: ${parent.noLead}.` : "");
}

function outerDensity(network) {
  const outer = BLOCKS.filter((block) => block !== "hh");
  const sizes = blockSizes(network.nInputs, network.nHidden, network.nOutputs);
  const sum = (counts) => outer.reduce((all, block) => all + counts[block], 0);
  return sum(network.weights) / sum(sizes);
}

function table(network) {
  const names = {x: "input", h: "hidden", y: "output"};
  const sides = {x: network.nInputs, h: network.nHidden, y: network.nOutputs};
  const all = total(network.weights);
  const rows = BLOCKS.map((block) => {
    const [to, from] = block;
    const cells = [block, `${names[from]} → ${names[to]}`, `${grouped(sides[to])} × ${grouped(sides[from])}`,
      short(network.densities[block]), grouped(network.weights[block]), `${(100 * network.weights[block] / all).toFixed(1)}%`];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  const head = ["block", "from → to", "shape", "density", "weights", "share"].map((cell) => `<th>${cell}</th>`).join("");
  return `<table><tr>${head}</tr>${rows.join("")}</table>`;
}

function drawBlocks(network) {
  const area = element("blocks");
  area.replaceChildren();
  if (!network) return;
  const sides = {x: network.nInputs, h: network.nHidden, y: network.nOutputs};
  const tracks = (names, room, least) => {
    const all = names.reduce((sum, name) => sum + sides[name], 0);
    const wanted = names.map((name) => Math.max(least, room * sides[name] / all));
    const sum = wanted.reduce((a, b) => a + b);
    return wanted.map((size) => Math.round(size * room / sum));
  };
  const room = Math.max(200, area.clientWidth - 6);
  const widths = tracks(["x", "h", "y"], room, 64), heights = tracks(["h", "y"], Math.min(room * 0.8, 420), 44);
  area.style.gridTemplateColumns = widths.map((size) => `${size}px`).join(" ");
  area.style.gridTemplateRows = heights.map((size) => `${size}px`).join(" ");
  const random = generator(0);
  BLOCKS.forEach((block, place) => {
    const [to, from] = block;
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    caption.textContent = `${block} ${Number(network.densities[block].toPrecision(2))}`;
    figure.append(canvas, caption);
    area.append(figure);
    shade(canvas, sides[to], sides[from], network.weights[block], random, block === "yh", heights[place < 3 ? 0 : 1], widths[place % 3]);
  });
}

/** Draw a block's weights; a pixel that stands for several places is as dark as their share. */
function shade(canvas, rows, columns, count, random, oneInEachRow, height, width) {
  canvas.height = Math.min(rows, height);
  canvas.width = Math.min(columns, width);
  const counts = new Float64Array(canvas.height * canvas.width);
  const capacity = rows * columns / counts.length;
  if (count === rows * columns || count > MOST_DRAWN) counts.fill(count / counts.length);
  else {
    const draw = DATA.pattern === "blocks" ? drawGroupedPattern : drawPattern;
    for (const place of draw(rows, columns, count, random, oneInEachRow)) {
      const row = Math.floor(Math.floor(place / columns) * canvas.height / rows);
      counts[row * canvas.width + Math.floor((place % columns) * canvas.width / columns)] += 1;
    }
  }
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  counts.forEach((value, pixel) => {
    // A single weight among many places is still to be seen.
    image.data.set([32, 99, 155, value ? Math.round(255 * Math.min(1, Math.max(0.15, value / capacity))) : 0], 4 * pixel);
  });
  context.putImageData(image, 0, 0);
}

const kept = {budget: 0, line: []}; // as long as p alone moves

/** The networks of a budget for p of 0.01, 0.02, …; null where none fits. */
function networksOf(budget) {
  if (kept.budget !== budget) {
    kept.budget = budget;
    kept.line = Array.from({length: 99}, (_, place) => {
      const p = (place + 1) / 100, {actor: network} = specifyVaried(DATA.nInputs, DATA.nOutputs, budget, p);
      return network ? figures(budget, p, network) : null;
    });
  }
  return kept.line;
}

/** What the charts show of a network. */
function figures(budget, p, network) {
  const found = {p, nHidden: network.nHidden, hh: network.densities.hh, outer: outerDensity(network)};
  if (!DATA.parent || ignoranceOf(DATA.parent, budget)) return found;
  return {...found, score: predictedScore(DATA.parent, budget, network)};
}

function drawCharts(budget, p, actor) {
  const line = networksOf(budget);
  const points = DATA.published.map((one) => ({...one, same: one.nInputs === DATA.nInputs && one.nOutputs === DATA.nOutputs}));
  points.sort((a, b) => a.same - b.same); // dark ones on top
  const here = actor && figures(budget, p, actor);
  chart(element("sizes"), line, points, here, SIZES, "hidden units", logarithmic);
  chart(element("densities"), line, points, here, DENSITIES, "density", logarithmic);
  element("parent").textContent = aboutParent(budget);
  const predicted = DATA.parent && !ignoranceOf(DATA.parent, budget);
  element("scores").style.display = predicted ? "" : "none";
  if (predicted) chart(element("scores"), line, [], here, SCORES, "predicted score", linear, (score) => intervalOf(DATA.parent, score));
}

/** Powers of ten around some values: their places from 0 to 1, and what is written at the lines between. */
function logarithmic(values) {
  const low = Math.floor(Math.log10(Math.min(...values))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const powers = Array.from({length: high - low + 1}, (_, place) => low + place);
  return {
    share: (value) => (Math.log10(value) - low) / (high - low),
    ticks: powers.map((power) => [10 ** power, power < -3 ? `1e${power}` : grouped(10 ** power)]),
  };
}

/** Quarters around some values and from 0 to 1, likewise. */
function linear(values) {
  const low = Math.floor(4 * Math.min(0, ...values)), high = Math.ceil(4 * Math.max(1, ...values));
  const quarters = Array.from({length: high - low + 1}, (_, place) => (low + place) / 4);
  return {share: (value) => (4 * value - low) / (high - low), ticks: quarters.map((value) => [value, `${value}`])};
}

/** Draw lines of some figures against p, with dots and the place where we are; a shade where a figure may lie. */
function chart(svg, line, points, here, lines, label, scaleOf, between = null) {
  const width = 520, height = 300, left = 62, bottom = 40, top = 12, right = 12;
  const shown = [...line.filter(Boolean), ...points, ...(here ? [here] : [])];
  if (!shown.length) return svg.replaceChildren();
  const {share, ticks} = scaleOf(
    shown.flatMap((one) => lines.flatMap(({name}) => [one[name], ...(between ? between(one[name]) : [])])));
  const x = (p) => left + p * (width - left - right);
  const y = (value) => top + (1 - share(value)) * (height - top - bottom);
  const parts = [];
  for (const [value, text] of ticks) {
    parts.push(`<line x1="${left}" x2="${width - right}" y1="${y(value)}" y2="${y(value)}" stroke="#e4e7eb"/>`,
      `<text x="${left - 6}" y="${y(value) + 4}" text-anchor="end">${text}</text>`);
  }
  for (const p of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(`<text x="${x(p)}" y="${height - bottom + 18}" text-anchor="middle">${p}</text>`);
  }
  parts.push(`<text x="${(left + width - right) / 2}" y="${height - 4}" text-anchor="middle">hidden proportion p</text>`,
    `<text transform="translate(12 ${(height - bottom + top) / 2}) rotate(-90)" text-anchor="middle">${label}</text>`);
  for (const one of points) {
    const title = `${one.task}: ${grouped(one.nInputs)} inputs, ${grouped(one.nOutputs)} outputs, budget ` +
      `${grouped(one.budget)}, ${grouped(one.nHidden)} hidden units, p = ${one.p.toFixed(3)}`;
    for (const {name, colour} of lines) {
      parts.push(`<circle class="published" cx="${x(one.p)}" cy="${y(one[name])}" r="${one.same ? 4 : 2.5}" ` +
        `fill="${one.same ? colour : "#9aa5b1"}" fill-opacity="${one.same ? 0.8 : 0.45}"><title>${title}</title></circle>`);
    }
  }
  lines.forEach(({name, colour, text}, place) => {
    const path = line.map((one, step) => one && `${line[step - 1] ? "L" : "M"}${x(one.p)} ${y(one[name])}`).filter(Boolean);
    if (between) {
      const bars = line.filter(Boolean).map((one) => `M${x(one.p)} ${between(one[name]).map(y).join("V")}`);
      parts.push(`<path d="${bars.join("")}" stroke="${colour}" stroke-opacity="0.12" stroke-width="${x(0.01) - left}"/>`);
    }
    parts.push(`<path d="${path.join("")}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    if (here) parts.push(`<circle cx="${x(here.p)}" cy="${y(here[name])}" r="6" fill="#fff" stroke="${colour}" stroke-width="3"/>`);
    if (text) {
      parts.push(`<text x="${left + 8}" y="${height - bottom - 8 - 16 * (lines.length - 1 - place)}" fill="${colour}">${text}</text>`);
    }
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = parts.join("");
}

start();
