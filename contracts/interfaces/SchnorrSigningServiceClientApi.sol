// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What clients use to have the hash of a message signed with a server key, by Schnorr.
interface SchnorrSigningServiceClientApi {
    event SchnorrSigningCommonRetrieved(
        bytes32 indexed serverKeyId,
        address indexed requester,
        bytes32 indexed messageHash,
        bytes serverKeyPublic,
        uint8 threshold
    );
    /// `signature` is c (32 bytes) and s (32), see `SchnorrSignature`.
    event SchnorrMessageSigned(
        bytes32 indexed serverKeyId,
        address indexed requester,
        bytes32 indexed messageHash,
        bytes signature
    );
    event SchnorrSigningError(
        bytes32 indexed serverKeyId, address indexed requester, bytes32 indexed messageHash
    );

    function signMessageSchnorr(bytes32 serverKeyId, bytes32 messageHash) external payable;
}
