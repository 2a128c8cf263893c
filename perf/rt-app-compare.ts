/**
 * `node dist/perf/rt-app-compare.js`: one workload under Debian's rt-app on this host and in the machine. Formats and configured
 * columns must agree (exit code 1 if they do not); measured columns are printed side by side, as a host has other things to do.
 */
import {
  differences,
  hasRtApp,
  median,
  nativeCalibration,
  parseLog,
  runInMachine,
  runNative,
  sampleWorkload,
} from './native-rt-app.js';

const MEASURED = ['run', 'period', 'slack', 'perf', 'wu_lat'];

if (!hasRtApp()) {
  console.error('rt-app-compare: there is no rt-app here (apt-get install rt-app)');
  process.exit(2);
}
const calibration = nativeCalibration();
const workload = sampleWorkload(calibration);
const native = runNative(workload).files;
const ours = await runInMachine(workload);
console.log(`One loop takes ${calibration} ns by rt-app's calibration. Medians, rt-app's / the machine's:`);
console.log(['log'.padEnd(24), ...MEASURED.map((column) => column.padStart(16))].join(' '));
for (const [name, text] of [...native].sort()) {
  const own = ours.get(name);
  if (!name.endsWith('.log') || own === undefined) continue;
  const cells = MEASURED.map((column) =>
    `${median(parseLog(text), column)} / ${median(parseLog(own), column)}`.padStart(16),
  );
  console.log([name.padEnd(24), ...cells].join(' '));
}
const found = differences(native, ours);
for (const difference of found) console.log(difference);
console.log(found.length === 0 ? `${native.size} files agree in all that must` : `${found.length} differences`);
process.exitCode = found.length === 0 ? 0 : 1;
