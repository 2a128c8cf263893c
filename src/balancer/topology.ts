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

/** The first of the pCPUs of p's core; `threads` of them follow one another. */
export const firstOfCore = (t: Topology, p: number): number => coreOf(t, p) * t.threads;

export const pcpusOfSocket = ({ cores, threads }: Topology): number => cores * threads;

/** The first of the pCPUs of p's socket. */
export const firstOfSocket = (t: Topology, p: number): number => socketOf(t, p) * pcpusOfSocket(t);

/** Whether nothing is to be gained by looking at it. */
export const isFlat = ({ sockets, threads }: Topology): boolean => sockets === 1 && threads === 1;

/** What it costs to run where one's caches are not. */
export interface CacheCosts {
  /** Time to fill a core's own caches, and a socket's, ns. */
  readonly coreNs: number;
  readonly socketNs: number;
  /** How long others must run on a pCPU to have displaced all of what a VCPU had in its core's caches, ns. */
  readonly displacedNs: number;
}
