// @ts-check
/** What an owner sends: a session ID, the line for Python that the owner's notebook prints, or a link. */

const LINE = /join_duet\(\s*["']([^"']*)["']\s*(?:,\s*(?:network_)?url\s*=\s*["']([^"']*)["']\s*)?\)/;
const LINK = /^\s*https?:\/\/[^\s#]*#([0-9A-Za-z-]+)\s*$/;

/**
 * The ID in a text, and the signalling server that the line names; a text that is neither line nor link is itself.
 *
 * @param {string} text
 * @returns {{code: string, server: string|null}}
 */
export function pasted(text) {
  const line = LINE.exec(text);
  if (line) return { code: (line[1] ?? '').trim(), server: line[2] ?? null };
  return { code: LINK.exec(text)?.[1] ?? text, server: null };
}
