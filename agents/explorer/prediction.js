// The parent's prediction for a network, as agents/recommendation/ (parent.py, networks.py, forest.py) makes it: tests
// compare both for many networks.
"use strict";

/** Why a parent cannot predict for a budget; null if it can. */
function doubtOf(parent, budget) {
  if (parent.doubt !== null) return parent.doubt;
  const [low, high] = parent.budgets, grouped = (number) => number.toLocaleString("en-US");
  if (low <= budget && budget <= high) return null;
  return `${grouped(budget)} weights lie outside of the table's range of such tasks, ${grouped(low)} to ${grouped(high)}`;
}

/** The score of an actor: 1 is the best network of the task, 0 an untrained one. */
function predictedScore(parent, budget, actor) {
  const row = features(parent.facts, parent.steps, budget, actor).map(Math.fround); // as scikit-learn compares them
  const {roots, feature, threshold, left, right, value, base} = parent.forest;
  return roots.reduce((sum, root) => {
    let node = root;
    while (feature[node] >= 0) node = row[feature[node]] <= threshold[node] ? left[node] : right[node];
    return sum + value[node];
  }, base[0]);
}

/** What is known of a training before it begins. */
function features(facts, steps, budget, actor) {
  const {n_inputs: inputs, n_outputs: outputs} = facts;
  const p = actor.weights.hh / budget, dense = denseProportion(inputs, outputs, budget), size = Math.log(actor.nHidden);
  return [
    Math.log(inputs), Math.log(outputs), Math.log(facts.episode_length), Math.log1p(steps), Math.log(budget),
    Number(facts.chooses), Number(facts.imitates),
    dense, Math.log(inputs / outputs), Math.log(budget / inputs), p, p - dense, size, size - Math.log(inputs + outputs),
    0, 0, 0, // it is made of the six blocks, no LSTM and not dense
    ...BLOCKS.map((block) => actor.densities[block]),
  ];
}

/** The hidden proportion of a dense network, not rounded to whole hidden units. */
function denseProportion(inputs, outputs, budget) {
  const linear = inputs + 2 * outputs, rest = budget - outputs * (inputs + outputs);
  if (rest <= 0) return 0;
  const nHidden = 2 * rest / (linear + Math.sqrt(linear * linear + 4 * rest));
  return nHidden * nHidden / budget;
}
