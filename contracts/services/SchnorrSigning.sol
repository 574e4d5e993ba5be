// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SchnorrSigningServiceClientApi} from "contracts/interfaces/SchnorrSigningServiceClientApi.sol";
import {SchnorrSigningServiceKeyServerApi} from "contracts/interfaces/SchnorrSigningServiceKeyServerApi.sol";
import {MessageSigning, Subject} from "contracts/services/MessageSigning.sol";
import {Box} from "contracts/services/PendingRequests.sol";
import {SchnorrSignature} from "contracts/signatures/SchnorrSignature.sol";

/// Has the hash of a message signed with a server key, in the Schnorr form of the original network.
///
/// The answer is checked with the agreed public: x is kept with the request, the rest in its box.
abstract contract SchnorrSigning is
    MessageSigning,
    SchnorrSigningServiceClientApi,
    SchnorrSigningServiceKeyServerApi
{
    event SchnorrSigningFeeChanged(uint256 fee);
    event MaxSchnorrSigningRequestsChanged(uint256 limit);

    /// The word of a request that keeps x, and what its box says of y.
    uint256 private constant PUBLIC_X = 1;
    uint160 private constant EVEN = 1;
    uint160 private constant ODD = 2;

    // --- clients

    function signMessageSchnorr(bytes32 serverKeyId, bytes32 messageHash) external payable {
        _request(Subject(serverKeyId, msg.sender, messageHash));
    }

    // --- key servers

    function schnorrSigningCommonRetrieved(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata serverKeyPublic,
        uint8 threshold
    ) external {
        Subject memory subject = Subject(serverKeyId, requester, messageHash);
        if (!_voteForPublic(subject, serverKeyPublic, threshold)) return;
        emit SchnorrSigningCommonRetrieved(serverKeyId, requester, messageHash, serverKeyPublic, threshold);
        _announcePersonal(subject);
    }

    function schnorrMessageSigned(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata signature,
        bytes calldata noncePublic
    ) external {
        _isPoint(noncePublic);
        Subject memory subject = Subject(serverKeyId, requester, messageHash);
        Box memory box = _boxToSign(subject);
        if (box.position == 0) return;
        bytes32 publicX = _word(box.position, PUBLIC_X);
        bool odd = box.answer == ODD;
        if (!SchnorrSignature.isBy(publicX, odd, messageHash, signature, noncePublic)) {
            revert InvalidSignature();
        }
        _remove(subject, box.position);
        emit SchnorrMessageSigned(serverKeyId, requester, messageHash, signature);
    }

    function schnorrSigningError(bytes32 serverKeyId, address requester, bytes32 messageHash) external {
        _voteForError(Subject(serverKeyId, requester, messageHash));
    }

    function schnorrSigningRequestsCount() external view returns (uint256) {
        return _pendingCount();
    }

    function getSchnorrSigningRequest(uint256 index)
        external
        view
        returns (
            bytes32 serverKeyId,
            address requester,
            bytes32 messageHash,
            bool isCommonRetrievalCompleted
        )
    {
        Subject memory subject;
        (subject, isCommonRetrievalCompleted) = _pendingAt(index);
        return (subject.serverKeyId, subject.requester, subject.messageHash, isCommonRetrievalCompleted);
    }

    /// In the personal stage one answer of anybody is enough: always true.
    function isSchnorrSigningResponseRequired(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        address keyServer
    ) external view returns (bool) {
        return _isResponseRequired(Subject(serverKeyId, requester, messageHash), keyServer);
    }

    // --- anybody

    /// Ends a request that has not been answered in time.
    function expireSchnorrSigningRequest(bytes32 serverKeyId, address requester, bytes32 messageHash)
        external
    {
        _expire(Subject(serverKeyId, requester, messageHash));
    }

    // --- owner

    function schnorrSigningFee() external view returns (uint256) {
        return _fee();
    }

    function maxSchnorrSigningRequests() external view returns (uint256) {
        return _limit();
    }

    function setSchnorrSigningFee(uint256 newFee) public onlyOwner {
        _setFee(newFee);
        emit SchnorrSigningFeeChanged(newFee);
    }

    function setMaxSchnorrSigningRequests(uint256 newLimit) public onlyOwner {
        _setLimit(newLimit);
        emit MaxSchnorrSigningRequestsChanged(newLimit);
    }

    function deleteSchnorrSigningRequest(bytes32 serverKeyId, address requester, bytes32 messageHash)
        public
        onlyOwner
    {
        _delete(Subject(serverKeyId, requester, messageHash));
    }

    // --- for the common part

    function _keepPublic(uint256 position, bytes calldata serverKeyPublic)
        internal
        override
        returns (uint160)
    {
        _setWord(position, PUBLIC_X, bytes32(serverKeyPublic[:32]));
        return uint8(serverKeyPublic[63]) & 1 == 1 ? ODD : EVEN;
    }

    function _announceCommon(Subject memory subject) internal override {
        emit SchnorrSigningCommonRequested(subject.serverKeyId, subject.requester, subject.messageHash);
    }

    function _announcePersonal(Subject memory subject) internal override {
        emit SchnorrSigningPersonalRequested(subject.serverKeyId, subject.requester, subject.messageHash);
    }

    function _announceError(Subject memory subject) internal override {
        emit SchnorrSigningError(subject.serverKeyId, subject.requester, subject.messageHash);
    }
}
