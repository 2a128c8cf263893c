/**
 * The library at work (`npm run build && node dist/examples/library.js`): a machine made by hand, looked at while it
 * runs, and one from a scenario file with its expectations.
 */
import { fileURLToPath } from 'node:url';
import { checkExpectations, type GuestConfig, loadScenario, Machine, type MachineConfig, parseRtApp } from 'ringzero';

const scenario = loadScenario(fileURLToPath(new URL('../../examples/weights.yaml', import.meta.url)));

/** Three domains that always want to run, on two pCPUs; the first weighs as much as the others together. */
const workload = parseRtApp('{ "tasks": { "hog": { "run": 1000000 } } }', 'hog.json');
const guest = (name: string, weight: number): GuestConfig => ({
  name,
  weight,
  workload,
  vcpus: 1,
  memoryMib: 64,
  cap: 0,
  cpus: [],
  cpusSoft: [],
  abi: 64,
});
const config: MachineConfig = {
  // All that a scenario file need not say has its defaults here.
  ...scenario.config,
  pcpus: 2,
  threads: 2,
  durationNs: 5e9,
  guests: [guest('big', 512), guest('small', 256), guest('other', 256)],
};

const machine = await Machine.create(config);
try {
  // Stop the clock of the simulation at 1 s, look, and let it go on.
  const ns = await machine.runUntil(1e9);
  for (let p = 0; p < config.pcpus; p++) {
    const { current, switches } = await machine.inspect(p);
    const who = current ? `domain ${current.domain}, VCPU ${current.vcpu}` : 'nobody';
    console.log(`at ${ns / 1e9} s pCPU ${p} runs ${who} after ${switches} switches`);
  }
  const running = machine.run();
  await machine.resume();
  const result = await running;
  for (const { name, weight, share, expectedShare } of result.domains) {
    console.log(
      `${name}: weight ${weight}, share ${share.toFixed(3)} pCPUs, fair would be ${expectedShare.toFixed(3)}`,
    );
  }
  console.log(`trace hash ${result.hash}`);
} finally {
  await machine.close();
}

const weights = await Machine.create(scenario.config);
try {
  for (const { ok, subject, expected, measured } of checkExpectations(scenario.expectations, await weights.run())) {
    console.log(`${ok ? 'ok' : 'FAILED'}: ${subject} ${expected}, measured ${measured}`);
  }
} finally {
  await weights.close();
}
