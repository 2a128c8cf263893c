/**
 * What xenstored answers (docs/misc/xenstore.txt). One request at a time, from a domain that is connected; what it changes is changed
 * when `serve` returns. Domain 0 is privileged: it may do everything, and no quota binds it.
 */
import { type Answer, type Ask, OK } from './ask.js';
import * as domains from './domains.js';
import * as nodes from './node-requests.js';
import { canonicalPath, isSpecial, watchPath } from './paths.js';
import { isPrivileged } from './permissions.js';
import type { Connection, Delivery, State } from './state.js';
import { commit, directly, dropTransaction, startTransaction, through } from './transactions.js';
import { addWatch, removeWatch } from './watches.js';
import * as W from './wire.js';

function watch({ connection, payload, after }: Ask): Uint8Array | W.XsError {
  const [name, token, ...rest] = W.splitStrings(payload);
  if (name === undefined || token === undefined || rest.length > 0) return 'EINVAL';
  const path = watchPath(connection.domid, name);
  if (path === undefined) return 'EINVAL';
  const first = addWatch(connection, { path, isRelative: path !== name, token });
  if (typeof first === 'string') return first;
  after.push(...first);
  return OK;
}

function unwatch({ connection, payload }: Ask): Uint8Array | W.XsError {
  const [name, token, ...rest] = W.splitStrings(payload);
  if (name === undefined || token === undefined || rest.length > 0) return 'EINVAL';
  const path = isSpecial(name) ? name : canonicalPath(connection.domid, name);
  if (path === undefined) return 'EINVAL';
  return removeWatch(connection, path, token) ? OK : 'ENOENT';
}

function resetWatches({ connection }: Ask): Uint8Array {
  connection.watches = [];
  connection.transactions = [];
  return OK;
}

function transactionStart({ connection, transaction }: Ask): Uint8Array | W.XsError {
  if (transaction) return 'EBUSY';
  const id = startTransaction(connection);
  return typeof id === 'string' ? id : W.strings(`${id}`);
}

function transactionEnd({ state, connection, transaction, payload, before }: Ask): Uint8Array | W.XsError {
  const how = W.oneString(payload);
  if (how !== 'T' && how !== 'F') return 'EINVAL';
  if (!transaction) return 'ENOENT';
  dropTransaction(connection, transaction);
  if (how === 'F') return OK;
  const events = commit(state, connection, transaction);
  if (typeof events === 'string') return events;
  before.push(...events);
  return OK;
}

/** Nothing here could be switched on or off. */
function control({ payload }: Ask): Uint8Array | W.XsError {
  const [command] = W.splitStrings(payload);
  if (command === 'help') return W.strings('check, help, print');
  return command === 'check' || command === 'print' ? OK : 'EINVAL';
}

interface Request {
  readonly answer: Answer;
  /** Only domain 0 may. */
  readonly isPrivileged?: true;
  /** Whatever transaction it names. */
  readonly ignoresTransaction?: true;
}

/** `XS_*` → what it does. What is not here is no request. */
export const REQUESTS: Readonly<Record<number, Request>> = {
  [W.XS_CONTROL]: { answer: control, isPrivileged: true },
  [W.XS_DIRECTORY]: { answer: nodes.directory },
  [W.XS_READ]: { answer: nodes.read },
  [W.XS_GET_PERMS]: { answer: nodes.getPerms },
  [W.XS_WATCH]: { answer: watch, ignoresTransaction: true },
  [W.XS_UNWATCH]: { answer: unwatch, ignoresTransaction: true },
  [W.XS_TRANSACTION_START]: { answer: transactionStart },
  [W.XS_TRANSACTION_END]: { answer: transactionEnd },
  [W.XS_INTRODUCE]: { answer: domains.introduce, isPrivileged: true },
  [W.XS_RELEASE]: { answer: domains.release, isPrivileged: true },
  [W.XS_GET_DOMAIN_PATH]: { answer: domains.getDomainPath },
  [W.XS_WRITE]: { answer: nodes.write },
  [W.XS_MKDIR]: { answer: nodes.mkdir },
  [W.XS_RM]: { answer: nodes.rm },
  [W.XS_SET_PERMS]: { answer: nodes.setPerms },
  [W.XS_IS_DOMAIN_INTRODUCED]: { answer: domains.isDomainIntroduced, isPrivileged: true },
  [W.XS_RESUME]: { answer: domains.resume, isPrivileged: true },
  [W.XS_SET_TARGET]: { answer: domains.setTarget, isPrivileged: true },
  [W.XS_RESET_WATCHES]: { answer: resetWatches },
  [W.XS_DIRECTORY_PART]: { answer: nodes.directoryPart },
};

/** The payload of the answer, or the error; events go into `events`, before or after. */
function answer(
  state: State,
  connection: Connection,
  { type, txId, payload }: W.Message,
  events: Pick<Ask, 'before' | 'after'>,
): Uint8Array | W.XsError {
  const request = Object.hasOwn(REQUESTS, type) ? REQUESTS[type] : undefined;
  if (!request) return 'ENOSYS';
  if (payload.length > W.XENSTORE_PAYLOAD_MAX) return 'E2BIG';
  if (request.isPrivileged && !isPrivileged(connection)) return 'EACCES';
  const named = request.ignoresTransaction ? 0 : txId;
  const transaction = named === 0 ? undefined : connection.transactions.find(({ id }) => id === named);
  if (named !== 0 && !transaction) return 'ENOENT';
  const session = transaction ? through(state, connection, transaction) : directly(state);

  const outcome = request.answer({ state, connection, payload, transaction, session, ...events });
  // Over a limit what was seen or done means nothing.
  const result = session.refusal ?? outcome;
  // What a transaction asked for and did not get done, or only half, is never committed.
  if (transaction && (result === 'ENOSPC' || result === 'ENOMEM')) transaction.isFailed = true;
  events.before.unshift(...session.events);
  if (typeof result === 'string') return result;
  return result.length > W.XENSTORE_PAYLOAD_MAX ? 'E2BIG' : result;
}

/**
 * Answers a request.
 * @returns events that it caused, for whomever, and the answer, in the order in which they go out; nothing when there is no such
 * connection, so that nobody could be answered
 */
export function serve(state: State, domid: number, message: W.Message): Delivery[] {
  const connection = state.connections.get(domid);
  if (!connection) return [];
  const events = { before: [], after: [] };
  const result = answer(state, connection, message, events);
  const { type, reqId, txId } = message;
  const reply = typeof result === 'string' ? W.errorReply(message, result) : { type, reqId, txId, payload: result };
  return [...events.before, { domid, message: reply }, ...events.after];
}

export { domainDestroyed, domainShutDown } from './domains.js';
