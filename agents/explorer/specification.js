// The network of a budget and a hidden proportion, as policies/network/specification.py and feasibility.py find it
// (arXiv 2509.15057): tests compare both for many values. Exact for budgets up to 10^9.
"use strict";

const BLOCKS = ["hx", "hh", "hy", "yx", "yh", "yy"];

/** Actor and critic of a budget each, or {misfit: "actor" or "critic"} where no network fits. */
function specifyVaried(nInputs, nOutputs, budget, hiddenProportion) {
  const actor = specify(nInputs, nOutputs, budget, hiddenProportion, []);
  if (!actor) return {misfit: "actor"};
  // A value that reads a few of the hidden units would be a handicap: yx, yh and yy of the critic are dense.
  const critic = specify(nInputs, 1, budget, actor.weights.hh / budget, ["yx", "yh", "yy"]);
  return critic ? {actor, critic} : {misfit: "critic"};
}

/** {nInputs, nHidden, nOutputs, weights, densities} of one network; null where none fits. */
function specify(nInputs, nOutputs, budget, hiddenProportion, dense) {
  const nHh = roundHalfEven(hiddenProportion * budget);
  const floors = Object.fromEntries(BLOCKS.map((block) => [block, block === "yh" ? nOutputs : 1]));
  const sizes = (nHidden) => blockSizes(nInputs, nHidden, nOutputs);
  const fixed = (nHidden) => {
    const all = sizes(nHidden);
    return {...Object.fromEntries(dense.map((block) => [block, Math.max(floors[block], all[block])])), hh: nHh};
  };
  const fewest = (nHidden) => total({...floors, ...fixed(nHidden)});
  const most = (nHidden) => total({...sizes(nHidden), ...fixed(nHidden)});
  if (nHh < 1) return null;
  const nHidden = first((n) => most(n) >= budget, Math.floor(Math.sqrt(nHh - 1)) + 1, budget + 1);
  const largest = first((n) => fewest(n) > budget, 1, budget + 1) - 1;
  if (nHidden > largest) return null;
  const all = sizes(nHidden), decided = fixed(nHidden);
  const free = Object.fromEntries(BLOCKS.filter((block) => !(block in decided)).map((block) => [block, all[block]]));
  const found = {...decided, ...share(budget - total(decided), free, floors)};
  const weights = Object.fromEntries(BLOCKS.map((block) => [block, found[block]]));
  const densities = Object.fromEntries(BLOCKS.map((block) => [block, weights[block] / all[block]]));
  return {nInputs, nHidden, nOutputs, weights, densities};
}

function blockSizes(nInputs, nHidden, nOutputs) {
  const sides = {x: nInputs, h: nHidden, y: nOutputs};
  return Object.fromEntries(BLOCKS.map((block) => [block, sides[block[0]] * sides[block[1]]]));
}

/** Share weights in proportion to sizes, by largest remainder, none below its floor. */
function share(weights, sizes, floors) {
  const shares = {}, remaining = {...sizes};
  for (;;) {
    const size = total(remaining);
    const low = Object.keys(remaining).filter(
      (block) => BigInt(weights) * BigInt(remaining[block]) < BigInt(floors[block]) * BigInt(size));
    if (!low.length) break;
    for (const block of low) {
      shares[block] = floors[block];
      weights -= shares[block];
      delete remaining[block];
    }
  }
  const size = BigInt(total(remaining));
  const parts = Object.keys(remaining).map((block) => {
    const product = BigInt(weights) * BigInt(remaining[block]);
    return {block, quotient: Number(product / size), remainder: product % size};
  });
  const missing = weights - parts.reduce((sum, part) => sum + part.quotient, 0);
  parts.sort((a, b) => (a.remainder === b.remainder ? 0 : a.remainder > b.remainder ? -1 : 1));
  parts.forEach((part, place) => { shares[part.block] = part.quotient + (place < missing ? 1 : 0); });
  return shares;
}

/** The first of low, low + 1, … below high for which a monotone predicate holds, else high. */
function first(predicate, low, high) {
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (predicate(middle)) high = middle; else low = middle + 1;
  }
  return low;
}

function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function roundHalfEven(number) {
  const floor = Math.floor(number), rest = number - floor;
  return rest < 0.5 || (rest === 0.5 && floor % 2 === 0) ? floor : floor + 1;
}

/** Positions of a block's weights, drawn uniformly without replacement as policies/network/patterns.py does. */
function drawPattern(rows, columns, count, random, oneInEachRow) {
  const size = rows * columns;
  let positions = draw(size, count, random, new Set());
  if (oneInEachRow && new Set([...positions].map((place) => Math.floor(place / columns))).size < rows) {
    const chosen = new Set(Array.from({length: rows}, (_, row) => row * columns + Math.floor(random() * columns)));
    positions = draw(size, count, random, chosen);
  }
  return positions;
}

function draw(size, count, random, chosen) {
  if (2 * count <= size) {
    while (chosen.size < count) chosen.add(Math.floor(random() * size));
    return chosen;
  }
  // Most of them: draw the absent ones instead, so that few draws hit the same position twice.
  const absent = new Set();
  while (absent.size < size - count) {
    const place = Math.floor(random() * size);
    if (!chosen.has(place)) absent.add(place);
  }
  return Array.from({length: size}, (_, place) => place).filter((place) => !absent.has(place));
}

/** Positions in groups of eight rows that share their columns, as policies/network/grouped_patterns.py draws them. */
function drawGroupedPattern(rows, columns, count, random) {
  const everywhere = Math.floor(count / rows), groups = shuffled(Math.ceil(rows / 8), random), positions = [];
  let left = count % rows, deck = [];
  for (const group of groups) {
    const size = Math.min(8, rows - 8 * group), more = Math.min(left, size), taken = everywhere + (more > 0 ? 1 : 0);
    left -= more;
    if (taken > deck.length) {
      const held = new Set(deck), fresh = shuffled(columns, random);
      // Those held come last, so that no group gets a column twice.
      deck = [...deck, ...fresh.filter((column) => !held.has(column)), ...fresh.filter((column) => held.has(column))];
    }
    deck.splice(0, taken).forEach((column, place) => {
      const height = place < everywhere ? size : more;
      for (let row = 0; row < height; row += 1) positions.push((8 * group + row) * columns + column);
    });
  }
  return positions;
}

function shuffled(size, random) {
  const order = Array.from({length: size}, (_, place) => place);
  for (let place = size - 1; place > 0; place -= 1) {
    const other = Math.floor(random() * (place + 1));
    [order[place], order[other]] = [order[other], order[place]];
  }
  return order;
}

/** The generator mulberry32: numbers from 0 to below 1, the same for the same seed. */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
}
