// @ts-check
/**
 * What may be called, from the reviewed table of duet_p2p (surface.json and surface_types.json are
 * made by scripts/make_surface). It only serves to refuse early and to know kinds of results; the
 * owner's side refuses for certain.
 */

import { DuetError } from './errors.js';
import names from './surface.json' with { type: 'json' };
import known from './surface_types.json' with { type: 'json' };

/**
 * @typedef {object} Rule
 * @property {'function'|'method'|'property'} kind
 * @property {string} [result] what a call gives, see duet_p2p/surface/table.py
 * @property {string} [of] the canonical name, where this is another one
 * @property {string[]} [params]
 */

/** SHA-256 of the table, said in the capabilities. */
export const DIGEST = known.digest;

/** @type {Record<string, Rule>} */
export const SURFACE = /** @type {any} */ (names);
/** @type {Record<string, string[]>} */
const BASES = known.types;

/** The rule of a name or an alias, and its canonical name. @param {string} name @returns {{name: string, rule: Rule}|null} */
export function find(name) {
  const rule = Object.hasOwn(SURFACE, name) ? SURFACE[name] : undefined;
  if (rule === undefined) return null;
  return rule.of === undefined ? { name, rule } : find(rule.of);
}

/** The rule of a type's method, property or operator, looking through its bases. @param {string} type @param {string} attr @returns {{name: string, rule: Rule}|null} */
export function resolve(type, attr) {
  const own = find(`${type}.${attr}`);
  if (own !== null) return own;
  for (const base of basesOf(type)) {
    const found = resolve(base, attr);
    if (found !== null) return found;
  }
  return null;
}

/** @param {string} type */
function basesOf(type) {
  return (Object.hasOwn(BASES, type) ? BASES[type] : undefined) ?? [];
}

/** Whether a type is another or comes from it. @param {string} type @param {string} base @returns {boolean} */
export function isSubtype(type, base) {
  return type === base || basesOf(type).some((other) => isSubtype(other, base));
}

/** The names of methods and properties that objects of a type have, for completion. @param {string} type @returns {string[]} */
export function membersOf(type) {
  const prefix = `${type}.`;
  const own = Object.keys(SURFACE).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  const all = new Set([...own, ...basesOf(type).flatMap(membersOf)]);
  return [...all].filter((name) => !name.includes('.') && !name.endsWith('=')).sort();
}

/** @param {string} name */
export function denied(name) {
  return new DuetError('NotAllowed', `${name} is not on the surface that is offered.`, 'The surface is a reviewed table in duet_p2p; only a new release adds to it.');
}

/**
 * What this call gives: the rule's result with the choice between its parts made.
 *
 * @param {Rule} rule
 * @param {unknown[]} args
 * @param {Record<string, unknown>} kwargs
 * @param {(value: unknown) => boolean} isTensor
 */
export function resultOf(rule, args, kwargs, isTensor) {
  for (const part of (rule.result ?? 'tensor').split(';')) {
    const at = part.lastIndexOf('=');
    if (at < 0) return part;
    const holds = part.slice(0, at).split('&').every((condition) => {
      const [keyword = '', position] = condition.replace('~', '').split('@');
      const value = args.length > Number(position) ? args[Number(position)] : kwargs[keyword];
      const isGiven = value !== undefined && value !== null;
      return condition.startsWith('~') ? !isGiven : isGiven && value !== false && !isTensor(value);
    });
    if (holds) return part.slice(at + 1);
  }
  return 'python.Any';
}

const NUMBERS = ['python.Bool', 'python.Int', 'python.Float', 'python.Complex'];

/**
 * The type of `number` and `truth` results of Python's operators.
 *
 * @param {string} short last part of the operator's name
 * @param {string[]} types of the operands
 * @param {unknown} exponent
 */
export function numberType(short, types, exponent) {
  if (types.some((type) => isSubtype(type, 'torch.Tensor'))) return 'torch.Tensor';
  const operator = short.replaceAll('_', '');
  if (['eq', 'ne', 'lt', 'le', 'gt', 'ge'].includes(operator)) return 'python.Bool';
  const ranks = types.map((type) => NUMBERS.indexOf(type));
  if (ranks.some((rank) => rank < 0)) return 'python.Any';
  const rank = Math.max(...ranks);
  const bare = operator.replace(/^[ri](?=and$|or$|xor$|pow$|truediv$)/, '');
  if (['and', 'or', 'xor'].includes(bare) && rank === 0) return 'python.Bool';
  if (bare === 'pow' && rank < 2) return Number.isInteger(exponent) && Number(exponent) >= 0 ? 'python.Int' : 'python.Any';
  const least = bare === 'truediv' ? 2 : 1;
  return NUMBERS[Math.max(rank, least)] ?? 'python.Any';
}

/** The type of `tensor.item()`. @param {string|null} dtype */
export function itemType(dtype) {
  if (dtype === null) return 'python.Any';
  if (dtype === 'bool') return 'python.Bool';
  if (dtype.startsWith('complex')) return 'python.Complex';
  return dtype.includes('float') ? 'python.Float' : 'python.Int';
}
