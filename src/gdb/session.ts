/**
 * What GDB asks, packet by packet, and the answers (gdb manual, appendix E). VCPUs are threads, of which the first has number 1. All are
 * halted together, and go on together: one that GDB holds back while another makes a step goes on with it.
 */
import { type DebugPort, type DebugStop, type Halt, STOP_FOR } from '../machine/debug-port.js';
import { ST } from '../pcpu/x86/state.js';
import { type Arrival, fromHex, GOT, hexNumber, NOT_GOT, PACKET_BYTES, packetOf, toHex } from './packets.js';
import { REGISTERS, readAll, TARGET_XML, writeAll } from './registers.js';

/** GDB's numbers of signals. */
const SIGNAL = { INT: 2, ILL: 4, TRAP: 5, ABRT: 6, FPE: 8, BUS: 10, SEGV: 11, TERM: 15 } as const;
/** What an exception is to those who know signals; the others are SIGSEGV. */
const SIGNAL_OF: Readonly<Record<number, number>> = {
  ...{ 0: SIGNAL.FPE, 1: SIGNAL.TRAP, 3: SIGNAL.TRAP, 6: SIGNAL.ILL },
  ...{ 16: SIGNAL.FPE, 17: SIGNAL.BUS, 19: SIGNAL.FPE },
};
const ERROR = { wrong: 'E01', fault: 'E14', noRoom: 'E1c' } as const;
const OK = 'OK';
/** No such thing: GDB does without. */
const UNKNOWN = '';

/** Stops by the number of their packet: the word for them in answers, and what they are for. */
const KINDS = [
  { word: 'swbreak', purpose: STOP_FOR.execution },
  { word: 'hwbreak', purpose: STOP_FOR.execution },
  { word: 'watch', purpose: STOP_FOR.write },
  { word: 'rwatch', purpose: STOP_FOR.read },
  { word: 'awatch', purpose: STOP_FOR.access },
] as const;
/** Bytes that one stop watches at most. */
const MOST_WATCHED = 1n << 20n;
const TOP = 1n << 64n;
/** All threads; any. */
const ALL = -1;
const ANY = 0;

const HELP = ['help  this', 'info  simulation time, and what VCPUs do'];

type Target = Pick<
  DebugPort,
  | 'isRunning'
  | 'timeNs'
  | 'vcpus'
  | 'nameOf'
  | 'block'
  | 'view'
  | 'read'
  | 'write'
  | 'addStop'
  | 'removeStop'
  | 'detach'
  | 'interrupt'
  | 'resume'
  | 'end'
>;

export interface SessionOptions {
  send(bytes: Uint8Array): void;
  /** Ends the machine. */
  kill(): void;
  /** The client is not heard any more. */
  hangUp(): void;
}

interface Stop extends DebugStop {
  readonly kind: number;
}

export class Session {
  readonly #target: Target;
  readonly #options: SessionOptions;
  #acknowledges = true;
  #last: Uint8Array | undefined;
  /** GDB waits for a halt. */
  #isAwaited = false;
  #halt: Halt = { why: 'interrupt' };
  /** VCPU that it looks at. */
  #vcpu = 0;
  /** The one that it has go on where it names none: `Hc`. */
  #moved = ALL;
  /** What else it understands of an answer. */
  #words: ReadonlySet<string> = new Set();
  readonly #stops: Stop[] = [];

  constructor(target: Target, options: SessionOptions) {
    this.#target = target;
    this.#options = options;
  }

  /** VCPUs are halted. */
  halted(halt: Halt): void {
    this.#halt = halt;
    if (halt.why !== 'interrupt') this.#vcpu = halt.vcpu;
    if (!this.#isAwaited) return;
    this.#isAwaited = false;
    this.#send(this.#haltText());
  }

  /** The machine has ended. */
  ended(): void {
    if (this.#isAwaited) this.#send(this.#endText());
    this.#isAwaited = false;
  }

  async take(arrival: Arrival): Promise<void> {
    switch (arrival.kind) {
      case 'interrupt':
        if (this.#isAwaited) this.#target.interrupt();
        return;
      case 'again':
        if (this.#last !== undefined) this.#options.send(this.#last);
        return;
      case 'broken':
        if (this.#acknowledges) this.#options.send(NOT_GOT);
        else this.#send(ERROR.wrong);
        return;
      case 'packet': {
        if (this.#acknowledges) this.#options.send(GOT);
        const answer = await this.#answer(Buffer.from(arrival.data).toString('latin1'));
        if (answer !== undefined) this.#send(answer);
      }
    }
  }

  #send(answer: string): void {
    this.#last = packetOf(Buffer.from(answer, 'latin1'));
    this.#options.send(this.#last);
  }

  /** Undefined: there is none, or it comes with the next halt. */
  async #answer(text: string): Promise<string | undefined> {
    if (text === 'k' || text.startsWith('vKill')) {
      this.#options.kill();
      return text === 'k' ? undefined : OK;
    }
    if (text === 'D' || text.startsWith('D;')) {
      await this.#target.detach();
      this.#send(OK);
      this.#options.hangUp();
      return undefined;
    }
    // Whoever asks must wait, but for that.
    if (this.#target.isRunning) return this.#target.end() === undefined ? ERROR.wrong : this.#endText();
    const rest = text.slice(1);
    switch (text.charAt(0)) {
      case '?':
        return this.#haltText();
      case 'H':
        return this.#select(rest);
      case 'T':
        return this.#threadOf(rest) === undefined ? ERROR.wrong : OK;
      case 'g':
        return toHex(readAll(this.#target.view, this.#block()));
      case 'G':
        return this.#writeRegisters(rest);
      case 'p':
        return this.#readRegister(rest);
      case 'P':
        return this.#writeRegister(rest);
      case 'm':
        return this.#readMemory(rest);
      case 'M':
        return this.#writeMemory(rest, fromHex);
      case 'X':
        return this.#writeMemory(rest, (data) => Buffer.from(data, 'latin1'));
      case 'Z':
        return this.#addStop(rest);
      case 'z':
        return this.#removeStop(rest);
      case 'c':
        return this.#goOn(rest, false);
      case 's':
        return this.#goOn(rest, true);
      case 'C':
        return this.#goOn(rest.split(';')[1] ?? '', false);
      case 'S':
        return this.#goOn(rest.split(';')[1] ?? '', true);
      case 'v':
        return this.#goOnEach(text);
      case 'q':
      case 'Q':
        return this.#query(text);
      default:
        return UNKNOWN;
    }
  }

  #query(text: string): string {
    const [, name = '', rest = ''] = /^(\w+)[:,;]?([\s\S]*)$/.exec(text) ?? [];
    switch (name) {
      case 'qSupported':
        this.#words = new Set(rest.split(';').map((word) => word.replace(/\+$/, '')));
        return [
          ...[`PacketSize=${PACKET_BYTES.toString(16)}`, 'qXfer:features:read+', 'QStartNoAckMode+'],
          ...['vContSupported+', 'swbreak+', 'hwbreak+'],
        ].join(';');
      case 'QStartNoAckMode':
        this.#acknowledges = false;
        return OK;
      case 'qXfer':
        return this.#transfer(rest);
      case 'qAttached':
        return '1';
      case 'qC':
        return `QC${(1 + this.#vcpu).toString(16)}`;
      case 'qfThreadInfo':
        return `m${this.#target
          .vcpus()
          .map((k) => (1 + k).toString(16))
          .join(',')}`;
      case 'qsThreadInfo':
        return 'l';
      case 'qThreadExtraInfo': {
        const thread = this.#threadOf(rest);
        if (thread === undefined || thread <= ANY) return ERROR.wrong;
        return toHex(Buffer.from(this.#target.nameOf(thread - 1)));
      }
      case 'qRcmd':
        return this.#monitor(rest);
      default:
        return UNKNOWN;
    }
  }

  #transfer(rest: string): string {
    const [, from, length] = /^features:read:target\.xml:([^,]*),(.*)$/.exec(rest) ?? [];
    if (from === undefined) return UNKNOWN;
    const [first, count] = [hexNumber(from), hexNumber(length)];
    if (first === undefined || count === undefined) return ERROR.wrong;
    // Some bytes of an answer may be two.
    const end = Number(first) + Math.min(Number(count), PACKET_BYTES / 2);
    return `${end >= TARGET_XML.length ? 'l' : 'm'}${TARGET_XML.slice(Number(first), end)}`;
  }

  #monitor(hex: string): string {
    const command = Buffer.from(fromHex(hex) ?? [])
      .toString('latin1')
      .trim();
    const lines = ((): string[] => {
      if (command === 'help') return HELP;
      if (command !== 'info') return [`no such command: ${command}`, ...HELP];
      const { timeNs } = this.#target;
      const time = timeNs < 0 ? 'it boots' : `${timeNs.toLocaleString('en')} ns`;
      return [`simulation time: ${time}`, ...this.#target.vcpus().map((k) => this.#target.nameOf(k))];
    })();
    return toHex(Buffer.from(lines.map((line) => `${line}\n`).join('')));
  }

  /** A thread that there is, ALL or ANY. */
  #threadOf(text: string): number | undefined {
    if (text === '-1') return ALL;
    const thread = Number(hexNumber(text) ?? Number.NaN);
    return thread === ANY || this.#target.vcpus().includes(thread - 1) ? thread : undefined;
  }

  #select(rest: string): string {
    const thread = this.#threadOf(rest.slice(1));
    if (thread === undefined) return ERROR.wrong;
    if (rest.startsWith('c')) this.#moved = thread;
    else if (!rest.startsWith('g')) return ERROR.wrong;
    else if (thread > ANY) this.#vcpu = thread - 1;
    return OK;
  }

  #block(): number {
    return this.#target.block(this.#vcpu);
  }

  #writeRegisters(hex: string): string {
    const data = fromHex(hex);
    return data !== undefined && writeAll(this.#target.view, this.#block(), data) ? OK : ERROR.wrong;
  }

  #readRegister(number: string): string {
    const register = REGISTERS[Number(hexNumber(number) ?? -1n)];
    return register === undefined ? ERROR.wrong : toHex(register.read(this.#target.view, this.#block()));
  }

  #writeRegister(rest: string): string {
    const [number, hex = ''] = rest.split('=');
    const register = REGISTERS[Number(hexNumber(number) ?? -1n)];
    const data = fromHex(hex);
    if (register === undefined || data?.length !== register.bytes) return ERROR.wrong;
    register.write(this.#target.view, this.#block(), data);
    return OK;
  }

  #readMemory(rest: string): string {
    const [from, count] = rest.split(',').map(hexNumber);
    if (from === undefined || count === undefined) return ERROR.wrong;
    if (count === 0n) return '';
    // GDB takes what it gets.
    const bytes = Number(count > PACKET_BYTES / 2 ? BigInt(PACKET_BYTES / 2) : count);
    const data = this.#target.read(this.#vcpu, from, bytes);
    return data.length === 0 ? ERROR.fault : toHex(data);
  }

  #writeMemory(rest: string, bytesOf: (text: string) => Uint8Array | undefined): string {
    const colon = rest.indexOf(':');
    const [from, count] = rest.slice(0, Math.max(0, colon)).split(',').map(hexNumber);
    const data = bytesOf(rest.slice(colon + 1));
    if (colon < 0 || from === undefined || BigInt(data?.length ?? -1) !== count || data === undefined)
      return ERROR.wrong;
    return data.length === 0 || this.#target.write(this.#vcpu, from, data) ? OK : ERROR.fault;
  }

  #stopOf(rest: string): Stop | undefined {
    const [type, at, length] = rest.split(';')[0]!.split(',').map(hexNumber);
    const kind = KINDS[Number(type ?? KINDS.length)];
    if (kind === undefined || at === undefined || length === undefined) return undefined;
    const isForCode = kind.purpose === STOP_FOR.execution;
    if (!isForCode && (length === 0n || length > MOST_WATCHED || at + length > TOP)) return undefined;
    return { kind: Number(type), address: at, bytes: isForCode ? 1 : Number(length), purpose: kind.purpose };
  }

  #indexOf(stop: Stop): number {
    return this.#stops.findIndex((s) => s.kind === stop.kind && s.address === stop.address && s.bytes === stop.bytes);
  }

  #addStop(rest: string): string {
    const stop = this.#stopOf(rest);
    if (stop === undefined) return ERROR.wrong;
    // Said twice it is one.
    if (this.#indexOf(stop) >= 0) return OK;
    if (!this.#target.addStop(stop)) return ERROR.noRoom;
    this.#stops.push(stop);
    return OK;
  }

  #removeStop(rest: string): string {
    const stop = this.#stopOf(rest);
    if (stop === undefined) return ERROR.wrong;
    const n = this.#indexOf(stop);
    if (n >= 0) {
      this.#stops.splice(n, 1);
      this.#target.removeStop(stop);
    }
    return OK;
  }

  async #goOn(at: string, isStep: boolean): Promise<string | undefined> {
    const vcpu = this.#moved > ANY ? this.#moved - 1 : this.#vcpu;
    if (at !== '') {
      const rip = hexNumber(at);
      if (rip === undefined) return ERROR.wrong;
      this.#target.view.setBigUint64(this.#target.block(vcpu) + ST.rip, rip, true);
    }
    return this.#release(isStep ? [vcpu] : []);
  }

  async #goOnEach(text: string): Promise<string | undefined> {
    if (text === 'vCont?') return 'vCont;c;C;s;S;t';
    if (!text.startsWith('vCont;')) return UNKNOWN;
    const actions: (readonly [what: string, thread: number])[] = [];
    for (const action of text.split(';').slice(1)) {
      const [, what, thread] = /^([cst]|[CS][0-9a-f]{2})(?::(.*))?$/i.exec(action) ?? [];
      const of = thread === undefined ? ALL : this.#threadOf(thread);
      if (what === undefined || of === undefined) return ERROR.wrong;
      actions.push([what.charAt(0).toLowerCase(), of]);
    }
    /** The first action that is about a VCPU is its own. */
    const actionOf = (k: number): string | undefined => actions.find(([, of]) => of <= ANY || of === 1 + k)?.[0];
    const vcpus = this.#target.vcpus();
    if (vcpus.every((k) => (actionOf(k) ?? 't') === 't')) return this.#haltText();
    return this.#release(vcpus.filter((k) => actionOf(k) === 's'));
  }

  async #release(steps: readonly number[]): Promise<undefined> {
    this.#isAwaited = true;
    await this.#target.resume(steps);
  }

  #haltText(): string {
    const halt = this.#halt;
    if (halt.why === 'interrupt' && !this.#target.vcpus().includes(this.#vcpu)) this.#vcpu = 0;
    const hex = (n: number): string => n.toString(16).padStart(2, '0');
    const thread = `thread:${(1 + this.#vcpu).toString(16)};`;
    switch (halt.why) {
      case 'interrupt':
        return `T${hex(SIGNAL.INT)}${thread}`;
      case 'crash':
        return `T${hex(SIGNAL_OF[halt.vector] ?? SIGNAL.SEGV)}${thread}`;
      case 'step':
        return `T${hex(SIGNAL.TRAP)}${thread}`;
      case 'breakpoint': {
        const rip = this.#target.view.getBigUint64(this.#block() + ST.rip, true);
        return `T${hex(SIGNAL.TRAP)}${thread}${this.#breakWord(rip)}`;
      }
      case 'data': {
        const { address } = halt;
        const hit = this.#stops.find(
          (s) => s.purpose !== STOP_FOR.execution && s.address <= address && address < s.address + BigInt(s.bytes),
        );
        return `T${hex(SIGNAL.TRAP)}${thread}${KINDS[hit?.kind ?? 2]!.word}:${address.toString(16)};`;
      }
    }
  }

  /** Why it stopped at a breakpoint, if the client has said that it understands that. */
  #breakWord(rip: bigint): string {
    const hit = this.#stops.find((s) => s.purpose === STOP_FOR.execution && s.address === rip);
    const word = KINDS[hit?.kind ?? 0]!.word;
    return hit !== undefined && this.#words.has(word) ? `${word}:;` : '';
  }

  /** How it ended: the shutdown reason is the exit status; a crash, and a machine that ended first, are signals. */
  #endText(): string {
    const end = this.#target.end();
    const hex = (n: number): string => n.toString(16).padStart(2, '0');
    if (end === undefined) return `X${hex(SIGNAL.TERM)}`;
    return end.isCrash ? `X${hex(SIGNAL.ABRT)}` : `W${hex(end.code)}`;
  }
}
