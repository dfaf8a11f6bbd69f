// @ts-check
/** The release that this page belongs to, as in duet_p2p; a test compares. */
export const VERSION = '0.1.0';
