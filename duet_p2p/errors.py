"""Every error that duet_p2p raises on purpose, in one tree.

    DuetError
    ├── what the program asked for
    │   ├── NotAllowed           AttributeError    ├── PrivateValueError   TypeError
    │   ├── HiddenShape          ValueError        ├── ForeignPointer      ValueError
    │   ├── TensorTooLarge       ValueError        ├── WrongSide           RuntimeError
    │   ├── PointerDeleted       ReferenceError    ├── InvalidId           ValueError
    │   ├── InputRequired        RuntimeError      └── StepError           RuntimeError
    ├── the owner's answer
    │   ├── NotReleased          PermissionError   ├── RequestDenied       PermissionError
    │   ├── RequestExpired       TimeoutError      ├── RequestClosed       RuntimeError
    │   ├── QuotaExceeded        RuntimeError      ├── AuditUnavailable    OSError
    │   └── NoAnswer             TimeoutError
    ├── the other side's computation
    │   └── RemoteError          RuntimeError
    ├── the connection           ConnectionError
    │   ├── ConnectionLost       ├── SessionClosed        ├── SessionLost
    │   ├── SessionReplaced      ├── SessionExpired       ├── PartnerLeft
    │   ├── SessionSuspended
    │   ├── SignalingUnreachable ├── ConnectFailed        ├── ConfirmFailed
    │   ├── ProtocolError        ├── VersionMismatch      └── PairingTimeout (TimeoutError)
    └── trust                    PermissionError
        ├── PeerProofError       ├── PeerIdentityChanged  ├── OriginMismatch
        └── IdentityFileUnsafe   IdentityInUse

A class's docstring is the sentence that a user reads when no better text is at hand: it says what
happened and what to do next. Attributes are for programs, ``str()`` is for people. Each class is
also the built-in error that ordinary Python code expects, so ``hasattr`` and ``except
TimeoutError`` work as usual.
"""

from __future__ import annotations

import inspect

__all__ = [
    "AuditUnavailable",
    "ConfirmFailed",
    "ConnectFailed",
    "ConnectionLost",
    "DuetError",
    "EngineFailed",
    "ForeignPointer",
    "HiddenShape",
    "IdentityFileUnsafe",
    "IdentityInUse",
    "InputRequired",
    "InvalidId",
    "NoAnswer",
    "NotAllowed",
    "NotReleased",
    "OriginMismatch",
    "PairingTimeout",
    "PartnerLeft",
    "PeerIdentityChanged",
    "PeerProofError",
    "PointerDeleted",
    "PrivateValueError",
    "ProtocolError",
    "QuotaExceeded",
    "RemoteError",
    "RequestClosed",
    "RequestDenied",
    "RequestExpired",
    "SessionClosed",
    "SessionExpired",
    "SessionLost",
    "SessionReplaced",
    "SessionSuspended",
    "SignalingUnreachable",
    "StepError",
    "TensorTooLarge",
    "VersionMismatch",
    "WrongSide",
]


class DuetError(Exception):
    """Something in duet_p2p failed."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or inspect.getdoc(type(self)) or type(self).__name__)


# what the program asked for


class NotAllowed(DuetError, AttributeError):
    """This name is not on the surface that an owner offers. Ask the owner, or use another name."""


class PrivateValueError(DuetError, TypeError):
    """This needs a value of the owner's side. Use torch.where, or get(request_block=True)."""


class HiddenShape(DuetError, ValueError):
    """This shape depends on private values. Ask for it with a request."""


class ForeignPointer(DuetError, ValueError):
    """Pointers of two sessions cannot meet in one operation. Get one of them first."""


class TensorTooLarge(DuetError, ValueError):
    """A local tensor this large is not uploaded by itself. Call .send(duet) on it first."""


class StepError(DuetError, RuntimeError):
    """A recorded step may not do this; do it before or after the step."""


class WrongSide(DuetError, RuntimeError):
    """This call belongs to the other side."""


class PointerDeleted(DuetError, ReferenceError):
    """The object behind this pointer was deleted."""


class InvalidId(DuetError, ValueError):
    """This is not a valid ID. Compare it with the one that your partner sent and try again.

    Attributes:
        code: ``charset``, ``length``, ``checksum`` or ``role``.
    """

    def __init__(self, message: str = "", *, code: str = "checksum") -> None:
        super().__init__(message)
        self.code = code


class InputRequired(DuetError, RuntimeError):
    """There is no input to type an ID. Pass client_id= (owner) or target_id (scientist)."""


# the owner's answer


class NotReleased(DuetError, PermissionError):
    """The owner has not released this value. Ask: .request(reason=…) or get(request_block=True)."""


class RequestDenied(DuetError, PermissionError):
    """The owner denied this request."""


class RequestExpired(DuetError, TimeoutError):
    """Nobody decided this request in time."""


class RequestClosed(DuetError, RuntimeError):
    """This request is not pending any more; nothing was changed."""


class QuotaExceeded(DuetError, RuntimeError):
    """The owner's quota for this session is used up."""


class AuditUnavailable(DuetError, OSError):
    """The audit log cannot be written, so nothing is released. Free some disk space and retry."""


class NoAnswer(DuetError, TimeoutError):
    """The owner's side is busy with what was sent before (commands_per_second). Ask again later."""


# the other side's computation


class RemoteError(DuetError, RuntimeError):
    """An operation failed on the owner's side. The owner can see the full text in duet.errors.

    Attributes:
        op: the operation's name on the surface, or "".
        code: the class of the error, from a fixed set, or "".
        call_site: ``file:line   source`` of the scientist's own call, or "".
    """

    def __init__(
        self, message: str = "", *, op: str = "", code: str = "", call_site: str = ""
    ) -> None:
        super().__init__(message)
        self.op = op
        self.code = code
        self.call_site = call_site


# the connection


class _LinkError(DuetError, ConnectionError):
    """The connection failed."""


class ConnectionLost(_LinkError):
    """The partner cannot be reached any more."""


class SessionClosed(_LinkError):
    """This session is closed."""


class SessionLost(_LinkError):
    """The owner's engine was restarted; pointers made before that have no objects any more."""


class EngineFailed(_LinkError):
    """The engine could not be started, so the session is over. Launch another one."""


class SessionSuspended(_LinkError):
    """The owner's engine ended while it worked on private data. Wait until the owner resumes."""


class SessionReplaced(_LinkError):
    """Another process registered the same ID at the signalling server."""


class SessionExpired(_LinkError):
    """The signalling server forgot this session, nobody joined in time. Start it again."""


class PartnerLeft(_LinkError):
    """The partner closed the session.

    Attributes:
        reason: ``closed``, ``version``, ``shutdown``, ``replaced`` or ``error``.
    """

    def __init__(self, message: str = "", *, reason: str = "closed") -> None:
        super().__init__(message)
        self.reason = reason


class SignalingUnreachable(_LinkError):
    """The signalling server does not answer. Check its address and that it runs."""


class ConnectFailed(_LinkError):
    """No connection to the partner could be made.

    Attributes:
        stage: ``signalling``, ``gathering``, ``ice``, ``dtls`` or ``channel``.
        remedy: one sentence that says what to do.
    """

    def __init__(self, message: str = "", *, stage: str = "ice", remedy: str = "") -> None:
        super().__init__(message or f"Connecting failed at the stage {stage!r}. {remedy}".strip())
        self.stage = stage
        self.remedy = remedy


class ConfirmFailed(_LinkError):
    """The partner did not confirm in time, or confirmed something else."""


class ProtocolError(_LinkError):
    """The partner sent bytes that are not of the protocol; the connection was closed."""


class VersionMismatch(_LinkError):
    """The partner's version speaks another protocol. Install the same release on both sides."""


class PairingTimeout(DuetError, TimeoutError):
    """Nobody connected in time."""


# trust


class _TrustError(DuetError, PermissionError):
    """A proof of identity failed."""


class PeerProofError(_TrustError):
    """Messages in your partner's name fail verification. Check the ID, or use another server."""


class PeerIdentityChanged(_TrustError):
    """This label stood for another ID before."""


class OriginMismatch(_TrustError):
    """The signalling server calls itself by another address than the one that was given."""


class IdentityFileUnsafe(_TrustError):
    """An identity file can be read or changed by others, or is not your own."""


class IdentityInUse(_TrustError):
    """Another process uses this identity."""
