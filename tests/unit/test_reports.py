"""When the other side is told what has arrived: once a batch, or every third packet of it."""

from duet_p2p import limits
from duet_p2p.transport.sctp.chunks import FIRST, LAST, Sack, parse_chunk
from duet_p2p.transport.sctp.inbound import Inbound
from duet_p2p.transport.sctp.reports import Reports


def sides(*, for_batches: bool) -> tuple[Inbound, Reports]:
    inbound = Inbound(1, window=1 << 20, max_message=65_536, events=[])
    return inbound, Reports(inbound, for_batches=for_batches)


def hear(inbound: Inbound, reports: Reports, *numbers: int) -> None:
    for number in numbers:
        inbound.take(number, FIRST | LAST, 0, number - 1, 53, b"data")
        reports.heard()


def reported(*sacks: bytes) -> list[int]:
    """Up to which number each of them says that everything is there."""
    found = [parse_chunk(sack[0], sack[1], sack[4:]) for sack in sacks]
    assert all(isinstance(sack, Sack) for sack in found)
    return [sack.tsn for sack in found if isinstance(sack, Sack)]


def test_a_partner_of_ours_gets_one_report_for_a_batch() -> None:
    inbound, reports = sides(for_batches=True)
    hear(inbound, reports, *range(1, 21))
    assert reports.take_waiting() == []
    report = reports.due(has_company=False, now=0.0)
    assert report is not None and reported(report) == [20]
    assert reports.due(has_company=True, now=0.0) is None


def test_any_other_gets_a_report_for_every_third_packet_of_a_batch() -> None:
    inbound, reports = sides(for_batches=False)
    hear(inbound, reports, *range(1, 8))
    assert reported(*reports.take_waiting()) == [3, 6]
    assert reports.take_waiting() == []
    assert reports.due(has_company=False, now=5.0) is None
    assert reports.deadline == 5.0 + limits.SCTP_ACK_SECONDS


def test_any_other_gets_a_report_at_once_for_two_that_came_alone() -> None:
    inbound, reports = sides(for_batches=False)
    hear(inbound, reports, 1, 2)
    assert reports.take_waiting() == []
    report = reports.due(has_company=False, now=0.0)
    assert report is not None and reported(report) == [2]
    hear(inbound, reports, *range(3, 8))
    assert reported(*reports.take_waiting()) == [5]
    report = reports.due(has_company=False, now=0.0)
    assert report is not None and reported(report) == [7]


def test_any_other_gets_a_report_for_every_packet_while_something_is_missing() -> None:
    inbound, reports = sides(for_batches=False)
    hear(inbound, reports, 1, 2, 4, 5, 6, 3)
    assert reported(*reports.take_waiting()) == [2, 2, 2, 6]
    assert reports.due(has_company=True, now=0.0) is None


def test_a_lone_packet_is_reported_after_a_moment_or_with_company() -> None:
    for is_ours in (True, False):
        inbound, reports = sides(for_batches=is_ours)
        hear(inbound, reports, 1)
        assert reports.due(has_company=False, now=1.0) is None
        reports.expire()
        report = reports.due(has_company=False, now=1.01)
        assert report is not None and reported(report) == [1] and reports.deadline is None
        hear(inbound, reports, 2)
        report = reports.due(has_company=True, now=2.0)
        assert report is not None and reported(report) == [2]
