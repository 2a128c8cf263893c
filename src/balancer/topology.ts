/**
 * How the host's pCPUs sit together: threads of a core share its units, cores of a socket its cache, and a socket is a node of
 * memory. Neighbours have neighbouring numbers, as a boot by APIC ids gives them: pCPU = (socket × cores + core) × threads + thread.
 */

export interface Topology {
  readonly sockets: number;
  /** A socket. */
  readonly cores: number;
  /** A core. */
  readonly threads: number;
}

/** One socket of single-threaded cores: a host of which nothing is known. */
export const flatTopology = (pcpus: number): Topology => ({ sockets: 1, cores: pcpus, threads: 1 });

export const pcpusOf = ({ sockets, cores, threads }: Topology): number => sockets * cores * threads;

/** Number of the core that pCPU p is a thread of, counted over all sockets. */
export const coreOf = ({ threads }: Topology, p: number): number => Math.floor(p / threads);

/** Number of the socket, which is also its node. */
export const socketOf = ({ cores, threads }: Topology, p: number): number => Math.floor(p / (cores * threads));
