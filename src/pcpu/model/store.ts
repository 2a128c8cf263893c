/**
 * What a domain's tools ask of its kernel: in Xen nodes of xenstore that the guest watches (control/shutdown, cpu/N/availability,
 * memory/target), here three words in the guest's own frames and an event channel to tell of them. The guest opens the channel
 * when it boots; domain 0 binds to it when it first has something to say.
 */
import { XEN_ESRCH } from '../../shared/public/errno.js';
import type { GuestHypercalls } from './hypercalls.js';
import type { ModelMemory } from './memory.js';
import { K_DOMAIN } from './records.js';

export interface Store {
  /** On behalf of domain 0's VCPU v. 0, or a negated errno. */
  write(v: number, d: number, key: number, value: number): number;
  /** Opens domain d's channel, on its VCPU 0. */
  open(v: number): void;
  /** What is wanted of domain d, 0 = nothing. */
  wanted(d: number, key: number): number;
}

export function store({ hv, kd, kv }: ModelMemory, calls: GuestHypercalls): Store {
  const { image, domain, vcpu, shape } = hv.context;
  const { i32 } = image;
  const port = image.column(K_DOMAIN, 'storePort');
  /** The guest writes it in a turn of its own, on any worker. */
  const portOf = (d: number): number => Atomics.load(i32, port.base + (d << port.shift));
  const word = (d: number, key: number): number => ((domain.frames(d) + kd.storeArea(d)) >> 2) + key;

  return {
    write(v, d, key, value) {
      if (d <= 0 || d >= shape.domains || portOf(d) === 0 || domain.isShutDown(d) !== 0) return -XEN_ESRCH;
      if (kd.storeLocal(d) === 0) {
        const local = calls.bindInterdomain(v, domain.id(d), portOf(d));
        if (local < 0) return local;
        kd.setStoreLocal(d, local);
      }
      // Its VCPUs may be another worker's: the value is there before the event is.
      Atomics.store(i32, word(d, key), value);
      calls.send(v, kd.storeLocal(d));
      return 0;
    },
    open(v) {
      const own = calls.allocUnbound(v, 0);
      if (own < 0) return;
      kv.setStorePort(v, own);
      const d = vcpu.domain(v);
      Atomics.store(i32, port.base + (d << port.shift), own);
    },
    wanted: (d, key) => Atomics.load(i32, word(d, key)),
  };
}
