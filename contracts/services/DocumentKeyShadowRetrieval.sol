// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DocumentKeyShadowRetrievalServiceClientApi} from
    "contracts/interfaces/DocumentKeyShadowRetrievalServiceClientApi.sol";
import {DocumentKeyShadowRetrievalServiceKeyServerApi} from
    "contracts/interfaces/DocumentKeyShadowRetrievalServiceKeyServerApi.sol";
import {ERROR_ANSWER, MajorityVotes, Verdict} from "contracts/services/MajorityVotes.sol";
import {
    Box, NotExpired, NotPending, PendingRequests, Queue, Settings, Tally
} from "contracts/services/PendingRequests.sol";
import {Seat, ServiceBase} from "contracts/services/ServiceBase.sol";

/// Asks the key servers to decrypt a document key for the requester alone.
///
/// Common stage: a majority agrees on the common point and the threshold t. Personal stage: t+1
/// servers publish the same decrypted secret, each with its own shadow for the requester.
abstract contract DocumentKeyShadowRetrieval is
    ServiceBase,
    DocumentKeyShadowRetrievalServiceClientApi,
    DocumentKeyShadowRetrievalServiceKeyServerApi
{
    using PendingRequests for Queue;
    using PendingRequests for Box;
    using MajorityVotes for Queue;

    event DocumentKeyShadowRetrievalFeeChanged(uint256 fee);
    event MaxDocumentKeyShadowRetrievalRequestsChanged(uint256 limit);

    error NotYourPublic();
    error CommonStageOpen();
    error InvalidShadow();
    error InvalidParticipants();
    error AlreadyAnswered();
    error TooManyAnswers();

    uint256 private constant MAX_SHADOW_BYTES = 1024;
    uint256 private constant MAX_ANSWERS_OF_SERVER = 32;
    /// Words of payload: the requester's public.
    uint256 private constant PUBLIC_WORDS = 2;

    /// Values of `Box.stage`. In the personal stage `Box.threshold` is the agreed one, `answer` the
    /// first pair of participants and secret, `voters` who published it; other pairs are tallied.
    uint8 private constant COMMON = 0;
    uint8 private constant PERSONAL = 1;
    uint8 private constant PERSONAL_SEVERAL_PAIRS = 2;

    Queue private _queue;

    constructor() {
        _queue.settings = Settings({fee: 0.2 ether, limit: 4, pending: 0, serial: 0});
    }

    // --- clients

    function retrieveDocumentKeyShadow(bytes32 serverKeyId, bytes calldata requesterPublic)
        external
        payable
    {
        _isPoint(requesterPublic);
        if (address(uint160(uint256(keccak256(requesterPublic)))) != msg.sender) revert NotYourPublic();
        _collectFee();
        uint256 position = _queue.add(_keyOf(serverKeyId, msg.sender), serverKeyId, msg.sender, 0);
        _queue.setPoint(position, 0, requesterPublic);
        emit DocumentKeyCommonRetrievalRequested(serverKeyId, msg.sender);
    }

    // --- key servers: common stage

    function documentKeyCommonRetrieved(
        bytes32 serverKeyId,
        address requester,
        bytes calldata commonPoint,
        uint8 threshold
    ) external {
        _isPoint(commonPoint);
        bytes32 key = _keyOf(serverKeyId, requester);
        Box memory box = _queue.box(key);
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        if (box.stage != COMMON) return _noticeNewEpoch(serverKeyId, key, box, seat);
        uint160 answer = uint160(uint256(keccak256(abi.encodePacked(commonPoint, threshold))));
        if (!_voteCommon(serverKeyId, requester, box, seat, answer)) return;
        box.stage = PERSONAL;
        box.threshold = threshold;
        box.voters = 0;
        box.answer = 0;
        _queue.setBox(key, box);
        emit DocumentKeyCommonRetrieved(serverKeyId, requester, commonPoint, threshold);
        emit DocumentKeyPersonalRetrievalRequested(serverKeyId, _queue.point(box.position, 0));
    }

    // --- key servers: personal stage

    function documentKeyPersonalRetrieved(
        bytes32 serverKeyId,
        address requester,
        uint256 participants,
        bytes calldata decryptedSecret,
        bytes calldata shadow
    ) external {
        _isPoint(decryptedSecret);
        bytes32 key = _keyOf(serverKeyId, requester);
        Box memory box = _queue.box(key);
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        if (box.stage == COMMON) revert CommonStageOpen();
        if (shadow.length == 0 || shadow.length > MAX_SHADOW_BYTES) revert InvalidShadow();
        _refreshPersonal(serverKeyId, box, seat);
        _requireParticipant(participants, seat, box.threshold);
        uint160 pair = uint160(uint256(keccak256(abi.encodePacked(participants, decryptedSecret))));
        uint256 answers = _countAnswer(box, seat, pair);
        if (answers == uint256(box.threshold) + 1) {
            _removeShadow(serverKeyId, requester, box.position);
        } else {
            _queue.setBox(key, box);
        }
        emit DocumentKeyPersonalRetrieved(serverKeyId, requester, decryptedSecret, shadow);
    }

    // --- key servers: both stages

    function documentKeyShadowRetrievalError(bytes32 serverKeyId, address requester) external {
        bytes32 key = _keyOf(serverKeyId, requester);
        Box memory box = _queue.box(key);
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        if (box.stage == COMMON) {
            // Agreement on the error ends the request inside.
            _voteCommon(serverKeyId, requester, box, seat, ERROR_ANSWER);
        } else {
            _votePersonalError(serverKeyId, requester, box, seat);
        }
    }

    function documentKeyShadowRetrievalRequestsCount() external view returns (uint256) {
        return _queue.settings.pending;
    }

    function getDocumentKeyShadowRetrievalRequest(uint256 index)
        external
        view
        returns (bytes32 serverKeyId, bytes memory requesterPublic, bool isCommonRetrievalCompleted)
    {
        uint256 position = _queue.positionAt(index);
        serverKeyId = _queue.ids[position];
        requesterPublic = _queue.point(position, 0);
        bytes32 key = _keyOf(serverKeyId, _queue.origins[position].author);
        isCommonRetrievalCompleted = _queue.box(key).stage != COMMON;
    }

    /// In the personal stage the contract does not know who takes part: always true.
    function isDocumentKeyShadowRetrievalResponseRequired(
        bytes32 serverKeyId,
        address requester,
        address keyServer
    ) external view returns (bool) {
        Seat memory seat = _seatOf(keyServer);
        Box memory box = _queue.box(_keyOf(serverKeyId, requester));
        if (box.position == 0) return false;
        return box.stage != COMMON || !_queue.isMarked(box, seat, Tally.Voters);
    }

    // --- anybody

    /// Ends a request that has not been answered in time.
    function expireDocumentKeyShadowRetrievalRequest(bytes32 serverKeyId, address requester) external {
        uint256 position = _pendingShadow(serverKeyId, requester);
        if (!_isExpired(_queue.origins[position].createdAt)) revert NotExpired();
        _failShadow(serverKeyId, requester, position);
    }

    // --- owner

    function documentKeyShadowRetrievalFee() external view returns (uint256) {
        return _queue.settings.fee;
    }

    function maxDocumentKeyShadowRetrievalRequests() external view returns (uint256) {
        return _queue.settings.limit;
    }

    function setDocumentKeyShadowRetrievalFee(uint256 newFee) public onlyOwner {
        _queue.setFee(newFee);
        emit DocumentKeyShadowRetrievalFeeChanged(newFee);
    }

    function setMaxDocumentKeyShadowRetrievalRequests(uint256 newLimit) public onlyOwner {
        _queue.setLimit(newLimit);
        emit MaxDocumentKeyShadowRetrievalRequestsChanged(newLimit);
    }

    function deleteDocumentKeyShadowRetrievalRequest(bytes32 serverKeyId, address requester)
        public
        onlyOwner
    {
        _failShadow(serverKeyId, requester, _pendingShadow(serverKeyId, requester));
    }

    // --- common stage

    /// Counts one vote and tells whether a majority now agrees with it; then the box is left to the
    /// caller. Otherwise it is stored, or the request ended.
    function _voteCommon(
        bytes32 serverKeyId,
        address requester,
        Box memory box,
        Seat memory seat,
        uint160 answer
    ) private returns (bool) {
        Verdict verdict = _queue.cast(box, seat, answer);
        if (verdict == Verdict.Failed) _failShadow(serverKeyId, requester, box.position);
        if (verdict == Verdict.Open) _queue.setBox(_keyOf(serverKeyId, requester), box);
        return verdict == Verdict.Agreed;
    }

    // --- personal stage

    /// Drops what another set of servers has answered, and asks the present one again.
    function _refreshPersonal(bytes32 serverKeyId, Box memory box, Seat memory seat)
        private
        returns (bool dropped)
    {
        dropped = box.refresh(seat);
        if (!dropped) return false;
        box.stage = PERSONAL;
        emit DocumentKeyPersonalRetrievalRequested(serverKeyId, _queue.point(box.position, 0));
    }

    function _noticeNewEpoch(bytes32 serverKeyId, bytes32 key, Box memory box, Seat memory seat) private {
        if (_refreshPersonal(serverKeyId, box, seat)) _queue.setBox(key, box);
    }

    /// The sender takes part, with exactly threshold + 1 current servers.
    function _requireParticipant(uint256 participants, Seat memory seat, uint8 threshold) private pure {
        if (
            participants >> seat.index & 1 == 0 || participants >> seat.count != 0
                || PendingRequests.bitCount(participants) != uint256(threshold) + 1
        ) revert InvalidParticipants();
    }

    /// Notes the sender's answer for this pair and tells how many servers have published it.
    function _countAnswer(Box memory box, Seat memory seat, uint160 pair) private returns (uint256) {
        if (box.answer == 0) box.answer = pair;
        if (box.answer == pair) {
            if (!_queue.mark(box, seat, Tally.PersonalVoters)) revert AlreadyAnswered();
            if (box.stage == PERSONAL_SEVERAL_PAIRS) _requireAnswersLeft(box, seat, 1);
            return _queue.votersCount(box, seat, Tally.PersonalVoters);
        }
        box.stage = PERSONAL_SEVERAL_PAIRS;
        bytes32 key = _queue.tallyKey(box, Tally.Answered, pair);
        uint256 answered = _queue.tallies[key];
        if (answered >> seat.index & 1 != 0) revert AlreadyAnswered();
        answered |= 1 << seat.index;
        _queue.tallies[key] = answered;
        uint256 firstPair = _queue.isMarked(box, seat, Tally.PersonalVoters) ? 1 : 0;
        bytes32 countKey = _requireAnswersLeft(box, seat, firstPair + 1);
        _queue.tallies[countKey] += 1;
        return PendingRequests.bitCount(answered);
    }

    /// Reverts when the sender's answers for pairs other than the first, plus `more`, are too many.
    function _requireAnswersLeft(Box memory box, Seat memory seat, uint256 more)
        private
        view
        returns (bytes32 countKey)
    {
        countKey = _queue.tallyKey(box, Tally.AnswersOf, seat.index);
        if (_queue.tallies[countKey] + more > MAX_ANSWERS_OF_SERVER) revert TooManyAnswers();
    }

    function _votePersonalError(
        bytes32 serverKeyId,
        address requester,
        Box memory box,
        Seat memory seat
    ) private {
        _noticeNewEpoch(serverKeyId, _keyOf(serverKeyId, requester), box, seat);
        bytes32 key = _queue.tallyKey(box, Tally.Errors, 0);
        uint256 errors = _queue.tallies[key] | 1 << seat.index;
        _queue.tallies[key] = errors;
        if (PendingRequests.bitCount(errors) >= seat.count / 2 + 1) {
            _failShadow(serverKeyId, requester, box.position);
        }
    }

    // --- inside

    function _keyOf(bytes32 serverKeyId, address requester) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(serverKeyId, requester));
    }

    function _pendingShadow(bytes32 serverKeyId, address requester)
        private
        view
        returns (uint256 position)
    {
        position = _queue.positionOf(_keyOf(serverKeyId, requester));
        if (position == 0) revert NotPending();
    }

    function _failShadow(bytes32 serverKeyId, address requester, uint256 position) private {
        _removeShadow(serverKeyId, requester, position);
        emit DocumentKeyShadowRetrievalError(serverKeyId, requester);
    }

    function _removeShadow(bytes32 serverKeyId, address requester, uint256 position) private {
        uint256 moved = _queue.remove(_keyOf(serverKeyId, requester), position, PUBLIC_WORDS);
        if (moved == 0) return;
        bytes32 key = _keyOf(_queue.ids[moved], _queue.origins[moved].author);
        _queue.setPosition(key, moved);
    }
}
