/**
 * The baseline that every throughput is shown beside: the barest event loop with the same winner tree, which flips a
 * VCPU's runstate each turn and draws the next time at random. No guest, no hypervisor: what the host can do at best.
 */
const PCPUS = 4;
const LEAVES = 4;

export interface LeanLoop {
  /** Takes `turns` turns; each is one event. */
  run(turns: number): void;
}

export function leanLoop(): LeanLoop {
  const keys = new Float64Array(LEAVES);
  const tree = new Int32Array(2 * LEAVES);
  const state = new Int32Array(4 * PCPUS);
  const since = new Float64Array(4 * PCPUS);
  const times = new Float64Array(16 * PCPUS);
  let random = 1;
  for (let p = 0; p < LEAVES; p++) tree[LEAVES + p] = p;

  function set(p: number, ns: number): void {
    keys[p] = ns;
    for (let n = (LEAVES + p) >> 1; n > 0; n >>= 1) {
      const left = tree[2 * n]!;
      const right = tree[2 * n + 1]!;
      tree[n] = keys[right]! < keys[left]! ? right : left;
    }
  }
  for (let p = 0; p < PCPUS; p++) set(p, p);

  return {
    run(turns) {
      for (let n = 0; n < turns; n++) {
        const p = tree[1]!;
        const t = keys[p]!;
        const v = 4 * p + (n & 3);
        times[4 * v + state[v]!]! += t - since[v]!;
        since[v] = t;
        state[v] = (state[v]! + 1) & 3;
        random ^= random << 13;
        random ^= random >>> 17;
        random ^= random << 5;
        set(p, t + 100 + ((random >>> 0) % 1000));
      }
    },
  };
}
