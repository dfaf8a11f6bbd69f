// @ts-check
/** One class, because a page shows all of them in the same way: what happened, and what to do. */

/**
 * The codes are the names of Python's classes, so that both clients' users find the same words.
 *
 * @typedef {'PairingTimeout'|'PeerProofError'|'ConnectFailed'|'ConfirmFailed'|'ConnectionLost'
 *   |'PartnerLeft'|'VersionMismatch'|'ProtocolError'|'SessionLost'|'SessionClosed'
 *   |'SessionReplaced'|'SessionExpired'|'SessionSuspended'|'SignalingUnreachable'|'OriginMismatch'
 *   |'NotAllowed'|'PointerDeleted'|'RequestClosed'|'TensorTooLarge'|'InvalidId'|'Unsupported'} Code
 */

export class DuetError extends Error {
  /**
   * @param {Code} code
   * @param {string} message what happened
   * @param {string} [remedy] what to do next
   */
  constructor(code, message, remedy = '') {
    super(message);
    this.name = 'DuetError';
    this.code = code;
    this.remedy = remedy;
  }
}

/**
 * The partner broke a rule of the protocol.
 *
 * @param {string} message
 */
export function protocolError(message) {
  return new DuetError('ProtocolError', message, 'Both sides should use the same release of Duet.');
}

/** Messages in the owner's name failed verification, again and again. */
export function proofError() {
  return new DuetError(
    'PeerProofError',
    "Messages in your partner's name fail verification.",
    'Check the session ID with your partner, or use another signalling server.',
  );
}

/** @param {string} [message] */
export function connectionLost(message = 'The connection to the partner was lost.') {
  return new DuetError('ConnectionLost', message, 'It is tried again by itself.');
}

export function otherVersion() {
  return new DuetError('VersionMismatch', 'The partner uses another version of Duet.', 'Use the same release on both sides.');
}

/** @param {string} reason */
export function partnerLeft(reason) {
  const remedy = reason === 'error' ? 'Something that one side sent was refused. Connect again.' : 'Ask your partner to start a session again.';
  return new DuetError('PartnerLeft', `The partner left: ${reason}.`, remedy);
}
