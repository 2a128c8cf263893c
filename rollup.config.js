/**
 * Joins the worker's modules into one. V8 folds a module's own constants into machine code, but reads imported ones through
 * a cell each time: 13 % of all instructions of a run.
 */
export default {
  input: 'dist/src/pcpu/worker.js',
  output: { file: 'dist/src/pcpu/worker.bundle.js', format: 'es', sourcemap: true },
  // The x86 core is loaded by those who have guests for it.
  external: [/^node:/, /^comlink/, /x86\/executor\.js$/],
  // Join, do not judge: what the code says is what runs.
  treeshake: false,
};
