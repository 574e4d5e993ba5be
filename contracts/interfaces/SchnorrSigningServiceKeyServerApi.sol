// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What key servers use to answer requests for Schnorr signatures.
interface SchnorrSigningServiceKeyServerApi {
    event SchnorrSigningCommonRequested(bytes32 serverKeyId, address requester, bytes32 messageHash);
    event SchnorrSigningPersonalRequested(bytes32 serverKeyId, address requester, bytes32 messageHash);

    function schnorrSigningCommonRetrieved(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata serverKeyPublic,
        uint8 threshold
    ) external;

    /// `noncePublic` is the point R whose x coordinate went into c.
    function schnorrMessageSigned(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        bytes calldata signature,
        bytes calldata noncePublic
    ) external;

    function schnorrSigningError(bytes32 serverKeyId, address requester, bytes32 messageHash) external;

    function schnorrSigningRequestsCount() external view returns (uint256);

    function getSchnorrSigningRequest(uint256 index)
        external
        view
        returns (
            bytes32 serverKeyId,
            address requester,
            bytes32 messageHash,
            bool isCommonRetrievalCompleted
        );

    function isSchnorrSigningResponseRequired(
        bytes32 serverKeyId,
        address requester,
        bytes32 messageHash,
        address keyServer
    ) external view returns (bool);
}
