// The parent's prediction for a network, as agents/recommendation/ (parent.py, networks.py, gaussian_process.py) makes
// it: tests compare both for many networks.
"use strict";

/** Why a parent cannot predict for a budget; null if it can. */
function ignoranceOf(parent, budget) {
  if (parent.ignorance !== null) return parent.ignorance;
  const [low, high] = parent.budgets, grouped = (number) => number.toLocaleString("en-US");
  if (low <= budget && budget <= high) return null;
  return `${grouped(budget)} weights lie outside of the table's range of such tasks, ${grouped(low)} to ${grouped(high)}`;
}

/** The score of an actor: 1 is the best network of the task, 0 an untrained one. */
function predictedScore(parent, budget, actor) {
  const own = features(parent.facts, parent.steps, budget, actor);
  const {rows, weights, constant, variances, lengths} = parent.process;
  const [first, second, ofTasks] = lengths.map((length) => 2 * length * length);
  return rows.reduce((sum, row, place) => {
    const networks = squaredDistance(own, row, 0, N_NETWORK_FEATURES);
    const tasks = squaredDistance(own, row, N_NETWORK_FEATURES, row.length);
    const shared = variances[0] * Math.exp(-networks / first);
    return sum + weights[place] * (shared + variances[1] * Math.exp(-networks / second - tasks / ofTasks));
  }, constant[0]);
}

/** Where a score, from 0 to 1, lies with the parent's coverage. */
function intervalOf(parent, score) {
  return [Math.max(0, Math.min(1, score) - parent.halfWidth), Math.min(1, Math.max(0, score) + parent.halfWidth)];
}

function squaredDistance(one, other, start, stop) {
  let sum = 0;
  for (let place = start; place < stop; place++) sum += (one[place] - other[place]) ** 2;
  return sum;
}

const N_NETWORK_FEATURES = 3, TASK_UNITS = [1.5, 1.5, 1.5, 4, 1.5, 1, 1];

/** What is known of a training before it begins. */
function features(facts, steps, budget, actor) {
  const {n_inputs: inputs, n_outputs: outputs} = facts;
  const task = [
    Math.log(inputs), Math.log(outputs), Math.log(facts.episode_length), Math.log1p(steps), Math.log(budget),
    Number(facts.chooses), Number(facts.imitates),
  ].map((number, place) => number / TASK_UNITS[place]);
  return [
    4 * actor.weights.hh / budget, 0, 0, // neither LSTM nor GRU
    ...task, 3 * denseProportion(inputs, outputs, budget),
  ];
}

/** The hidden proportion of a dense network, not rounded to whole hidden units. */
function denseProportion(inputs, outputs, budget) {
  const linear = inputs + 2 * outputs, rest = budget - outputs * (inputs + outputs);
  if (rest <= 0) return 0;
  const nHidden = 2 * rest / (linear + Math.sqrt(linear * linear + 4 * rest));
  return nHidden * nHidden / budget;
}
