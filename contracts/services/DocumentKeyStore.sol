// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DocumentKeyStoreServiceClientApi} from "contracts/interfaces/DocumentKeyStoreServiceClientApi.sol";
import {DocumentKeyStoreServiceKeyServerApi} from
    "contracts/interfaces/DocumentKeyStoreServiceKeyServerApi.sol";
import {
    Box, NotExpired, NotPending, PendingRequests, Queue, Settings, Tally
} from "contracts/services/PendingRequests.sol";
import {Seat, ServiceBase} from "contracts/services/ServiceBase.sol";

/// Asks all key servers to keep an encrypted document key with a server key.
///
/// All of them have to confirm; one error ends it. Whether the points lie on the curve and whether
/// the author is that of the server key is checked by the servers.
abstract contract DocumentKeyStore is
    ServiceBase,
    DocumentKeyStoreServiceClientApi,
    DocumentKeyStoreServiceKeyServerApi
{
    using PendingRequests for Queue;
    using PendingRequests for Box;

    event DocumentKeyStoreFeeChanged(uint256 fee);
    event MaxDocumentKeyStoreRequestsChanged(uint256 limit);

    /// Words of payload: the common point and the encrypted point.
    uint256 private constant POINT_WORDS = 4;

    Queue private _queue;

    constructor() {
        _queue.settings = Settings({fee: 0.1 ether, limit: 8, pending: 0, serial: 0});
    }

    // --- clients

    function storeDocumentKey(bytes32 serverKeyId, bytes calldata commonPoint, bytes calldata encryptedPoint)
        external
        payable
    {
        _isPoint(commonPoint);
        _isPoint(encryptedPoint);
        _requireMayStore(serverKeyId, msg.sender);
        _collectFee();
        uint256 position = _queue.add(serverKeyId, serverKeyId, msg.sender, 0);
        _queue.setPoint(position, 0, commonPoint);
        _queue.setPoint(position, 2, encryptedPoint);
        emit DocumentKeyStoreRequested(serverKeyId, msg.sender, commonPoint, encryptedPoint);
    }

    // --- key servers

    function documentKeyStored(bytes32 serverKeyId) external {
        Box memory box = _queue.box(serverKeyId);
        if (box.position == 0) return;
        Seat memory seat = _seatOf(msg.sender);
        box.refresh(seat);
        if (!_queue.mark(box, seat, Tally.Voters)) return;
        if (_queue.votersCount(box, seat, Tally.Voters) == seat.count) {
            _removeStore(serverKeyId, box.position);
            emit DocumentKeyStored(serverKeyId);
        } else {
            _queue.setBox(serverKeyId, box);
        }
    }

    function documentKeyStoreError(bytes32 serverKeyId) external {
        uint256 position = _queue.positionOf(serverKeyId);
        if (position == 0) return;
        _seatOf(msg.sender);
        _failStore(serverKeyId, position);
    }

    function documentKeyStoreRequestsCount() external view returns (uint256) {
        return _queue.settings.pending;
    }

    function getDocumentKeyStoreRequest(uint256 index)
        external
        view
        returns (
            bytes32 serverKeyId,
            address author,
            bytes memory commonPoint,
            bytes memory encryptedPoint
        )
    {
        uint256 position = _queue.positionAt(index);
        serverKeyId = _queue.ids[position];
        author = _queue.origins[position].author;
        commonPoint = _queue.point(position, 0);
        encryptedPoint = _queue.point(position, 2);
    }

    function isDocumentKeyStoreResponseRequired(bytes32 serverKeyId, address keyServer)
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
    function expireDocumentKeyStoreRequest(bytes32 serverKeyId) external {
        uint256 position = _pendingStore(serverKeyId);
        if (!_isExpired(_queue.origins[position].createdAt)) revert NotExpired();
        _failStore(serverKeyId, position);
    }

    // --- owner

    function documentKeyStoreFee() external view returns (uint256) {
        return _queue.settings.fee;
    }

    function maxDocumentKeyStoreRequests() external view returns (uint256) {
        return _queue.settings.limit;
    }

    function setDocumentKeyStoreFee(uint256 newFee) public onlyOwner {
        _queue.setFee(newFee);
        emit DocumentKeyStoreFeeChanged(newFee);
    }

    function setMaxDocumentKeyStoreRequests(uint256 newLimit) public onlyOwner {
        _queue.setLimit(newLimit);
        emit MaxDocumentKeyStoreRequestsChanged(newLimit);
    }

    function deleteDocumentKeyStoreRequest(bytes32 serverKeyId) public onlyOwner {
        _failStore(serverKeyId, _pendingStore(serverKeyId));
    }

    // --- inside

    /// Reverts where it is known that this author may not store with this key.
    function _requireMayStore(bytes32 serverKeyId, address author) internal view virtual {}

    function _pendingStore(bytes32 serverKeyId) private view returns (uint256 position) {
        position = _queue.positionOf(serverKeyId);
        if (position == 0) revert NotPending();
    }

    function _failStore(bytes32 serverKeyId, uint256 position) private {
        _removeStore(serverKeyId, position);
        emit DocumentKeyStoreError(serverKeyId);
    }

    function _removeStore(bytes32 serverKeyId, uint256 position) private {
        uint256 moved = _queue.remove(serverKeyId, position, POINT_WORDS);
        if (moved != 0) _queue.setPosition(_queue.ids[moved], moved);
    }
}
