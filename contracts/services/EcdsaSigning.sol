// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {EcdsaSigningServiceClientApi} from "contracts/interfaces/EcdsaSigningServiceClientApi.sol";
import {EcdsaSigningServiceKeyServerApi} from "contracts/interfaces/EcdsaSigningServiceKeyServerApi.sol";
import {MessageSigning, Subject} from "contracts/services/MessageSigning.sol";
import {Box} from "contracts/services/PendingRequests.sol";
import {EcdsaSignature} from "contracts/signatures/EcdsaSignature.sol";

/// Has the hash of a message signed with a server key, by ECDSA.
///
/// The answer is checked with the address that belongs to the agreed public.
abstract contract EcdsaSigning is
    MessageSigning,
    EcdsaSigningServiceClientApi,
    EcdsaSigningServiceKeyServerApi
{
    event EcdsaSigningFeeChanged(uint256 fee);
    event MaxEcdsaSigningRequestsChanged(uint256 limit);

    // --- clients

    function signMessageEcdsa(bytes32 serverKeyId, bytes32 messageHash) external payable {
        _request(Subject(serverKeyId, msg.sender, messageHash));
    }

    // --- key servers

    function ecdsaSigningCommonRetrieved(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata serverKeyPublic,
        uint8 threshold
    ) external {
        Subject memory subject = Subject(serverKeyId, requester, messageHash);
        if (!_voteForPublic(subject, serverKeyPublic, threshold)) return;
        emit EcdsaSigningCommonRetrieved(serverKeyId, requester, messageHash, serverKeyPublic, threshold);
        _announcePersonal(subject);
    }

    function ecdsaMessageSigned(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata signature
    ) external {
        Subject memory subject = Subject(serverKeyId, requester, messageHash);
        Box memory box = _boxToSign(subject);
        if (box.position == 0) return;
        if (!EcdsaSignature.isBy(address(box.answer), messageHash, signature)) revert InvalidSignature();
        _remove(subject, box.position);
        emit EcdsaMessageSigned(serverKeyId, requester, messageHash, signature);
    }

    function ecdsaSigningError(bytes32 serverKeyId, address requester, bytes32 messageHash) external {
        _voteForError(Subject(serverKeyId, requester, messageHash));
    }

    function ecdsaSigningRequestsCount() external view returns (uint256) {
        return _pendingCount();
    }

    function getEcdsaSigningRequest(uint256 index)
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
    function isEcdsaSigningResponseRequired(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        address keyServer
    ) external view returns (bool) {
        return _isResponseRequired(Subject(serverKeyId, requester, messageHash), keyServer);
    }

    // --- anybody

    /// Ends a request that has not been answered in time.
    function expireEcdsaSigningRequest(bytes32 serverKeyId, address requester, bytes32 messageHash)
        external
    {
        _expire(Subject(serverKeyId, requester, messageHash));
    }

    // --- owner

    function ecdsaSigningFee() external view returns (uint256) {
        return _fee();
    }

    function maxEcdsaSigningRequests() external view returns (uint256) {
        return _limit();
    }

    function setEcdsaSigningFee(uint256 newFee) public onlyOwner {
        _setFee(newFee);
        emit EcdsaSigningFeeChanged(newFee);
    }

    function setMaxEcdsaSigningRequests(uint256 newLimit) public onlyOwner {
        _setLimit(newLimit);
        emit MaxEcdsaSigningRequestsChanged(newLimit);
    }

    function deleteEcdsaSigningRequest(bytes32 serverKeyId, address requester, bytes32 messageHash)
        public
        onlyOwner
    {
        _delete(Subject(serverKeyId, requester, messageHash));
    }

    // --- for the common part

    /// Its address is all that checking needs.
    function _keepPublic(uint256, bytes calldata serverKeyPublic) internal pure override returns (uint160) {
        return uint160(uint256(keccak256(serverKeyPublic)));
    }

    function _announceCommon(Subject memory subject) internal override {
        emit EcdsaSigningCommonRequested(subject.serverKeyId, subject.requester, subject.messageHash);
    }

    function _announcePersonal(Subject memory subject) internal override {
        emit EcdsaSigningPersonalRequested(subject.serverKeyId, subject.requester, subject.messageHash);
    }

    function _announceError(Subject memory subject) internal override {
        emit EcdsaSigningError(subject.serverKeyId, subject.requester, subject.messageHash);
    }
}
