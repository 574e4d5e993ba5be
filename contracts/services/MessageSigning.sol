// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERROR_ANSWER, MajorityVotes, Verdict} from "contracts/services/MajorityVotes.sol";
import {
    Box, NotExpired, NotPending, PendingRequests, Queue, Settings, Tally
} from "contracts/services/PendingRequests.sol";
import {Seat, ServiceBase} from "contracts/services/ServiceBase.sol";

/// What names a request: who wants which hash signed with which key.
struct Subject {
    bytes32 serverKeyId;
    address requester;
    bytes32 messageHash;
}

/// What both services for signatures share: everything but names and the check of a signature.
///
/// Common stage: a majority agrees on the public and the threshold of the key. Personal stage: any
/// one server publishes a signature, which is checked here with the agreed public.
abstract contract MessageSigning is ServiceBase {
    using PendingRequests for Queue;
    using PendingRequests for Box;
    using MajorityVotes for Queue;

    error CommonStageOpen();
    error InvalidSignature();

    /// Words of payload: the hash, and one for what a scheme keeps of the public.
    uint256 private constant MESSAGE_HASH = 0;
    uint256 private constant PAYLOAD_WORDS = 2;

    /// Values of `Box.stage`. In the personal stage `Box.answer` is what `_keepPublic` gave and
    /// `voters` are those who reported an error.
    uint8 private constant COMMON = 0;
    uint8 private constant PERSONAL = 1;

    Queue private _queue;

    constructor() {
        _queue.settings = Settings({fee: 0.2 ether, limit: 4, pending: 0, serial: 0});
    }

    // --- what a scheme adds

    /// Keeps of the agreed public what the check of a signature needs, in words of the request from
    /// the second on and in what is returned.
    function _keepPublic(uint256 position, bytes calldata serverKeyPublic) internal virtual returns (uint160);

    function _announceCommon(Subject memory subject) internal virtual;

    function _announcePersonal(Subject memory subject) internal virtual;

    function _announceError(Subject memory subject) internal virtual;

    // --- clients

    function _request(Subject memory subject) internal {
        _collectFee();
        uint256 position = _queue.add(_keyOf(subject), subject.serverKeyId, subject.requester, 0);
        _queue.setWord(position, MESSAGE_HASH, subject.messageHash);
        _announceCommon(subject);
    }

    // --- key servers

    /// Counts a vote of the sender and tells whether it completes the common stage.
    function _voteForPublic(Subject memory subject, bytes calldata serverKeyPublic, uint8 threshold)
        internal
        returns (bool)
    {
        _isPoint(serverKeyPublic);
        Box memory box = _queue.box(_keyOf(subject));
        if (box.position == 0) return false;
        Seat memory seat = _seatOf(msg.sender);
        if (box.stage != COMMON) {
            if (_refreshPersonal(subject, box, seat)) _queue.setBox(_keyOf(subject), box);
            return false;
        }
        uint160 answer = uint160(uint256(keccak256(abi.encodePacked(serverKeyPublic, threshold))));
        if (!_voteCommon(subject, box, seat, answer)) return false;
        box.stage = PERSONAL;
        box.voters = 0;
        box.answer = _keepPublic(box.position, serverKeyPublic);
        _queue.setBox(_keyOf(subject), box);
        return true;
    }

    function _voteForError(Subject memory subject) internal {
        Box memory box = _queue.box(_keyOf(subject));
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        if (box.stage == COMMON) {
            // Agreement on the error ends the request inside.
            _voteCommon(subject, box, seat, ERROR_ANSWER);
            return;
        }
        _refreshPersonal(subject, box, seat);
        if (!_queue.mark(box, seat, Tally.Errors)) return;
        if (_queue.votersCount(box, seat, Tally.Errors) >= seat.count / 2 + 1) {
            _fail(subject, box.position);
        } else {
            _queue.setBox(_keyOf(subject), box);
        }
    }

    /// The box of a request that the sender may answer with a signature; with position 0 there is no
    /// such request.
    function _boxToSign(Subject memory subject) internal view returns (Box memory box) {
        box = _queue.box(_keyOf(subject));
        if (box.position == 0) return box;
        _seatOf(msg.sender);
        if (box.stage == COMMON) revert CommonStageOpen();
    }

    function _pendingCount() internal view returns (uint256) {
        return _queue.settings.pending;
    }

    function _pendingAt(uint256 index) internal view returns (Subject memory subject, bool inPersonalStage) {
        uint256 position = _queue.positionAt(index);
        subject = _subjectAt(position);
        inPersonalStage = _queue.box(_keyOf(subject)).stage != COMMON;
    }

    function _isResponseRequired(Subject memory subject, address keyServer) internal view returns (bool) {
        Seat memory seat = _seatOf(keyServer);
        Box memory box = _queue.box(_keyOf(subject));
        if (box.position == 0) return false;
        return box.stage != COMMON || !_queue.isMarked(box, seat, Tally.Voters);
    }

    // --- anybody

    function _expire(Subject memory subject) internal {
        uint256 position = _positionOf(subject);
        if (!_isExpired(_queue.origins[position].createdAt)) revert NotExpired();
        _fail(subject, position);
    }

    // --- owner

    function _fee() internal view returns (uint256) {
        return _queue.settings.fee;
    }

    function _limit() internal view returns (uint256) {
        return _queue.settings.limit;
    }

    function _setFee(uint256 newFee) internal {
        _queue.setFee(newFee);
    }

    function _setLimit(uint256 newLimit) internal {
        _queue.setLimit(newLimit);
    }

    function _delete(Subject memory subject) internal {
        _fail(subject, _positionOf(subject));
    }

    // --- for the schemes

    function _word(uint256 position, uint256 i) internal view returns (bytes32) {
        return _queue.word(position, i);
    }

    function _setWord(uint256 position, uint256 i, bytes32 value) internal {
        _queue.setWord(position, i, value);
    }

    function _remove(Subject memory subject, uint256 position) internal {
        uint256 moved = _queue.remove(_keyOf(subject), position, PAYLOAD_WORDS);
        if (moved != 0) _queue.setPosition(_keyOf(_subjectAt(moved)), moved);
    }

    // --- inside

    /// Counts one vote and tells whether a majority now agrees with it; then the box is left to the
    /// caller. Otherwise it is stored, or the request ended.
    function _voteCommon(Subject memory subject, Box memory box, Seat memory seat, uint160 answer)
        private
        returns (bool)
    {
        Verdict verdict = _queue.cast(box, seat, answer);
        if (verdict == Verdict.Failed) _fail(subject, box.position);
        if (verdict == Verdict.Open) _queue.setBox(_keyOf(subject), box);
        return verdict == Verdict.Agreed;
    }

    /// Drops the errors that another set of servers has reported, and asks the present one again.
    function _refreshPersonal(Subject memory subject, Box memory box, Seat memory seat)
        private
        returns (bool dropped)
    {
        uint160 kept = box.answer;
        dropped = box.refresh(seat);
        if (!dropped) return false;
        box.answer = kept;
        _announcePersonal(subject);
    }

    function _keyOf(Subject memory subject) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(subject.serverKeyId, subject.requester, subject.messageHash));
    }

    function _subjectAt(uint256 position) private view returns (Subject memory) {
        return Subject(
            _queue.ids[position],
            _queue.origins[position].author,
            _queue.word(position, MESSAGE_HASH)
        );
    }

    function _positionOf(Subject memory subject) private view returns (uint256 position) {
        position = _queue.positionOf(_keyOf(subject));
        if (position == 0) revert NotPending();
    }

    function _fail(Subject memory subject, uint256 position) private {
        _remove(subject, position);
        _announceError(subject);
    }
}
