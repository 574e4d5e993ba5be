// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ServerKeyRetrievalServiceClientApi} from
    "contracts/interfaces/ServerKeyRetrievalServiceClientApi.sol";
import {ServerKeyRetrievalServiceKeyServerApi} from
    "contracts/interfaces/ServerKeyRetrievalServiceKeyServerApi.sol";
import {
    Box, NotExpired, NotPending, PendingRequests, Queue, Settings, Tally
} from "contracts/services/PendingRequests.sol";
import {Seat, ServiceBase} from "contracts/services/ServiceBase.sol";

/// Asks the key servers for the public of an existing key.
///
/// Two things have to be agreed on: the threshold t by a majority of the servers, then the public
/// by t+1 equal answers that name this threshold. An error is a vote for threshold 255.
abstract contract ServerKeyRetrieval is
    ServiceBase,
    ServerKeyRetrievalServiceClientApi,
    ServerKeyRetrievalServiceKeyServerApi
{
    using PendingRequests for Queue;
    using PendingRequests for Box;

    event ServerKeyRetrievalFeeChanged(uint256 fee);
    event MaxServerKeyRetrievalRequestsChanged(uint256 limit);

    uint8 private constant ERROR_THRESHOLD = type(uint8).max;
    uint160 private constant ERROR_ANSWER = type(uint160).max;
    /// Words of payload: the public of the first answer.
    uint256 private constant PUBLIC_WORDS = 2;

    struct Vote {
        uint8 threshold;
        uint160 answer;
        bytes32 x;
        bytes32 y;
    }

    /// How the votes stand, as far as the rule needs it.
    struct Standing {
        bool agreed;
        uint8 threshold;
        uint256 bestThresholdVotes;
        uint256 leadVotes;
        uint160 lead;
    }

    Queue private _queue;

    constructor() {
        _queue.settings = Settings({fee: 0.1 ether, limit: 8, pending: 0, serial: 0});
    }

    // --- clients

    function retrieveServerKey(bytes32 serverKeyId) external payable {
        _collectFee();
        _queue.add(serverKeyId, serverKeyId, address(0), 0);
        emit ServerKeyRetrievalRequested(serverKeyId);
    }

    // --- key servers

    /// An answer with threshold 255 counts as an error.
    function serverKeyRetrieved(bytes32 serverKeyId, bytes calldata serverKeyPublic, uint8 threshold)
        external
    {
        _isPoint(serverKeyPublic);
        if (threshold == ERROR_THRESHOLD) return serverKeyRetrievalError(serverKeyId);
        uint160 answer = uint160(uint256(keccak256(abi.encodePacked(serverKeyPublic, threshold))));
        _vote(
            serverKeyId,
            Vote(threshold, answer, bytes32(serverKeyPublic[:32]), bytes32(serverKeyPublic[32:]))
        );
    }

    function serverKeyRetrievalError(bytes32 serverKeyId) public {
        _vote(serverKeyId, Vote(ERROR_THRESHOLD, ERROR_ANSWER, 0, 0));
    }

    function serverKeyRetrievalRequestsCount() external view returns (uint256) {
        return _queue.settings.pending;
    }

    function getServerKeyRetrievalRequest(uint256 index) external view returns (bytes32 serverKeyId) {
        return _queue.ids[_queue.positionAt(index)];
    }

    function isServerKeyRetrievalResponseRequired(bytes32 serverKeyId, address keyServer)
        external
        view
        returns (bool)
    {
        Seat memory seat = _seatOf(keyServer);
        Box memory box = _queue.box(serverKeyId);
        return box.position != 0 && !_queue.isMarked(box, seat, Tally.Voters);
    }

    // --- anybody

    /// Ends a request that has not been answered in time.
    function expireServerKeyRetrievalRequest(bytes32 serverKeyId) external {
        uint256 position = _pendingRetrieval(serverKeyId);
        if (!_isExpired(_queue.origins[position].createdAt)) revert NotExpired();
        _failRetrieval(serverKeyId, position);
    }

    // --- owner

    function serverKeyRetrievalFee() external view returns (uint256) {
        return _queue.settings.fee;
    }

    function maxServerKeyRetrievalRequests() external view returns (uint256) {
        return _queue.settings.limit;
    }

    function setServerKeyRetrievalFee(uint256 newFee) public onlyOwner {
        _queue.setFee(newFee);
        emit ServerKeyRetrievalFeeChanged(newFee);
    }

    function setMaxServerKeyRetrievalRequests(uint256 newLimit) public onlyOwner {
        _queue.setLimit(newLimit);
        emit MaxServerKeyRetrievalRequestsChanged(newLimit);
    }

    function deleteServerKeyRetrievalRequest(bytes32 serverKeyId) public onlyOwner {
        _failRetrieval(serverKeyId, _pendingRetrieval(serverKeyId));
    }

    // --- the votes

    function _vote(bytes32 serverKeyId, Vote memory vote) private {
        Box memory box = _queue.box(serverKeyId);
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        bool first = box.refresh(seat);
        if (!_queue.mark(box, seat, Tally.Voters)) return;
        uint256 voters = _queue.votersCount(box, seat, Tally.Voters);
        if (first) {
            _keepFirst(box, vote);
        } else if (box.answer != 0 && box.answer != vote.answer) {
            _spread(box, voters - 1, seat.count / 2 + 1);
        }
        Standing memory standing = box.answer == 0
            ? _countSpread(box, vote, seat.count / 2 + 1)
            : _countEqual(vote, voters, seat.count / 2 + 1);
        _settleOrKeep(serverKeyId, box, standing, vote, seat.count, voters);
    }

    /// The rule: a threshold with a majority, then t+1 equal publics that name it.
    function _settleOrKeep(
        bytes32 serverKeyId,
        Box memory box,
        Standing memory standing,
        Vote memory vote,
        uint256 count,
        uint256 voters
    ) private {
        uint256 left = count - voters;
        if (!standing.agreed) {
            if (standing.bestThresholdVotes + left < count / 2 + 1) {
                return _failRetrieval(serverKeyId, box.position);
            }
        } else {
            uint256 need = uint256(standing.threshold) + 1;
            if (standing.threshold == ERROR_THRESHOLD || standing.leadVotes + left < need) {
                return _failRetrieval(serverKeyId, box.position);
            }
            if (standing.leadVotes >= need) return _succeed(serverKeyId, box, standing, vote);
        }
        _queue.setBox(serverKeyId, box);
    }

    function _succeed(bytes32 serverKeyId, Box memory box, Standing memory standing, Vote memory vote)
        private
    {
        bytes memory serverKeyPublic = vote.answer == standing.lead
            ? bytes.concat(vote.x, vote.y)
            : bytes.concat(
                bytes32(_tally(box, Tally.PublicX, standing.lead)),
                bytes32(_tally(box, Tally.PublicY, standing.lead))
            );
        _removeRetrieval(serverKeyId, box.position);
        emit ServerKeyRetrieved(serverKeyId, serverKeyPublic, standing.threshold);
        emit ServerKeyRetrieved(serverKeyId, serverKeyPublic);
    }

    /// The public is kept in case that a later, different vote settles in favour of this one.
    function _keepFirst(Box memory box, Vote memory vote) private {
        box.answer = vote.answer;
        box.threshold = vote.threshold;
        if (vote.threshold == ERROR_THRESHOLD) return;
        _queue.setWord(box.position, 0, vote.x);
        _queue.setWord(box.position, 1, vote.y);
    }

    /// All votes are equal.
    function _countEqual(Vote memory vote, uint256 votes, uint256 majority)
        private
        pure
        returns (Standing memory)
    {
        return Standing(votes >= majority, vote.threshold, votes, votes, vote.answer);
    }

    /// Moves the votes for the first answer to the tallies, where all votes are counted from now.
    function _spread(Box memory box, uint256 votes, uint256 majority) private {
        Vote memory vote = Vote(box.threshold, box.answer, 0, 0);
        if (vote.threshold != ERROR_THRESHOLD) {
            vote.x = _queue.word(box.position, 0);
            vote.y = _queue.word(box.position, 1);
        }
        box.answer = 0;
        _addToTallies(box, vote, votes, majority);
    }

    function _countSpread(Box memory box, Vote memory vote, uint256 majority)
        private
        returns (Standing memory standing)
    {
        _addToTallies(box, vote, 1, majority);
        standing.bestThresholdVotes = _tally(box, Tally.BestThresholdVotes, 0);
        uint256 agreed = _tally(box, Tally.AgreedThreshold, 0);
        if (agreed == 0) return standing;
        standing.agreed = true;
        standing.threshold = uint8(agreed - 1);
        uint256 leading = _tally(box, Tally.LeadingAnswer, standing.threshold);
        standing.lead = uint160(leading);
        standing.leadVotes = leading >> 160;
    }

    function _addToTallies(Box memory box, Vote memory vote, uint256 votes, uint256 majority) private {
        uint256 forThreshold = _tally(box, Tally.ThresholdVotes, vote.threshold) + votes;
        _setTally(box, Tally.ThresholdVotes, vote.threshold, forThreshold);
        if (forThreshold > _tally(box, Tally.BestThresholdVotes, 0)) {
            _setTally(box, Tally.BestThresholdVotes, 0, forThreshold);
        }
        if (forThreshold >= majority) {
            _setTally(box, Tally.AgreedThreshold, 0, uint256(vote.threshold) + 1);
        }
        if (vote.threshold == ERROR_THRESHOLD) return;
        uint256 before = _tally(box, Tally.Votes, vote.answer);
        _setTally(box, Tally.Votes, vote.answer, before + votes);
        if (before == 0) {
            _setTally(box, Tally.PublicX, vote.answer, uint256(vote.x));
            _setTally(box, Tally.PublicY, vote.answer, uint256(vote.y));
        }
        // More votes than the leader: on a tie the one that got there first keeps the lead.
        if (before + votes > _tally(box, Tally.LeadingAnswer, vote.threshold) >> 160) {
            _setTally(
                box, Tally.LeadingAnswer, vote.threshold, before + votes << 160 | uint256(vote.answer)
            );
        }
    }

    function _tally(Box memory box, Tally tally, uint256 subject) private view returns (uint256) {
        return _queue.tallies[_queue.tallyKey(box, tally, subject)];
    }

    function _setTally(Box memory box, Tally tally, uint256 subject, uint256 value) private {
        _queue.tallies[_queue.tallyKey(box, tally, subject)] = value;
    }

    // --- inside

    function _pendingRetrieval(bytes32 serverKeyId) private view returns (uint256 position) {
        position = _queue.positionOf(serverKeyId);
        if (position == 0) revert NotPending();
    }

    function _failRetrieval(bytes32 serverKeyId, uint256 position) private {
        _removeRetrieval(serverKeyId, position);
        emit ServerKeyRetrievalError(serverKeyId);
    }

    function _removeRetrieval(bytes32 serverKeyId, uint256 position) private {
        uint256 moved = _queue.remove(serverKeyId, position, PUBLIC_WORDS);
        if (moved != 0) _queue.setPosition(_queue.ids[moved], moved);
    }
}
