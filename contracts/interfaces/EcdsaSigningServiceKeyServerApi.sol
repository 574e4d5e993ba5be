// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What key servers use to answer requests for ECDSA signatures.
interface EcdsaSigningServiceKeyServerApi {
    event EcdsaSigningCommonRequested(bytes32 serverKeyId, address requester, bytes32 messageHash);
    event EcdsaSigningPersonalRequested(bytes32 serverKeyId, address requester, bytes32 messageHash);

    function ecdsaSigningCommonRetrieved(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata serverKeyPublic,
        uint8 threshold
    ) external;

    function ecdsaMessageSigned(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata signature
    ) external;

    function ecdsaSigningError(bytes32 serverKeyId, address requester, bytes32 messageHash) external;

    function ecdsaSigningRequestsCount() external view returns (uint256);

    function getEcdsaSigningRequest(uint256 index)
        external
        view
        returns (
            bytes32 serverKeyId,
            address requester,
            bytes32 messageHash,
            bool isCommonRetrievalCompleted
        );

    function isEcdsaSigningResponseRequired(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        address keyServer
    ) external view returns (bool);
}
