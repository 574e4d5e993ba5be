// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What clients use to have the hash of a message signed with a server key, by ECDSA.
interface EcdsaSigningServiceClientApi {
    event EcdsaSigningCommonRetrieved(
        bytes32 indexed serverKeyId,
        address indexed requester,
        bytes32 indexed messageHash,
        bytes serverKeyPublic,
        uint8 threshold
    );
    /// `signature` is r (32 bytes), s (32) and v (1), with v 27 or 28 and s at most half the order.
    event EcdsaMessageSigned(
        bytes32 indexed serverKeyId,
        address indexed requester,
        bytes32 indexed messageHash,
        bytes signature
    );
    event EcdsaSigningError(
        bytes32 indexed serverKeyId, address indexed requester, bytes32 indexed messageHash
    );

    function signMessageEcdsa(bytes32 serverKeyId, bytes32 messageHash) external payable;
}
