/** A paravirtual domain as a toolstack knows it. */
import type { Guest } from '../../src/xenstore/guest-nodes.js';

export const GUEST: Guest = {
  domid: 3,
  name: 'web',
  uuid: 'd81ec5a9-5bf9-4f2b-89e8-0f60d6da948f',
  maxVcpus: 2,
  vcpus: 1,
  maxMemKib: 524_288,
  targetMemKib: 262_144,
  store: { ref: 233_473, port: 1 },
  console: { ref: 233_472, port: 2 },
};
