// Sets of cells as edges: sorted numbers, 2 * cell for a step down at that cell and 2 * cell + 1 for a step up.
//
// The level between two edges is 1 where cells are dirty and 0 elsewhere. A change is made of edges as well, with level 1
// where cells become dirty and -1 where they become clean. Playing a change is adding its edges, playing it backwards is
// adding their opposites, and the cells in any range are a running sum: nothing is ever rounded.

const NO_EDGES = new Float64Array(0);

/** The edges of runs (gap, length, gap, length, ...) that go up, or down with `sign` -1. */
function edgesOfRuns(runs, sign = 1) {
  const edges = new Float64Array(runs.length);
  let cell = 0;
  for (let i = 0; i < runs.length; i += 2) {
    cell += runs[i];
    edges[i] = 2 * cell + (sign > 0 ? 1 : 0);
    cell += runs[i + 1];
    edges[i + 1] = 2 * cell + (sign > 0 ? 0 : 1);
  }
  return cancelled(edges);
}

/** The edges of a change: `plus` becomes dirty, `minus` becomes clean. */
function edgesOfChange(plus, minus) {
  if (!minus?.length) return plus?.length ? edgesOfRuns(plus) : NO_EDGES;
  return plus?.length ? merged(edgesOfRuns(plus), edgesOfRuns(minus, -1)) : edgesOfRuns(minus, -1);
}

/** Sorted edges without those that go up and down at the same cell. */
function cancelled(edges) {
  let size = 0;
  for (let i = 0; i < edges.length; ) {
    const down = edges[i] - (edges[i] % 2);
    let sum = 0;
    for (; i < edges.length && edges[i] - down < 2; i += 1) sum += edges[i] === down ? -1 : 1;
    for (; sum > 0; sum -= 1) edges[size++] = down + 1;
    for (; sum < 0; sum += 1) edges[size++] = down;
  }
  return size === edges.length ? edges : edges.slice(0, size);
}

/** The sum of two sorted lists of edges. */
function merged(one, other) {
  if (!other.length) return one;
  if (!one.length) return other;
  const edges = new Float64Array(one.length + other.length);
  for (let i = 0, a = 0, b = 0; i < edges.length; i += 1) {
    edges[i] = b >= other.length || (a < one.length && one[a] <= other[b]) ? one[a++] : other[b++];
  }
  return cancelled(edges);
}

/** The sum of a sorted list of edges and of many short ones, each the opposite with `sign` -1. */
function mergedAll(base, changes, sign) {
  const total = changes.reduce((sum, change) => sum + change.length, 0);
  if (!total) return base;
  const edges = new Float64Array(total);
  let size = 0;
  for (const change of changes) {
    edges.set(change, size);
    size += change.length;
  }
  if (sign < 0) for (let i = 0; i < total; i += 1) edges[i] += edges[i] % 2 ? -1 : 1;
  return merged(base, changes.length > 1 ? cancelled(edges.sort()) : cancelled(edges));
}

/** Call `action(start, end, level)` for each stretch of cells within the range whose level is not 0. */
function eachStretch(edges, first, end, action) {
  let level = 0;
  let cell = 0;
  for (const edge of edges) {
    const next = Math.floor(edge / 2);
    if (level && next > first && cell < end) action(Math.max(cell, first), Math.min(next, end), level);
    if (next >= end) return;
    level += edge % 2 ? 1 : -1;
    cell = next;
  }
}

/** Add to `bins`, equal parts of the range, how many cells of each are dirty (less those that have become clean). */
function spread(edges, first, end, bins) {
  const span = end - first;
  const count = bins.length;
  const bound = (i) => first + Math.floor((i * span) / count);
  const bin = (cell) => Math.ceil(((cell - first + 1) * count) / span) - 1;
  eachStretch(edges, first, end, (start, stop, level) => {
    const last = bin(stop - 1);
    for (let i = bin(start); i <= last; i += 1) {
      bins[i] += level * (Math.min(stop, bound(i + 1)) - Math.max(start, bound(i)));
    }
  });
}

/** Add to `bins` what is known of `cells` cells only as a number for each of equal parts: about. */
function spreadHeat(heat, cells, first, end, bins) {
  const width = cells / heat.length;
  const span = (end - first) / bins.length;
  for (let part = 0; part < heat.length; part += 1) {
    if (!heat[part]) continue;
    const from = Math.max(part * width, first);
    const to = Math.min((part + 1) * width, end);
    for (let i = Math.floor((from - first) / span); i < bins.length && first + i * span < to; i += 1) {
      const overlap = Math.min(to, first + (i + 1) * span) - Math.max(from, first + i * span);
      if (overlap > 0) bins[i] += (heat[part] * overlap) / width;
    }
  }
}

/** How many cells each of `count` equal parts of a range has. */
function partSizes(first, end, count) {
  const span = end - first;
  return Array.from({ length: count }, (_, i) => Math.floor(((i + 1) * span) / count) - Math.floor((i * span) / count));
}

/** How strong the colour of a part is, from 0 for nothing to 1 for full: one cell of millions still counts. */
function fullness(dirty, cells) {
  return dirty > 0 ? Math.min(1, Math.log1p(dirty) / Math.log1p(cells)) : 0;
}

/** The dirty runs within a range, flat: start, length, start, length, ... */
function runsOf(edges, first = 0, end = Infinity) {
  const runs = [];
  eachStretch(edges, first, end, (start, stop, level) => {
    if (level > 0) runs.push(start, stop - start);
  });
  return runs;
}

/** The level at a cell. */
function levelAt(edges, cell) {
  let level = 0;
  for (const edge of edges) {
    if (edge >= 2 * cell + 2) break;
    level += edge % 2 ? 1 : -1;
  }
  return level;
}
