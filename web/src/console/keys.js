// @ts-check
/** Which key does what. Never while something is typed, with a modifier, or held down. */

/** @type {Record<string, string>} */
const KEYS = { j: 'next', k: 'previous', a: 'accept', d: 'deny', r: 'rule', '?': 'help' };

/**
 * @param {{key: string, ctrlKey: boolean, altKey: boolean, metaKey: boolean, repeat: boolean}} event
 * @param {boolean} isTyping the focus is in a field, or a dialog is open
 * @returns {string} an action, or nothing
 */
export function actionOf(event, isTyping) {
  if (isTyping || event.ctrlKey || event.altKey || event.metaKey) return '';
  const action = KEYS[event.key.toLowerCase()] ?? '';
  return event.repeat && action !== 'next' && action !== 'previous' ? '' : action;
}
