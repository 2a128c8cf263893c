/**
 * The library: what the `ringzero` command is made of.
 *
 * ```ts
 * import { Machine, loadScenario } from 'ringzero';
 * const machine = await Machine.create(loadScenario('fair-share.yaml').config);
 * const { hash } = await machine.run();
 * await machine.close();
 * ```
 */
export { checkExpectations, type Expectation, type Verdict } from './config/expectations.js';
export { loadScenario, type MachineOverrides, type Scenario } from './config/scenario.js';
export type { HvContext } from './hv/context.js';
export type { GenericScheduler, SchedulerOps, SchedulerPolicy } from './hv/sched/interface.js';
export type { Policy, PolicyFactory, PolicyKit, PolicyOps } from './hv/sched/user-policy.js';
export type {
  CpupoolConfig,
  DeviceConfig,
  FaultInjection,
  GuestConfig,
  MachineConfig,
  SedfConfig,
} from './machine/config.js';
export { type CpupoolView, type NewCpupool, XenError } from './machine/cpupools.js';
export { Machine, TRACE_FORMATS, type TraceRecord, traceText } from './machine/machine.js';
export { MachineFault } from './machine/machine-fault.js';
export type {
  CpupoolResult,
  DeviceResult,
  DomainResult,
  InterruptResult,
  LatencyResult,
  PcpuResult,
  RequestLatency,
  RequestResult,
  RunResult,
  RunstateResult,
  ServiceResult,
  TaskLogLine,
  TaskResult,
  VcpuResult,
} from './machine/result.js';
export type { PcpuView } from './pcpu/control.js';
export { jsonReport } from './report/json-report.js';
export { textReport } from './report/text-report.js';
export { ConfigError, type Place } from './workload/config-error.js';
export { parseRtApp } from './workload/rt-app.js';
export type {
  TaskPolicy,
  TaskScheduling,
  Workload,
  WorkloadEvent,
  WorkloadPhase,
  WorkloadTask,
  WorkloadWarning,
} from './workload/workload.js';
