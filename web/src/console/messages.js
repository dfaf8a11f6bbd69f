// @ts-check
/**
 * What travels on the socket; duet_p2p/console/{views,board,messages}.py are the other end.
 *
 * @typedef {{id: number, name: string, tags: string[], description: string, type: string,
 *   shape: number[] | null, rows: string, values: number, numbers: number, newest: string[]}} SourceView
 * @typedef {{action: string, rule: string, why: string}} LookView
 * @typedef {{id: string, digest: string, arrived: number, ends: number | null, name: string,
 *   reason: string, requester: string, object: string, tags: string[], type: string,
 *   dtype: string | null, shape: number[] | null, kind: string, elements: number, bytes: number,
 *   sources: SourceView[], records: number, injected: boolean, dropout: boolean, summary: string, training: string[],
 *   charge: number, recipe: string, failed: string, why: string, looks: LookView[], fixed: string, always: string, refusal: string}} RequestView
 * @typedef {{id: string, arrived: number, name: string, reason: string, status: string, why: string,
 *   answer: string, kind: string, elements: number, sources: string[]}} DecidedView
 * @typedef {{id: string, order: number, action: string, lines: string[], warnings: string[],
 *   uses: number, uses_left: number | null, quota: number | null, quota_left: number | null,
 *   ends: number | null, is_open: boolean}} HandlerView
 * @typedef {{id: number, key: string, order: number, mine: boolean, listed: boolean,
 *   tags: string[], description: string, type: string, shape: number[] | null,
 *   dtype: string | null, bytes: number}} ObjectView
 * @typedef {{id: string, out: boolean, done: number, bytes: number}} TransferView
 * @typedef {{id: string, peer: string, state: string, why: string, rtt: number | null, path: string,
 *   operations: number, open: boolean, suspended: boolean, failure: string, audit: string,
 *   min_records: number}} SessionView
 * @typedef {{set: Record<string, any>, gone: string[]}} SectionChange
 * @typedef {{number: number, time: string, kind: string, facts: string, session?: string,
 *   salt?: string, hash?: string}} AuditRow
 * @typedef {{action: 'accept' | 'deny', name?: string, tags?: string[], kinds?: string[],
 *   max_elements?: number | null, min_records?: number, sources?: number[], like?: string,
 *   allow_injected?: boolean, allow_dropout?: boolean, max_uses?: number | null,
 *   element_quota?: number, seconds?: number, seen_only?: boolean, print_local?: boolean, log_local?: boolean}} Rule
 * @typedef {{ok: boolean, text: string, value?: string, lines?: string[], warnings?: string[],
 *   digest?: string, takes?: string[], replaces?: boolean, rows?: AuditRow[], more?: boolean}} Answer
 * @typedef {{t: 'welcome', token: string}
 *   | {t: 'change', sections: Record<string, SectionChange>}
 *   | ({t: 'answer', n: number} & Answer)
 *   | {t: 'end', text: string}} FromOwner
 */

export const CLOSED = 4000;
export const NO_TOKEN = 4001;
export const BAD_MESSAGE = 4002;
export const TOO_MANY = 4003;

/** What a close code means, for a person; empty if it may be tried again. @param {number} code */
export function endOf(code) {
  switch (code) {
    case CLOSED:
      return 'Your session is closed. Nothing can be decided any more.';
    case NO_TOKEN:
      return 'This page was opened with a key that was used before or is too old. Call duet.console() again, or run: duet console';
    case BAD_MESSAGE:
      return 'Page and process do not understand each other. Reload the page with duet.console().';
    case TOO_MANY:
      return 'Too many consoles of this session are open. Close one of them and call duet.console() again.';
    default:
      return '';
  }
}
