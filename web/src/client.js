// @ts-check
/**
 * The scientist's side of an open session: commands with their results' pointers, requests with
 * their answers, the owner's store. It neither knows the network nor waits for it.
 */

import { signatureInput } from './bytes.js';
import { DuetError, protocolError } from './errors.js';
import { idOf, KeyRefused } from './ids.js';
import { verify } from './keys.js';
import * as limits from './limits.js';
import { checkAlive, Namespace, Pointer } from './pointer.js';
import { Request } from './request.js';
import { find, denied, isSubtype, itemType, numberType, resultOf } from './surface.js';
import { Tensor } from './tensor.js';
import {
  Blob, Complex, Device, Dict, Dtype, ELLIPSIS, Float, Layout, MemoryFormat, PySet, Range, Ref, Size, Slice, Span,
  TensorData, Tuple, Unsendable, guarded,
} from './wire.js';

/** @typedef {import('./messages.js').Message} Message */
/** @typedef {{id: number, tags: string[], description: string, type: string, shape: number[]|null, dtype: string|null, length: number|null}} StoreEntry */
/**
 * @typedef {object} Way what the client needs of its session
 * @property {(message: Message) => number} post numbers a command
 * @property {(bytes: Uint8Array) => number} announce a blob's transfer
 * @property {(transfer: number, seq: number) => void} declared
 * @property {(blob: Blob) => Promise<Uint8Array>} expect
 * @property {(event: 'store'|'request'|'failure'|'log', detail: any) => void} tell
 * @property {() => void} ready the owner's store is here
 * @property {(error: DuetError) => void} fail ends the session
 */

const REMEMBERED = 16_384;

export class Client {
  /** @param {string} sessionId @param {Way} way */
  constructor(sessionId, way) {
    this.sessionId = sessionId;
    this.way = way;
    /** @type {Map<number, StoreEntry>} */
    this.entries = new Map();
    /** @type {Map<string, unknown>} facts of the session */
    this.settings = new Map();
    this.torch = new Namespace(this, 'torch');
    this.newestId = 0;
    this.lostBelow = 0;
    this.isSuspended = false;
    /** @type {DuetError|null} */
    this.end = null;
    /** Owned ids that some pointer of this page still stands for. @type {Set<number>} */
    this.alive = new Set();
    /** @type {Map<number, WeakRef<Pointer>>} */
    this.pointers = new Map();
    /** @type {Map<number, {op: string, id: number|null}>} newest commands, for public failures */
    this.commands = new Map();
    /** @type {Map<number, (answer: Message, value: any) => void>} */
    this.calls = new Map();
    /** @type {Request[]} newest last */
    this.requests = [];
    /** Calls whose value is under way in a transfer. @type {Set<number>} */
    this.arriving = new Set();
    this.collected = new FinalizationRegistry((/** @type {number} */ id) => this.forget(id));
  }

  // commands

  /**
   * Runs one name of the surface on the owner's side.
   *
   * @param {string} name canonical
   * @param {unknown[]} args
   * @param {Record<string, unknown>} kwargs
   * @returns {Pointer}
   */
  run(name, args, kwargs) {
    const found = find(name);
    if (found === null) throw denied(name);
    /** @type {Pointer[]} */
    const inputs = [];
    const wireArgs = args.map((value) => this.wire(value, inputs));
    const wireKwargs = new Map(Object.entries(kwargs).map(([key, value]) => [key, this.wire(value, inputs)]));
    const result = resultOf(found.rule, args, kwargs, isTensor);
    const target = args[0];
    const isSame = result === 'none' || result === 'self';
    if (isSame && !(target instanceof Pointer)) throw denied(`${name} without an object`);
    const made = isSame ? null : this.made(name, result, args, inputs);
    const outs = made === null ? [] : [made.id];
    try {
      const seq = this.post({ kind: 'Op', name, outs, args: wireArgs, kwargs: wireKwargs, mode: 'g' });
      this.remember(seq, name, made);
    } catch (error) {
      if (made !== null) this.alive.delete(made.id);
      throw error;
    }
    return made ?? /** @type {Pointer} */ (target);
  }

  /** The pointer to a result. @param {string} name @param {string} result @param {unknown[]} args @param {Pointer[]} inputs */
  made(name, result, args, inputs) {
    const short = name.slice(name.lastIndexOf('.') + 1);
    const first = args[0];
    let type = result;
    let element = null;
    if (result === 'tensor') type = 'torch.Tensor';
    else if (result.startsWith('tensors')) [type, element] = ['python.Tuple', 'torch.Tensor'];
    else if (result === 'number' || result === 'truth') {
      const exponent = short === '__rpow__' ? first : args.at(-1);
      type = numberType(short, args.map(typeOf), exponent);
    } else if (result === 'item') type = itemType(first instanceof Pointer ? first.dtype : null);
    else if (result === 'element') type = (first instanceof Pointer ? first.element : null) ?? 'python.Any';
    const tags = [...new Set([short.replace(/=$/, ''), ...inputs.flatMap((pointer) => pointer.tags)])].sort();
    return this.track(new Pointer(this, this.newId(), type, { tags, element }));
  }

  /** @param {Message} message */
  post(message) {
    if (this.end !== null) throw this.end;
    if (this.isSuspended) throw suspended();
    try {
      return this.way.post(message);
    } catch (error) {
      if (error instanceof Unsendable) throw new DuetError('NotAllowed', `This cannot be sent: ${error.message}.`);
      throw error;
    }
  }

  newId() {
    this.newestId += 1;
    return this.newestId;
  }

  /** @param {Pointer} pointer */
  track(pointer) {
    this.alive.add(pointer.id);
    this.pointers.set(pointer.id, new WeakRef(pointer));
    this.collected.register(pointer, pointer.id);
    return pointer;
  }

  /** @param {number} seq @param {string} op @param {Pointer|null} pointer */
  remember(seq, op, pointer) {
    this.commands.set(seq, { op, id: pointer?.id ?? null });
    if (this.commands.size > REMEMBERED) this.commands.delete(this.commands.keys().next().value ?? 0);
  }

  /** No pointer of the page stands for this id any more. @param {number} id */
  forget(id) {
    this.pointers.delete(id);
    if (id > this.lostBelow && this.alive.delete(id) && this.end === null && !this.isSuspended) this.way.post({ kind: 'Del', ids: [id] });
  }

  /**
   * An argument as a value of the wire: null, booleans, numbers (a whole one is an int, `Float` makes
   * it a float), bigints, strings, arrays, Map, Tuple, Slice, Dtype, …, pointers and small tensors.
   *
   * @param {unknown} value
   * @param {Pointer[]} inputs
   * @returns {unknown}
   */
  wire(value, inputs) {
    if (value instanceof Pointer) {
      if (value.client !== this) throw new DuetError('NotAllowed', 'A pointer of another session.', 'Get its value first.');
      checkAlive(value);
      if (value.id > 0 && value.id <= this.lostBelow) throw restartedEngine();
      inputs.push(value);
      return new Ref(value.id);
    }
    if (typeof value === 'number') return Number.isInteger(value) ? (Number.isSafeInteger(value) ? value : BigInt(value)) : new Float(value);
    if (value === undefined) return null;
    if (value instanceof Tensor) return this.wireTensor(value, inputs);
    if (Array.isArray(value)) return value.map((item) => this.wire(item, inputs));
    if (value instanceof Tuple) return new Tuple(value.items.map((item) => this.wire(item, inputs)));
    if (value instanceof Slice) return new Slice(this.wire(value.start, inputs), this.wire(value.stop, inputs), this.wire(value.step, inputs));
    if (value instanceof Map) return new Dict([...value].map(([key, item]) => [this.wire(key, inputs), this.wire(item, inputs)]));
    return value;
  }

  /** @param {Tensor} tensor @param {Pointer[]} inputs */
  wireTensor(tensor, inputs) {
    const bytes = tensor.bytes();
    if (bytes.length <= limits.INLINE_TENSOR_BYTES) return new TensorData(tensor.dtype, tensor.shape, bytes);
    const pointer = this.put(tensor, bytes);
    inputs.push(pointer);
    return new Ref(pointer.id);
  }

  /** Uploads a tensor of this page. @param {Tensor} tensor @param {Uint8Array} [bytes] @returns {Pointer} */
  put(tensor, bytes = tensor.bytes()) {
    const transfer = this.way.announce(bytes);
    const { dtype, shape } = tensor;
    const pointer = this.track(new Pointer(this, this.newId(), 'torch.Tensor', { shape, dtype }));
    const seq = this.post({
      kind: 'Put',
      outs: [pointer.id],
      values: [new TensorData(dtype, shape, new Span(0, bytes.length))],
      blob: new Blob(transfer, bytes.length),
      tags: [],
      description: '',
      listed: false,
    });
    this.way.declared(transfer, seq);
    this.remember(seq, 'Put', pointer);
    return pointer;
  }

  // values

  /** @param {Pointer} pointer @param {string} name @param {string} reason @param {number|null} seconds */
  request(pointer, name, reason, seconds) {
    checkAlive(pointer);
    const request = new Request(this, pointer, newCall(), name.slice(0, limits.REQUEST_NAME_CHARS), reason.slice(0, limits.REQUEST_REASON_CHARS));
    this.awaitAnswer(request);
    request.seq = this.post({ kind: 'Request', call: request.call, id: pointer.id, name: request.name, reason: request.reason, limit_s: seconds });
    this.requests.push(request);
    this.way.tell('request', request);
    return request;
  }

  /** @param {Request} request one that waits */
  awaitAnswer(request) {
    if (request.state === 'waiting') this.calls.set(request.call, (answer, value) => settle(request, answer, value));
  }

  /** @param {Request} request */
  withdraw(request) {
    this.calls.delete(request.call);
    this.post({ kind: 'Withdraw', call: request.call });
  }

  /** @param {Request} request */
  changed(request) {
    this.way.tell('request', request);
  }

  /** @param {Pointer} pointer @returns {Promise<any>} */
  get(pointer) {
    checkAlive(pointer);
    const call = newCall();
    return new Promise((resolve, reject) => {
      this.calls.set(call, (answer, value) => {
        if (answer.kind === 'Value') resolve(value);
        else reject(new DuetError('NotAllowed', textOfAnswer(answer), 'Ask for it with a request.'));
      });
      this.post({ kind: 'Get', call, id: pointer.id });
    });
  }

  /** A pointer to an object of the store. @param {StoreEntry} entry */
  pointer({ id, type, tags, shape, dtype, length }) {
    return new Pointer(this, id, type, { tags, shape, dtype, length });
  }

  // what the owner says

  /** @param {Message} message @returns {void|Promise<void>} */
  receive(message) {
    switch (message.kind) {
      case 'Value':
        return this.receiveValue(message);
      case 'Denied':
      case 'Expired':
      case 'NotYours':
      case 'Failed':
        return this.answer(message, undefined);
      case 'Meta':
        return this.receiveMeta(message);
      case 'Fail':
        return this.receiveFail(message);
      case 'StoreSnapshot':
        this.settings = message.settings;
        this.entries = new Map(message.entries.map((/** @type {StoreEntry} */ entry) => [entry.id, entry]));
        return this.storeChanged();
      case 'StoreChanged':
        for (const entry of message.added) this.entries.set(entry.id, entry);
        for (const id of message.removed) this.entries.delete(id);
        return this.storeChanged();
      case 'EngineRestarted':
        this.isSuspended = false;
        return this.engineLost(message.reason);
      case 'Suspended':
        this.isSuspended = true;
        return this.engineLost(message.reason);
      case 'AuditHead':
        return this.receiveHead(message);
      default:
        throw protocolError(`${message.kind} is not an answer.`);
    }
  }

  storeChanged() {
    this.way.tell('store', { entries: this.store });
    this.way.ready();
  }

  /** @returns {StoreEntry[]} */
  get store() {
    return [...this.entries.values()];
  }

  /** @param {Message} message */
  receiveValue(message) {
    if (message.blob === null) return this.answer(message, guarded(() => plain(message.value, null)));
    const arriving = this.way.expect(message.blob);
    this.arriving.add(message.call);
    arriving
      .then((bytes) => this.answer(message, guarded(() => plain(message.value, bytes))))
      .catch((error) => {
        if (error instanceof DuetError && error.code !== 'ProtocolError')
          this.answer({ kind: 'NotYours', call: message.call, state: 'unknown', reason: error.message }, undefined);
        else this.way.fail(error instanceof DuetError ? error : protocolError(String(error)));
      });
  }

  /** @param {Message} message @param {any} value */
  answer(message, value) {
    const waiting = this.calls.get(message.call);
    this.calls.delete(message.call);
    this.arriving.delete(message.call);
    waiting?.(message, value);
  }

  /** @param {Message} message */
  receiveMeta(message) {
    const pointer = this.pointers.get(message.id)?.deref();
    if (pointer === undefined) return;
    pointer.type = message.type;
    pointer.shape = message.shape;
    pointer.dtype = message.dtype;
    pointer.length = message.length;
  }

  /** @param {Message} message */
  receiveFail(message) {
    const id = this.commands.get(message.seq)?.id ?? null;
    const pointer = id === null ? undefined : this.pointers.get(id)?.deref();
    const text = `${message.op} failed on the owner's side: ${message.code}${message.text ? `: ${message.text}` : ''}`;
    if (pointer !== undefined) pointer.failed = text;
    this.way.tell('failure', { pointer: pointer ?? null, op: message.op, text });
  }

  /** @param {string} reason */
  engineLost(reason) {
    this.lostBelow = this.newestId;
    this.alive.clear();
    for (const request of this.requests) request.close('failed', `The owner's engine was restarted (${reason}).`);
    this.endCalls(`The owner's engine was restarted (${reason}).`);
    this.way.tell('log', `The owner's engine was restarted (${reason}): what this page had made there is gone.`);
  }

  /** A head of the audit log must be signed by the owner of the session ID. @param {Message} message */
  async receiveHead({ head, pub, signature }) {
    const input = signatureInput('duet/audit-head/v1', this.sessionId, head);
    let own = false;
    try {
      own = (await idOf('owner', pub)) === this.sessionId;
    } catch (error) {
      if (!(error instanceof KeyRefused)) throw error;
    }
    if (!own || !(await verify(pub, input, signature)))
      return this.way.fail(protocolError('The owner sent a head of its audit log that it did not sign.'));
  }

  /** The session is over. @param {DuetError} error */
  close(error) {
    this.end = error;
    for (const request of this.requests) request.close('failed', error.message);
    this.endCalls(error.message);
  }

  /** No answer comes any more to what still waits for one. @param {string} reason */
  endCalls(reason) {
    const waiting = [...this.calls.values()];
    this.calls.clear();
    this.arriving.clear();
    for (const end of waiting) end({ kind: 'NotYours', state: 'unknown', reason }, undefined);
  }
}

/** Random, so that two tabs never share one; exact as a number. */
function newCall() {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high & 0x1fffff) * 2 ** 32 + low || 1;
}

/** @param {unknown} value */
function isTensor(value) {
  return value instanceof Tensor || (value instanceof Pointer && isSubtype(value.type, 'torch.Tensor'));
}

/** @param {unknown} value */
function typeOf(value) {
  if (value instanceof Pointer) return value.type;
  if (value instanceof Tensor) return 'torch.Tensor';
  if (typeof value === 'boolean') return 'python.Bool';
  if (typeof value === 'bigint' || Number.isInteger(value)) return 'python.Int';
  if (typeof value === 'number' || value instanceof Float) return 'python.Float';
  return value instanceof Complex ? 'python.Complex' : 'python.Any';
}

/** @param {Request} request @param {Message} answer @param {any} value */
function settle(request, answer, value) {
  switch (answer.kind) {
    case 'Value':
      return request.close('released', '', value);
    case 'Denied':
      return request.close('denied', answer.reason);
    case 'Expired':
      return request.close('expired');
    default:
      return request.close('failed', textOfAnswer(answer));
  }
}

/** @type {Record<string, string>} */
const STATES = {
  never: 'The owner has not released it.',
  waiting: 'The request for it is still waiting for the owner.',
  denied: 'The owner denied the request for it.',
  expired: 'Nobody decided the request for it in time.',
  changed: 'It changed since the owner released it.',
  unknown: "The owner's side has no such object any more.",
};

/** @param {Message} answer */
function textOfAnswer(answer) {
  if (answer.kind === 'Failed') return `${answer.op} failed on the owner's side: ${answer.code}${answer.text ? `: ${answer.text}` : ''}`;
  return `${STATES[answer.state] ?? ''}${answer.reason ? ` ${answer.reason}` : ''}`.trim();
}

function restartedEngine() {
  return new DuetError('SessionLost', "The owner's engine was restarted, and this object is gone with the old one.", 'What the owner shared is still there; make the rest again.');
}

function suspended() {
  return new DuetError('SessionSuspended', "The owner's engine stopped, and the owner has to look first.", 'Wait until the owner goes on.');
}

/**
 * A value as a page shows it: number, bigint, boolean, string, null, Uint8Array, Array, Map, Tensor,
 * Complex. Tuples, sets, ranges' ends and sizes are arrays, names of dtypes and devices strings.
 *
 * @param {unknown} value
 * @param {Uint8Array|null} blob
 * @returns {any}
 */
export function plain(value, blob) {
  const inner = (/** @type {unknown} */ item) => plain(item, blob);
  if (value instanceof Float) return value.value;
  if (Array.isArray(value)) return value.map(inner);
  if (value instanceof Tuple || value instanceof PySet) return value.items.map(inner);
  if (value instanceof TensorData) return Tensor.ofWire(value, blob);
  if (value instanceof Dict) return new Map(value.pairs.map(([key, item]) => [inner(key), inner(item)]));
  if (value instanceof Size) return value.dims;
  if (value instanceof Range) return [value.start, value.stop, value.step];
  if (value instanceof Slice) return [inner(value.start), inner(value.stop), inner(value.step)];
  if (value instanceof Dtype || value instanceof Layout || value instanceof MemoryFormat) return `torch.${value.name}`;
  if (value instanceof Device) return value.name;
  if (value === ELLIPSIS) return '...';
  if (value instanceof Ref || value instanceof Span || value instanceof Blob) throw protocolError('A reference where none can be.');
  return value;
}

