/** A request as those see it who answer. */
import type { Connection, Delivery, State, Transaction } from './state.js';
import type { Session } from './transactions.js';
import { strings, type XsError } from './wire.js';

/** The answer where there is nothing to say. */
export const OK = strings('OK');

export interface Ask {
  readonly state: State;
  /** Of who asks. */
  readonly connection: Connection;
  readonly payload: Uint8Array;
  readonly transaction: Transaction | undefined;
  /** The store, or what the transaction makes of it. */
  readonly session: Session;
  /** Events besides those of the session that go out before the answer, and after it. */
  readonly before: Delivery[];
  readonly after: Delivery[];
}

/** @returns the payload of the answer, or why there is none */
export type Answer = (ask: Ask) => Uint8Array | XsError;
