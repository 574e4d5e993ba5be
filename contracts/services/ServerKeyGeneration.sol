// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ServerKeyGenerationServiceClientApi} from
    "contracts/interfaces/ServerKeyGenerationServiceClientApi.sol";
import {ServerKeyGenerationServiceKeyServerApi} from
    "contracts/interfaces/ServerKeyGenerationServiceKeyServerApi.sol";
import {
    Box, NotExpired, NotPending, PendingRequests, Queue, Settings, Tally
} from "contracts/services/PendingRequests.sol";
import {Seat, ServiceBase} from "contracts/services/ServiceBase.sol";

/// Asks all key servers for a new key that none of them holds alone.
///
/// All of them have to answer with the same public; one that differs, or one error, ends it.
abstract contract ServerKeyGeneration is
    ServiceBase,
    ServerKeyGenerationServiceClientApi,
    ServerKeyGenerationServiceKeyServerApi
{
    using PendingRequests for Queue;
    using PendingRequests for Box;

    event ServerKeyGenerationFeeChanged(uint256 fee);
    event MaxServerKeyGenerationRequestsChanged(uint256 limit);

    error InvalidThreshold();

    uint8 private constant MAX_THRESHOLD = 254;

    Queue private _queue;

    constructor() {
        _queue.settings = Settings({fee: 0.2 ether, limit: 4, pending: 0, serial: 0});
    }

    // --- clients

    function generateServerKey(bytes32 serverKeyId, uint8 threshold) external payable {
        uint256 count = _collectFee();
        if (threshold > MAX_THRESHOLD || threshold >= count) revert InvalidThreshold();
        _queue.add(serverKeyId, serverKeyId, msg.sender, threshold);
        emit ServerKeyGenerationRequested(serverKeyId, msg.sender, threshold);
    }

    // --- key servers

    function serverKeyGenerated(bytes32 serverKeyId, bytes calldata serverKeyPublic) external {
        _isPoint(serverKeyPublic);
        Box memory box = _queue.box(serverKeyId);
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        bool first = box.refresh(seat);
        if (!_queue.mark(box, seat, Tally.Voters)) return;
        uint160 answer = uint160(uint256(keccak256(serverKeyPublic)));
        if (first) box.answer = answer;
        if (box.answer != answer) {
            _failGeneration(serverKeyId, box.position);
        } else if (_queue.votersCount(box, seat, Tally.Voters) == seat.count) {
            _serverKeyAgreed(serverKeyId, box.position);
            _removeGeneration(serverKeyId, box.position);
            emit ServerKeyGenerated(serverKeyId, serverKeyPublic);
        } else {
            _queue.setBox(serverKeyId, box);
        }
    }

    function serverKeyGenerationError(bytes32 serverKeyId) external {
        _seatOf(msg.sender);
        uint256 position = _queue.positionOf(serverKeyId);
        if (position != 0) _failGeneration(serverKeyId, position);
    }

    function serverKeyGenerationRequestsCount() external view returns (uint256) {
        return _queue.settings.pending;
    }

    function getServerKeyGenerationRequest(uint256 index)
        external
        view
        returns (bytes32 serverKeyId, address author, uint256 threshold)
    {
        uint256 position = _queue.positionAt(index);
        return
            (_queue.ids[position], _queue.origins[position].author, _queue.origins[position].threshold);
    }

    function isServerKeyGenerationResponseRequired(bytes32 serverKeyId, address keyServer)
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
    function expireServerKeyGenerationRequest(bytes32 serverKeyId) external {
        uint256 position = _pendingGeneration(serverKeyId);
        if (!_isExpired(_queue.origins[position].createdAt)) revert NotExpired();
        _failGeneration(serverKeyId, position);
    }

    // --- owner

    function serverKeyGenerationFee() external view returns (uint256) {
        return _queue.settings.fee;
    }

    function maxServerKeyGenerationRequests() external view returns (uint256) {
        return _queue.settings.limit;
    }

    function setServerKeyGenerationFee(uint256 newFee) public onlyOwner {
        _queue.setFee(newFee);
        emit ServerKeyGenerationFeeChanged(newFee);
    }

    function setMaxServerKeyGenerationRequests(uint256 newLimit) public onlyOwner {
        _queue.setLimit(newLimit);
        emit MaxServerKeyGenerationRequestsChanged(newLimit);
    }

    function deleteServerKeyGenerationRequest(bytes32 serverKeyId) public onlyOwner {
        _failGeneration(serverKeyId, _pendingGeneration(serverKeyId));
    }

    // --- inside

    /// Called when all servers have agreed on a new key, before its request is removed.
    function _serverKeyAgreed(bytes32 serverKeyId, uint256 position) internal virtual {}

    function _authorOfGeneration(uint256 position) internal view returns (address) {
        return _queue.origins[position].author;
    }

    function _pendingGeneration(bytes32 serverKeyId) private view returns (uint256 position) {
        position = _queue.positionOf(serverKeyId);
        if (position == 0) revert NotPending();
    }

    function _failGeneration(bytes32 serverKeyId, uint256 position) private {
        _removeGeneration(serverKeyId, position);
        emit ServerKeyGenerationError(serverKeyId);
    }

    function _removeGeneration(bytes32 serverKeyId, uint256 position) private {
        uint256 moved = _queue.remove(serverKeyId, position, 0);
        if (moved != 0) _queue.setPosition(_queue.ids[moved], moved);
    }
}
