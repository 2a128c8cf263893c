import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { ConfigError } from '../../src/workload/config-error.js';
import { parseRtApp } from '../../src/workload/rt-app.js';
import type { WorkloadEvent, WorkloadTask } from '../../src/workload/workload.js';

const EXAMPLES = '/usr/share/doc/rt-app/examples';

function withoutPlaces(events: readonly WorkloadEvent[]): unknown[] {
  return events.map(({ at: _, ...event }) => event);
}

/** The events of a single task whose members are `members`. */
function eventsOf(members: string): unknown[] {
  const workload = parseRtApp(`{ "tasks": { "t": { ${members} } } }`, 'w.json');
  return withoutPlaces(workload.tasks[0]!.phases[0]!.events);
}

function faultOf(text: string): string {
  try {
    parseRtApp(text, 'w.json');
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
  throw new Error('the text was accepted');
}

function taskFault(members: string): string {
  return faultOf(`{"tasks":{"t":{\n${members}}}}`);
}

function globalFault(members: string): string {
  return faultOf(`{"tasks":{"t":{"run":1}},"global":{\n${members}}}`);
}

/** Debian's file, or `undefined` where the package is not installed. */
function exampleText(name: string): string | undefined {
  const file = join(EXAMPLES, name);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

describe('parseRtApp', () => {
  describe('events', () => {
    it('keeps order and repeated keys, and turns microseconds into nanoseconds', () => {
      expect(eventsOf('"run": 10, "sleep": 0, "run": 20, "runtime": 30')).to.deep.equal([
        { kind: 'run', ns: 10_000 },
        { kind: 'sleep', ns: 0 },
        { kind: 'run', ns: 20_000 },
        { kind: 'runtime', ns: 30_000 },
      ]);
    });

    it('knows events by prefix, the longer name first', () => {
      expect(eventsOf('"run-a": 1, "runtime2": 2, "sleep_x": 3, "broadcast": "c", "yield1": ""')).to.deep.equal([
        { kind: 'run', ns: 1000 },
        { kind: 'runtime', ns: 2000 },
        { kind: 'sleep', ns: 3000 },
        { kind: 'broad', cond: 'c' },
        { kind: 'yield' },
      ]);
    });

    it('reads what is wanted of devices, which rt-app has not', () => {
      expect(eventsOf('"irq": "nic0", "irq-2": "nic1", "io": "disk0", "io_b": { "device": "disk1" }')).to.deep.equal([
        { kind: 'irq', device: 'nic0' },
        { kind: 'irq', device: 'nic1' },
        { kind: 'io', device: 'disk0' },
        { kind: 'io', device: 'disk1' },
      ]);
    });

    it('reads mutexes, conditions and barriers', () => {
      const members = `"lock": "m", "wait": {"ref": "c", "mutex": "m"}, "sync": {"mutex": "m", "ref": "c"},
        "unlock": "m", "signal": "c", "barrier": "b"`;
      expect(eventsOf(members)).to.deep.equal([
        { kind: 'lock', mutex: 'm' },
        { kind: 'wait', cond: 'c', mutex: 'm' },
        { kind: 'sync', cond: 'c', mutex: 'm' },
        { kind: 'unlock', mutex: 'm' },
        { kind: 'signal', cond: 'c' },
        { kind: 'barrier', ref: 'b' },
      ]);
    });

    it('takes a suspend without a name for the task itself', () => {
      const expected = ['t', 't', 'other', 't'].map((ref) => ({ kind: 'suspend', ref }));
      expect(eventsOf('"suspend", "suspend": "", "suspend": "other", "suspend"')).to.deep.equal(expected);
      expect(eventsOf('"run": 1, "yield", "resume": "x",')).to.deep.equal([
        { kind: 'run', ns: 1000 },
        { kind: 'yield' },
        { kind: 'resume', ref: 'x' },
      ]);
    });

    it('gives timers that begin with "unique" to each instance', () => {
      const members = '"timer": {"ref": "uniqueA", "period": 5}, "timer": {"ref": "tick", "period": 6}';
      expect(eventsOf(members)).to.deep.equal([
        { kind: 'timer', ref: 'uniqueA', unique: true, periodNs: 5000, mode: 'relative' },
        { kind: 'timer', ref: 'tick', unique: false, periodNs: 6000, mode: 'relative' },
      ]);
    });

    it('makes every use of a timer absolute when one is, and keeps unique timers of other tasks apart', () => {
      const use = (ref: string, mode = '') => `"timer": {"ref": "${ref}", "period": 1${mode}}`;
      const absolute = ', "mode": "absolute"';
      const workload = parseRtApp(
        `{"tasks": {"a": {${use('unique')}, ${use('unique', absolute)}, ${use('tick')}},
                    "b": {${use('unique')}, ${use('tick', absolute)}}}}`,
        'w.json',
      );
      const modes = workload.tasks.map((task) =>
        task.phases[0]!.events.map((event) => event.kind === 'timer' && event.mode),
      );
      expect(modes).to.deep.equal([
        ['absolute', 'absolute', 'absolute'],
        ['relative', 'absolute'],
      ]);
    });

    it('says where each event stands', () => {
      const workload = parseRtApp('{"tasks": {"t": {\n  /* a comment\n */ "run": 1\n}}}', 'w.json');
      expect(workload.tasks[0]!.phases[0]!.events[0]!.at).to.deep.equal({ file: 'w.json', line: 3, column: 5 });
      expect(workload.tasks[0]!.at).to.deep.equal({ file: 'w.json', line: 1, column: 12 });
    });
  });

  describe('tasks and phases', () => {
    it("fills in rt-app's defaults", () => {
      const { at: _, phases, ...task } = parseRtApp('{"tasks": {"t": {"run": 1}}}', 'w.json').tasks[0]!;
      expect(task).to.deep.equal({
        name: 't',
        instance: 1,
        delayNs: 0,
        loop: -1,
        policy: 'SCHED_OTHER',
        priority: 0,
      });
      expect(phases.map(({ name, loop }) => ({ name, loop }))).to.deep.equal([{ name: 'phase1', loop: 1 }]);
    });

    it('reads the settings of a task and of its phases, which may share a name', () => {
      const [task] = parseRtApp(
        `{"tasks": {"t": {"instance": 3, "delay": 7, "loop": 2, "policy": "SCHED_RR", "priority": 20, "cpus": [2, 0, 2],
          "phases": {"p": {"cpus": [1], "run": 1}, "p": {"loop": -1, "run": 2}}}}}`,
        'w.json',
      ).tasks;
      expect(task).to.include({ instance: 3, delayNs: 7000, loop: 2, policy: 'SCHED_RR', priority: 20 });
      expect(task!.cpus).to.deep.equal([0, 2]);
      const phases = task!.phases.map(({ events, ...phase }) => ({ ...phase, events: events.length }));
      expect(phases).to.deep.equal([
        { name: 'p', loop: 1, cpus: [1], events: 1 },
        { name: 'p', loop: -1, events: 1 },
      ]);
    });

    it('gives real-time tasks priority 10, whichever way they get their policy', () => {
      const workload = parseRtApp(
        `{"tasks": {"a": {"run": 1}, "b": {"policy": "SCHED_OTHER", "priority": -19, "run": 1}},
          "global": {"default_policy": "SCHED_FIFO"}}`,
        'w.json',
      );
      expect(workload.tasks.map(({ policy, priority }) => [policy, priority])).to.deep.equal([
        ['SCHED_FIFO', 10],
        ['SCHED_OTHER', -19],
      ]);
    });
  });

  describe('events of later versions and of our own', () => {
    it('reads memory, I/O, forks and semaphores', () => {
      expect(
        eventsOf('"mem": 5, "memrun": 6, "iorun2": 7, "fork": "t", "sem_post": "s", "sem_wait1": "s"'),
      ).to.deep.equal([
        { kind: 'mem', bytes: 5 },
        { kind: 'mem', bytes: 6 },
        { kind: 'iorun', bytes: 7 },
        { kind: 'fork', task: 't' },
        { kind: 'sem_post', ref: 's' },
        { kind: 'sem_wait', ref: 's' },
      ]);
    });

    it('reads requests and what answers them, a service without a name being one, too', () => {
      expect(
        eventsOf(
          '"request": {"to": "web"}, "request": {"to": "db", "ref": "sql", "bytes": 9}, "serve", "respond", ' +
            '"serve": "x", "respond": "x", "respond": {"ref": "x", "bytes": 3}',
        ),
      ).to.deep.equal([
        { kind: 'request', domain: 'web', service: 'service', bytes: 0 },
        { kind: 'request', domain: 'db', service: 'sql', bytes: 9 },
        { kind: 'serve', service: 'service' },
        { kind: 'respond', service: 'service', bytes: 0 },
        { kind: 'serve', service: 'x' },
        { kind: 'respond', service: 'x', bytes: 0 },
        { kind: 'respond', service: 'x', bytes: 3 },
      ]);
    });
  });

  describe('scheduling', () => {
    const taskOf = (members: string): WorkloadTask => parseRtApp(`{"tasks":{"t":{${members}}}}`, 'w.json').tasks[0]!;

    it("reads SCHED_DEADLINE's parameters, a period and a deadline left out being what stands before them", () => {
      const of = (members: string): unknown => taskOf(`"run": 1, "policy": "SCHED_DEADLINE", ${members}`).deadline;
      expect(of('"dl-runtime": 2, "dl-period": 9, "dl-deadline": 5')).to.deep.equal({
        runtimeNs: 2000,
        deadlineNs: 5000,
        periodNs: 9000,
      });
      expect(of('"dl-runtime": 2, "dl-period": 9')).to.include({ deadlineNs: 9000, periodNs: 9000 });
      expect(of('"dl-runtime": 2')).to.include({ deadlineNs: 2000, periodNs: 2000 });
    });

    it('completes what a phase says by what was so before it, and leaves others alone', () => {
      const { phases } = taskOf(`"policy": "SCHED_FIFO", "priority": 7, "phases": {
        "a": {"run": 1}, "b": {"priority": 9, "run": 1}, "c": {"policy": "SCHED_OTHER", "run": 1},
        "d": {"policy": "SCHED_RR", "run": 1}, "e": {"policy": "SCHED_DEADLINE", "dl-runtime": 3, "run": 1},
        "f": {"policy": "SCHED_DEADLINE", "run": 1}}`);
      const deadline = { runtimeNs: 3000, deadlineNs: 3000, periodNs: 3000 };
      expect(phases.map(({ scheduling }) => scheduling)).to.deep.equal([
        undefined,
        { policy: 'SCHED_FIFO', priority: 9 },
        { policy: 'SCHED_OTHER', priority: 0 },
        { policy: 'SCHED_RR', priority: 10 },
        { policy: 'SCHED_DEADLINE', priority: 0, deadline },
        { policy: 'SCHED_DEADLINE', priority: 0, deadline },
      ]);
    });

    it('warns of what is accepted and changes nothing, where it stands', () => {
      const text = `{"tasks":{"t":{"run":1,"util_min":5,"util_max":-1,"nodes_membind":[0],"taskgroup":"/g"}},
        "global":{"ftrace":"main","lock_pages":true,"logdir":"/tmp","log_size":2}}`;
      const warnings = parseRtApp(text, 'w.json').warnings?.map(({ message, at }) => [
        at.line,
        at.column,
        message.split('"')[1],
      ]);
      expect(warnings).to.have.deep.members([
        [1, 35, 'util_min'],
        [1, 67, 'nodes_membind'],
        [1, 83, 'taskgroup'],
        [2, 28, 'ftrace'],
        [2, 48, 'lock_pages'],
        [2, 62, 'logdir'],
        [2, 80, 'log_size'],
      ]);
    });
  });

  describe('the old grammar', () => {
    it('works through lock_order, computes the rest, and waits for the next period', () => {
      const { tasks } = parseRtApp(
        `{"tasks": {"t": {"exec": 10, "period": 50, "lock_order": ["m", "w", "s", "r"], "resources": {
            "m": {"duration": 3}, "w": {"access": ["x"]}, "s": {"access": ["x"]}, "r": {"duration": 2}}},
          "u": {"phases": {"p": {"exec": 1, "period": 2, "sleep": false}}}},
          "resources": {"m": {"type": "mutex"}, "w": {"type": "wait"}, "s": {"type": "sync", "target": "w"},
            "r": {"type": "run"}, "x": {"type": "mutex"}}}`,
        'w.json',
      );
      expect(withoutPlaces(tasks[0]!.phases[0]!.events)).to.deep.equal([
        { kind: 'lock', mutex: 'm' },
        { kind: 'run', ns: 3000 },
        { kind: 'unlock', mutex: 'm' },
        { kind: 'lock', mutex: 'x' },
        { kind: 'wait', cond: 'w', mutex: 'x' },
        { kind: 'unlock', mutex: 'x' },
        { kind: 'lock', mutex: 'x' },
        { kind: 'sync', cond: 'w', mutex: 'x' },
        { kind: 'unlock', mutex: 'x' },
        { kind: 'run', ns: 2000 },
        { kind: 'run', ns: 5000 },
        { kind: 'timer', ref: 'unique', unique: true, periodNs: 50_000, mode: 'absolute' },
      ]);
      expect(withoutPlaces(tasks[1]!.phases[0]!.events)).to.deep.equal([{ kind: 'run', ns: 1000 }]);
    });
  });

  describe('global', () => {
    it('reads what matters and accepts what does not', () => {
      const workload = parseRtApp(
        `{"tasks": {"t": {"run": 1}}, "resources": {"m": {"type": "mutex"}}, // the old section
          "global": {"duration": 6, "calibration": "CPU0", "default_policy": "SCHED_OTHER", "pi_enabled": false,
            "lock_pages": true, "logdir": "./", "log_basename": "web", "log_size": "file", "ftrace": true,
            "gnuplot": true, "frag": 1, "io_device": "/dev/sda", "mem_buffer_size": 4096,
            "cumulative_slack": true,}}`,
        'w.json',
      );
      expect(workload).to.include({ gnuplot: true, ioDevice: '/dev/sda', memBufferBytes: 4096 });
      const other = parseRtApp(
        '{"tasks": {"t": {"run": 1}}, "global": {"calibration": 7, "pi_enabled": true, "log_size": "Disable"}}',
        'w.json',
      );
      expect(other).to.include({ nsPerLoop: 7, inheritsPriority: true, keepsLogs: false });
      expect(workload).to.include({ file: 'w.json', durationNs: 6e9, logBasename: 'web', cumulativeSlack: true });
    });

    it('has no duration when it is -1 or not given', () => {
      for (const global of ['', ', "global": {}', ', "global": {"duration": -1}']) {
        const workload = parseRtApp(`{"tasks": {"t": {"run": 1}}${global}}`, 'w.json');
        expect(workload).not.to.have.property('durationNs');
        expect(workload.logBasename).to.equal('rt-app');
      }
    });

    it('refuses values out of range and keys it does not know', () => {
      expect(globalFault('"duration": 0')).to.contain('w.json:2:13: "duration" is 0');
      expect(globalFault('"duration": 1e9')).to.contain('"duration" is 1000000000; it must be from -1 to');
      expect(globalFault('"default_policy": "SCHED_DEADLINE"')).to.contain('w.json:2:19: "default_policy" cannot be');
      expect(globalFault('"default_policy": "fair"')).to.contain('unknown policy "fair"');
      expect(globalFault('"calibration": "CPU"')).to.contain('"calibration" must be');
      expect(globalFault('"gnuplot": 1')).to.contain('"gnuplot" must be true or false, not a number');
      expect(globalFault('"log_size": -1')).to.contain('"log_size" is -1');
      expect(globalFault('"log_size": "big"')).to.contain('"log_size" must be');
      expect(globalFault('"ftrace": "main,sched"')).to.equal('w.json:2:11: unknown category "sched" in "ftrace"');
      expect(globalFault('"mem_buffer_size": 0')).to.contain('"mem_buffer_size" is 0');
      expect(globalFault('"io_device": ""')).to.contain('"io_device" is empty');
      expect(globalFault('"spacing": 1')).to.equal('w.json:2:1: unknown key "spacing" in "global"');
    });
  });

  describe('refusals', () => {
    it('keeps what is of a task out of phases', () => {
      expect(taskFault('"phases": {"p": {"instance": 1, "run": 1}}')).to.contain(
        'w.json:2:18: "instance" is of a task, not of a phase',
      );
    });

    it('refuses keys of the old grammar by themselves, beside events, or without what they name', () => {
      expect(taskFault('"run": 1, "period": 1')).to.contain('2:11: "period" is of rt-app\'s old grammar');
      expect(taskFault('"exec": 1')).to.contain('needs "exec" and "period"');
      expect(taskFault('"exec": 2, "period": 1')).to.contain('2:9: "exec" exceeds "period"');
      expect(taskFault('"exec": 1, "period": 1, "run": 1')).to.contain('2:25: event "run" beside keys');
      expect(taskFault('"exec": 1, "period": 1, "lock_order": ["m"]')).to.contain(
        '2:40: "m" is not among the "resources"',
      );
    });

    it('refuses keys it does not know', () => {
      expect(taskFault('"run": 1, "foo": 1')).to.equal('w.json:2:11: unknown event or key "foo"');
      expect(taskFault('"run": 1, "loop1": 1')).to.contain('unknown event or key "loop1"');
      expect(taskFault('"wait": {"ref": "c", "mutex": "m", "x": 1}')).to.contain(
        'w.json:2:36: unknown key "x" in "wait"',
      );
      expect(faultOf('{"tasks": {"t": {"run": 1}}, "task": {}}')).to.contain('1:30: unknown key "task"');
    });

    const wrong: readonly (readonly [string, string])[] = [
      ['"run": "5"', '2:8: "run" must be an integer, not a string'],
      ['"run": -1', '"run" is -1; it must be from 0 to 2147483647'],
      ['"run": 1.5', '"run" must be an integer'],
      ['"run": 1e999', '"run" must be an integer'],
      ['"run": 2147483648', '"run" is 2147483648'],
      ['"run"', '2:1: "run" has no value'],
      ['"resume"', '"resume" has no value'],
      ['"resume": ""', '"resume" is empty'],
      ['"lock": 1', '"lock" must be a string, not a number'],
      ['"wait": "c"', '"wait" must be an object, not a string'],
      ['"wait": {"ref": "c"}', '"wait" needs "mutex"'],
      ['"timer": {"ref": "t"}', '"timer" needs "period"'],
      ['"timer": {"ref": "t", "period": 1, "mode": "late"}', '"mode" must be "relative" or "absolute"'],
      ['"timer": {"ref": "t", "ref": "u", "period": 1}', '"ref" is given twice'],
      ['"yield": 1', '"yield" must be a string'],
      ['"run": 1, "loop": 0', '2:19: "loop" is 0'],
      ['"run": 1, "loop": -2', '"loop" is -2'],
      ['"run": 1, "loop": 1, "loop": 2', '2:22: "loop" is given twice'],
      ['"run": 1, "instance": -1', '"instance" is -1; it must be from 0 to 10000'],
      ['"run": 1, "instance": 0', 'no task ever starts: all have "instance" 0'],
      ['"run": 1, "instance": 10001', '"instance" is 10001'],
      ['"run": 1, "delay": -5', '"delay" is -5'],
      ['"run": 1, "cpus": 1', '"cpus" must be an array, not a number'],
      ['"run": 1, "cpus": []', '"cpus" is empty'],
      ['"run": 1, "cpus": [-1]', '"cpus" is -1'],
      ['"run": 1, "priority": 20', '"priority" is 20; it must be from -20 to 19'],
      ['"run": 1, "policy": "SCHED_FIFO", "priority": 0', '"priority" is 0; it must be from 1 to 99'],
      ['"run": 1, "policy": "SCHED_BATCH"', 'unknown policy "SCHED_BATCH"'],
      ['"run": 1, "policy": "SCHED_DEADLINE"', 'SCHED_DEADLINE needs "dl-runtime"'],
      ['"run": 1, "policy": "SCHED_DEADLINE", "dl-runtime": 1', '"dl-runtime" is too short'],
      ['"run": 1, "policy": "SCHED_DEADLINE", "dl-runtime": 5, "dl-period": 4', '2:69: "dl-runtime" may not exceed'],
      ['"run": 1, "policy": "SCHED_DEADLINE", "dl-runtime": 5, "priority": 1', '"priority" is 1'],
      ['"run": 1, "dl-runtime": 5', '2:25: this is for SCHED_DEADLINE, and the policy is SCHED_OTHER'],
      ['"run": 1, "util_max": 1025', '"util_max" is 1025; it must be from -1 to 1024'],
      ['"run": 1, "taskgroup": "a"', '"taskgroup" must begin with "/"'],
      ['"run": 1, "policy": "SCHED_RR", "taskgroup": "/a"', '"taskgroup" is for SCHED_OTHER and SCHED_IDLE'],
      ['"run": 1, "nodes_membind": 0', '"nodes_membind" must be an array'],
      ['"mem": -1', '"mem" is -1'],
      ['"fork": "u"', '2:1: "fork" of "u", but there is no such task'],
      ['"fork": "t", "barrier": "b"', '2:14: a forked task cannot meet others at a barrier'],
      ['"sem_wait"', '"sem_wait" has no value'],
      ['"request": "web"', '"request" must be an object'],
      ['"request": {"ref": "http"}', '"request" needs "to"'],
      ['"request": {"to": "web", "bytes": -1}', '"bytes" is -1'],
      ['"serve": "http"', '2:1: "serve" of "http" without a "respond" in the task'],
      ['"respond": {"ref": "http"}, "serve": "ftp"', '2:1: "respond" of "http" without a "serve" in the task'],
      ['', 'task "t" has no events'],
      ['"loop": 1', 'task "t" has no events'],
      ['"phases": {}', 'task "t" has no phases'],
      ['"phases": {"p": {"loop": 1}}', '2:12: phase "p" of task "t" has no events'],
      ['"phases": {"p": {"run": 1}}, "run": 1', 'an event beside "phases" would never run'],
    ];
    for (const [members, message] of wrong)
      it(`refuses a task with ${members || 'nothing in it'}`, () => {
        expect(taskFault(members)).to.contain(message);
      });

    it('refuses files without tasks', () => {
      expect(faultOf('{"global": {}}')).to.equal('w.json:1:1: there is no "tasks" object');
      expect(faultOf('{"tasks": {}}')).to.equal('w.json:1:11: "tasks" is empty');
      expect(faultOf('{"tasks": []}')).to.contain('"tasks" must be an object, not an array');
      expect(faultOf('[]')).to.contain('must hold an object');
      expect(faultOf('')).to.contain('w.json:1:1:');
      expect(faultOf('{"tasks": {"t": {"run": 1}, "t": {"run": 1}}}')).to.contain('"t" is given twice');
    });

    it('refuses syntax errors where they are', () => {
      expect(faultOf('{"tasks": {"t": {"run" 1}}}')).to.equal('w.json:1:24: a colon is expected here');
      expect(faultOf('{"tasks": {"t": {"suspend"\n"run": 1}}}')).to.equal('w.json:2:1: a colon is expected here');
      expect(faultOf('{"tasks": {"t": {"run": 1}}')).to.contain('a closing brace is expected here');
      expect(faultOf('{"tasks": {"t": {"run": 1 "run": 1}}}')).to.contain('1:27: a comma is expected here');
      expect(faultOf('{"tasks": {"t": {"run": ,}}}')).to.contain('1:25: a value is expected here');
      expect(faultOf('{"tasks": {"t": {"run": 1}}} {}')).to.contain('1:30: the end of the file is expected here');
      expect(faultOf('/* {}')).to.contain('the comment is not closed');
      expect(faultOf('['.repeat(100_000))).to.equal('w.json:1:33: nested too deeply');
    });
  });

  describe("on Debian's examples", () => {
    const refused: Readonly<Record<string, string>> = {
      'merge/global.json': '1:1: there is no "tasks" object',
      'merge/resources.json': '1:1: there is no "tasks" object',
      'merge/thread0.json': '7:26: "wait" is not among the "resources" of the file',
      'merge/thread1.json': '7:26: "m0" is not among the "resources" of the file',
      'merge/thread2.json': '7:26: "wake" is not among the "resources" of the file',
      'merge/thread3.json': '7:26: "wake" is not among the "resources" of the file',
    };

    it('accepts all of them but fragments of files', function () {
      if (!existsSync(EXAMPLES)) return this.skip();
      const files = readdirSync(EXAMPLES, { recursive: true, encoding: 'utf8' }).filter((name) =>
        name.endsWith('.json'),
      );
      expect(files).not.to.be.empty;
      for (const name of files) {
        const text = readFileSync(join(EXAMPLES, name), 'utf8');
        const expected = refused[name];
        if (expected) expect(faultOf(text), name).to.contain(`w.json:${expected}`);
        else expect(parseRtApp(text, name).tasks, name).not.to.be.empty;
      }
    });

    it('reads the bare suspends of video-short.json as the task that holds them', function () {
      const text = exampleText('video-short.json');
      if (text === undefined) return this.skip();
      const tasks = parseRtApp(text, 'video-short.json').tasks;
      const dispSync = tasks.find((task) => task.name === 'DispSync');
      expect(withoutPlaces(dispSync!.phases[1]!.events)).to.deep.equal([
        { kind: 'suspend', ref: 'DispSync' },
        { kind: 'run', ns: 30_000 },
      ]);
      expect(tasks).to.have.length(17);
    });

    it('keeps the repeated phase name and the four phases of spreading-tasks.json', function () {
      const text = exampleText('spreading-tasks.json');
      if (text === undefined) return this.skip();
      const [, second] = parseRtApp(text, 'spreading-tasks.json').tasks;
      expect(second!.phases.map(({ name, loop }) => [name, loop])).to.deep.equal([
        ['light1', 900],
        ['heavy1', 600],
        ['light2', 300],
        ['heavy1', 600],
      ]);
    });
  });

  describe('on arbitrary text', () => {
    const onlyConfigErrors = (text: string): void => {
      try {
        parseRtApp(text, 'w.json');
      } catch (error) {
        if (!(error instanceof ConfigError) || !error.place) throw error;
      }
    };

    it('throws nothing but a ConfigError with a place', () => {
      fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json()), onlyConfigErrors));
    });

    it('throws nothing but a ConfigError with a place on a mutated file', () => {
      const file = `{ "tasks": { "a": { "suspend", "run": 1, "timer": {"ref": "unique", "period": 2}, "loop": -1 },
        "b": { "cpus": [0, 1], "phases": { "p": { "wait1": {"ref": "c", "mutex": "m"} } } } }, "global": {"duration": 1} }`;
      const piece = fc.oneof(
        fc.constantFrom(
          '{',
          '}',
          '[',
          ']',
          ',',
          ':',
          '"',
          '/*',
          '//',
          '-',
          '0',
          'null',
          'true',
          '"run"',
          '"phases"',
          '\\u',
        ),
        fc.string({ maxLength: 3 }),
      );
      const cut = fc.record({ from: fc.nat(file.length), length: fc.nat(8), piece });
      fc.assert(
        fc.property(fc.array(cut, { minLength: 1, maxLength: 4 }), (cuts) => {
          let text = file;
          for (const { from, length, piece: put } of cuts) text = text.slice(0, from) + put + text.slice(from + length);
          onlyConfigErrors(text);
        }),
        { numRuns: 1000 },
      );
    });
  });
});
